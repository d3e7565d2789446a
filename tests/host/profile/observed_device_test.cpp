#include "host/profile/observed_device.h"

#include <gtest/gtest.h>

#include "engine/device/array.h"
#include "host/profile/phases.h"
#include "kernels/limits/copy_values.h"

namespace idem {
namespace {

struct Copying {
  explicit Copying(Device& on) : device(on), from(on, std::vector<float>(100, 1.5f)), to(on, 100) {}
  void run(std::int64_t n_times, const char* name = "training step") {
    device
        .make_sequence(name,
                       [this] {
                         device.clear(to.data(), 400);
                         copy_values(device.execution(),
                                     CopyValues<float>{.n = 100, .from = from.data(), .to = to.data()});
                       })
        ->run(n_times);
  }
  Device& device;
  Array<float> from, to;
};

TEST(ObservedDevice, TellsTheOperationsOfEverySequenceAndSection) {
  const auto device = make_device("cpu", 1);
  ObservedDevice observed(*device, Observes::times);
  observed.begin_section("a model");
  Copying copying(observed);
  copying.run(3);
  copying.run(1, "validation step");
  observed.begin_section("another");
  copying.run(2);
  const auto profiles = observed.step_profiles();
  ASSERT_EQ(profiles.size(), 3u);
  EXPECT_EQ(profiles[0].name, "a model: training step");
  EXPECT_EQ(profiles[1].name, "a model: validation step");
  EXPECT_EQ(profiles[2].name, "another: training step");
  EXPECT_EQ(profiles[0].n_steps, 3);
  std::map<std::string, OperationProfile> operations;
  for (const auto& of : profiles[0].operations) operations[of.name] = of;
  ASSERT_EQ(operations.size(), 2u);
  EXPECT_EQ(operations.at("copy_values").calls, 1);
  EXPECT_EQ(operations.at("copy_values").work.bytes, 800);
  EXPECT_EQ(operations.at("copy_values").part, "limits");
  EXPECT_EQ(operations.at("clear").work.bytes, 400);
  EXPECT_LE(profiles[0].operations_s(), profiles[0].profiled_median_s());
  EXPECT_EQ(copying.to.download(), std::vector<float>(100, 1.5f));
}

TEST(ObservedDevice, LooksOnlyWhereItIsTold) {
  const auto device = make_device("cpu", 1);
  ObservedDevice observed(*device, Observes::times);
  Copying copying(observed);
  observed.look(false);
  copying.run(3);
  EXPECT_TRUE(observed.step_profiles().empty());
  observed.look(true);
  copying.run(1);
  EXPECT_EQ(observed.step_profiles().front().n_steps, 1);
}

TEST(ObservedDevice, KnowsTheMostThatWasAllocatedAtOnce) {
  const auto device = make_device("cpu", 1);
  ObservedDevice observed(*device, Observes::times);
  {
    const Array<float> large(observed, 1000);
  }
  const Array<float> small(observed, 10);
  EXPECT_EQ(observed.peak_bytes(), 4000u);
}

// A GPU as far as a profile asks: it tells what its replays "ran", as the test says.
class TracedDevice final : public Device {
 public:
  explicit TracedDevice(Device& cpu) : cpu_(cpu), execution_(cpu.execution()) { execution_.cuda = true; }
  std::function<std::vector<Activity>(std::int64_t n_asked)> ran;

  std::string name() const override { return "traced"; }
  const Execution& execution() const override { return execution_; }
  void* allocate(std::size_t bytes) override { return cpu_.allocate(bytes); }
  void release(void* memory) noexcept override { cpu_.release(memory); }
  void copy_in(void* to, const void* host, std::size_t bytes) override { cpu_.copy_in(to, host, bytes); }
  void copy_out(void* host, const void* from, std::size_t bytes) override { cpu_.copy_out(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { cpu_.copy(to, from, bytes); }
  void clear(void* memory, std::size_t bytes) override { cpu_.clear(memory, bytes); }
  void synchronize() override {}
  void multiply(const MatrixProduct<float>& product) override { cpu_.multiply(product); }
  void multiply(const MatrixProduct<double>& product) override { cpu_.multiply(product); }
  std::unique_ptr<Sequence> make_sequence(const char*, std::function<void()> operations) override {
    return std::make_unique<Recorded>(std::move(operations));
  }
  std::string why_untraced() const override { return ""; }
  void attribute_to(std::int64_t operation) override { n_asked_ = std::max(n_asked_, operation + 1); }
  std::vector<Activity> traced(const std::function<void()>& operations) override {
    operations();
    return ran(n_asked_);
  }

 private:
  struct Recorded final : Sequence {  // asks for its operations once, when it is recorded
    explicit Recorded(std::function<void()> operations) : of(std::move(operations)) {}
    void run(std::int64_t) override {}
    void prepare(std::int64_t) override { of(); }
    std::function<void()> of;
  };
  Device& cpu_;
  Execution execution_;
  std::int64_t n_asked_ = 0;
};

struct TracedSteps {
  TracedSteps() : cpu(make_device("cpu", 1)), traced(*cpu), observed(traced, Observes::times), to(observed, 100) {
    observed.begin_section("a model");
    step = observed.make_sequence("training step", [this] {
      observed.clear(to.data(), 400);
      observed.clear(to.data(), 400);
    });
  }
  std::unique_ptr<Device> cpu;
  TracedDevice traced;
  ObservedDevice observed;
  Array<float> to;
  std::unique_ptr<Device::Sequence> step;
};

TEST(ObservedDevice, OfATracedGpuTellsItsKernels) {
  TracedSteps steps;
  steps.traced.ran = [](std::int64_t n_asked) -> std::vector<Activity> {
    EXPECT_EQ(n_asked, 2);
    constexpr std::int64_t kNow = 1'800'000'000'000'000'000;
    return {{.operation = 0, .kernel = "fill", .begin_ns = kNow, .end_ns = kNow + 2000, .launch = {.blocks = 7}},
            {.operation = 1, .kernel = "fill", .begin_ns = kNow + 2000, .end_ns = kNow + 3000, .launch = {.blocks = 3}},
            {.operation = -1, .kernel = "foreign", .begin_ns = kNow + 4000, .end_ns = kNow + 4500, .launch = {}}};
  };
  steps.step->run(40);
  const StepProfile profile = steps.observed.step_profiles().at(0);
  EXPECT_EQ(profile.n_steps, ObservedDevice::kStepsOfGpu);
  EXPECT_EQ(profile.n_run, 40);
  EXPECT_DOUBLE_EQ(profile.profiled_median_s(), 4.5e-6);
  ASSERT_EQ(profile.operations.size(), 2u);
  const auto& clear = profile.operations[0];
  EXPECT_EQ(clear.name, "clear");
  EXPECT_DOUBLE_EQ(clear.median_s(), 3e-6);
  EXPECT_EQ(clear.calls, 2);
  EXPECT_EQ(clear.work.bytes, 800);
  ASSERT_EQ(clear.kernels.size(), 1u);
  EXPECT_EQ(clear.kernels[0].launch.blocks, 7);  // of the longest
  EXPECT_EQ(profile.operations[1].name, "foreign");
  EXPECT_EQ(steps.observed.method().find("CUPTI's records"), 0u);
}

TEST(ObservedDevice, WhereATraceTellsNothingOperationsAreTimedOneByOneAndTheMethodSaysSo) {
  TracedSteps steps;
  steps.traced.ran = [](std::int64_t) { return std::vector<Activity>(); };
  steps.step->run(5);
  const StepProfile profile = steps.observed.step_profiles().at(0);
  EXPECT_EQ(profile.n_run, 5);
  EXPECT_EQ(profile.n_steps, 4);  // of the first nothing is known
  EXPECT_EQ(profile.operations.at(0).calls, 2);
  EXPECT_EQ(steps.observed.method().find("events around each operation"), 0u) << steps.observed.method();
  EXPECT_NE(steps.observed.method().find("no records"), std::string::npos);
}

TEST(StudyPhases, AddUpWhereTheyComeAgain) {
  StudyPhases phases(true);
  for (const char* name : {"training", "decoding", "training"}) phases.begin(name);
  phases.end();
  ASSERT_EQ(phases.all().size(), 2u);
  EXPECT_EQ(phases.all()[0].name, "training");
  EXPECT_GT(phases.all()[0].seconds, 0);
  StudyPhases untaken(false);
  untaken.begin("training");
  untaken.end();
  EXPECT_TRUE(untaken.all().empty());
}

}  // namespace
}  // namespace idem
