// The emulated device tested: every planted fault of a step is found. And what only it can prove of the engine's own
// steps.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "engine/device/array.h"
#include "engine/families/gcl/gcl_fleet.h"
#include "kernels/optimizer/optimizer.h"
#include "tests/support/device_under_test.h"
#include "tests/emulation/cuda_emulator.h"
#include "tests/emulation/emulated_device.h"
#include "tests/support/error_message.h"
#include "tests/support/small_cebra.h"
#include "tests/support/small_fleet.h"

namespace idem {
namespace {

using namespace small_fleet;

class EmulatedDevice : public testing::Test {
 protected:
  // The message with which the n-th run of the sequence ends.
  std::string error_of(const std::function<void()>& operations, std::int64_t n_times = 2) {
    const auto sequence = device_->make_sequence("sequence", operations);
    return message_of<std::exception>([&] { sequence->run(n_times); });
  }
  void advance(const Array<std::uint32_t>& counter, Stream stream) {
    advance_step(Execution{.pool = device_->execution().pool, .stream = stream, .cuda = true},
                 AdvanceStep<float>{.draw = counter.data()});
  }

  std::unique_ptr<Device> device_ = device_under_test();
  Array<std::uint32_t> counter_{*device_, 1}, other_{*device_, 1};
  Stream stream_ = device_->execution().stream;
};

TEST_F(EmulatedDevice, RefusesTheHostInsideASequence) {
  std::uint32_t host = 0;
  EXPECT_EQ(error_of([&] { device_->copy_in(counter_.data(), &host, 4); }),
            "inside a sequence the host's memory was copied from");
  EXPECT_EQ(error_of([&] { device_->copy_out(&host, counter_.data(), 4); }),
            "inside a sequence the host's memory was copied to");
  EXPECT_EQ(error_of([&] { device_->synchronize(); }), "inside a sequence the host waited for the device");
  EXPECT_EQ(error_of([&] { Array<float>(*device_, 1); }), "inside a sequence memory was allocated");
  auto released = std::make_unique<Array<float>>(*device_, 1);
  EXPECT_EQ(error_of([&] { released.reset(); }), "inside a sequence memory was released");
  EXPECT_EQ(error_of([&] { device_->make_sequence("sequence", [] {})->run(1); }),
            "inside a sequence a sequence was run");
}

TEST_F(EmulatedDevice, FindsASequenceThatChangesBetweenItsRuns) {
  int n_asked = 0;
  EXPECT_EQ(error_of([&] {
              advance(counter_, stream_);
              if (++n_asked > 1) device_->clear(counter_.data(), 4);
            }),
            "a sequence of 1 operations asked for 2 at its replay");
  n_asked = 0;
  EXPECT_EQ(error_of([&] {
              if (++n_asked > 1)
                device_->clear(counter_.data(), 4);
              else
                advance(counter_, stream_);
            }),
            "operation 0 of a sequence was advance_step and is clear at its replay");
  n_asked = 0;
  EXPECT_EQ(error_of([&] { advance(++n_asked > 1 ? other_ : counter_, stream_); }),
            "operation 0 of a sequence, advance_step, has other arguments at its replay");
  n_asked = 0;
  EXPECT_EQ(error_of([&] { device_->copy(counter_.data(), other_.data(), ++n_asked > 1 ? 3 : 4); }),
            "operation 0 of a sequence, copy, has other arguments at its replay");
}

TEST_F(EmulatedDevice, FindsALaunchThatTheRecordingWouldMiss) {
  EXPECT_EQ(error_of([&] { advance(counter_, nullptr); }),
            "kernel advance_step: not launched on the stream that is recorded");
}

TEST_F(EmulatedDevice, GivesWrongNumbersForABranchThatIsUsedBeforeItsJoinOrTouchesWhatRunsBesideIt) {
  const Array<std::uint32_t> result(*device_, 1);
  const auto counted = [&](unsigned schedule, const std::function<void()>& operations) {
    cuda_emulator::set_schedule(schedule);
    counter_.clear();
    result.clear();
    device_
        ->make_sequence("sequence",
                        [&] {
                          operations();
                          device_->join();
                        })
        ->run(1);
    cuda_emulator::reset();
    return result.download()[0];
  };
  const auto branch = [&] { device_->aside([&] { advance(counter_, device_->execution().stream); }); };
  const auto use = [&] { device_->copy(result.data(), counter_.data(), 4); };
  for (const unsigned schedule : {0u, 1u, 2u, 3u}) {
    EXPECT_EQ(counted(schedule, [&] { branch(), device_->join(), use(); }), 1u);
    EXPECT_EQ(counted(schedule, [&] { branch(), use(); }), schedule % 2) << "as late as it may, or at once";
  }
}

TEST_F(EmulatedDevice, GivesWrongNumbersForABranchThatTouchesWhatRunsApartFromIt) {
  const Array<std::uint32_t> result(*device_, 1);
  for (const unsigned schedule : {0u, 1u, 2u, 3u}) {
    for (const bool touches : {false, true}) {
      cuda_emulator::set_schedule(schedule);
      counter_.clear();
      device_
          ->make_sequence("sequence",
                          [&] {
                            device_->aside([&] {
                              advance(counter_, device_->execution().stream);
                              device_->apart([&] { device_->copy(result.data(), counter_.data(), 4); });
                              if (touches) advance(counter_, device_->execution().stream);
                            });
                            device_->join();
                          })
          ->run(1);
      cuda_emulator::reset();
      EXPECT_EQ(result.download()[0], touches && schedule % 2 == 0 ? 2u : 1u) << "as late as it may, or at once";
    }
  }
}

TEST_F(EmulatedDevice, FindsABranchThatIsNotJoined) {
  const auto branch = [&] { device_->aside([&] { device_->clear(counter_.data(), 4); }); };
  EXPECT_EQ(error_of(branch), "a sequence ended before its branches were joined");
  EXPECT_EQ(error_of([&] { device_->aside([&] { device_->synchronize(); }); }),
            "inside a sequence the host waited for the device");
  EXPECT_EQ(error_of([&] { device_->aside([&] { advance(counter_, stream_); }); }),
            "kernel advance_step: not launched on the stream that is recorded");
  branch();
  EXPECT_MESSAGE(DeviceError, counter_.download(), "before the branches were joined the host's memory was copied to");
  EXPECT_MESSAGE(DeviceError, device_->synchronize(), "before the branches were joined the host waited for the device");
  device_->join();
  EXPECT_EQ(counter_.download()[0], 0u);
}

TEST_F(EmulatedDevice, KeepsTheHostAwayFromItsMemory) {
  EXPECT_DEATH(std::printf("%u", *static_cast<volatile std::uint32_t*>(counter_.data())), "");
  advance_step_cpu(AdvanceStep<float>{}, *device_->execution().pool);
  EXPECT_DEATH(advance_step_cpu(AdvanceStep<float>{.draw = counter_.data()}, *device_->execution().pool), "");
}

TEST_F(EmulatedDevice, FindsAWriteOutsideAnArray) {
  auto array = std::make_unique<Array<std::uint32_t>>(*device_, 3);
  advance_step_cuda(AdvanceStep<float>{.draw = array->data() + 3}, stream_);
  EXPECT_NONFATAL_FAILURE(array.reset(), "was written outside its bounds");
}

// While it lives, narrow layers run by products.
struct WithoutNarrowLayers {
  explicit WithoutNarrowLayers(bool is_without = true) { emulated_runs_narrow_layers = !is_without; }
  ~WithoutNarrowLayers() { emulated_runs_narrow_layers = true; }
};

// While it lives, counts by name the operations that emulated devices are asked for.
class CountedOperations final : public OperationObserver {
 public:
  CountedOperations() { emulated_observer = this; }
  ~CountedOperations() { emulated_observer = nullptr; }
  CountedOperations(const CountedOperations&) = delete;
  CountedOperations& operator=(const CountedOperations&) = delete;
  void begin(const OperationName& operation, const Work&) override { ++counts_[operation.name]; }
  void end() override {}
  int of(const std::string& operation) const {
    const auto found = counts_.find(operation);
    return found == counts_.end() ? 0 : found->second;
  }

 private:
  std::map<std::string, int> counts_;
};

// Steps of Adam: rounding decides where a gradient is next to nothing.
void expect_close(const Trained& got, const Trained& want) {
  for (std::size_t member = 0; member < want.weights.size(); ++member)
    for (const auto& [name, tensor] : want.weights[member])
      for (std::size_t i = 0; i < tensor.values.size(); ++i)
        ASSERT_TRUE(std::abs(got.weights[member].at(name).values[i] - tensor.values[i]) <= 5e-4) << name;
}

// Only products of rounded factors take the GELU with them: what is fused then must train as what is not.
TEST(EmulatedTraining, OfFusedProductsIsThatOfProductsAndKernels) {
  const WithoutNarrowLayers by_products;
  const auto data = windowed_track(21, 100, 10);
  auto training = plan();
  training.epochs = 2;
  const auto fused =
      train(*make_device("cuda", 2, ProductPrecision::tf32), convolution_design(10), training, data, members(2, 100));
  const auto kernels = train(*device_under_test(), convolution_design(10), training, data, members(2, 100));
  expect_close(fused, kernels);
}

// Every member of the family whose steps have branches of their own: two networks side by side, tied weights, a learned
// variance.
ModelDesign flow_design(bool tie_couplings, std::int32_t n_neurons = 12) {
  auto model = design(Objective::ivae, n_neurons);
  model.encoder_kind = EncoderKind::separate_mlps;
  model.prior_kind = PriorKind::shared_mlp;
  model.decoder_kind = DecoderKind::gin;
  model.flow = {.width = 10, .tie_couplings = tie_couplings, .permutations = {{}, {}}};
  for (std::int32_t output = 0; output < n_neurons; ++output) {
    model.flow.permutations[0].push_back((output * 5) % n_neurons);
    model.flow.permutations[1].push_back(n_neurons - 1 - output);
  }
  return model;
}
ModelDesign learned_variance_design() {
  auto model = design(Objective::ci_ivae_paper);
  model.observation = Observation::gaussian_learned;
  model.prior_kind = PriorKind::shared_mlp;
  return model;
}

ModelDesign convolution_design_of(Activation activation) {
  auto model = convolution_design(10);
  model.encoder.activation = activation;
  model.encoder.slope = 0.2;
  return model;
}

// While it lives, emulated devices have a cache of so many bytes to cut work for.
class EmulatedCache {
 public:
  explicit EmulatedCache(std::size_t bytes) : before_(std::exchange(emulated_cache_bytes, bytes)) {}
  ~EmulatedCache() { emulated_cache_bytes = before_; }
  EmulatedCache(const EmulatedCache&) = delete;
  EmulatedCache& operator=(const EmulatedCache&) = delete;

 private:
  std::size_t before_;
};

// The products of a wide layer, with all that a device fuses with them, against the kernels of a narrow one. Residual
// layers without GELU keep the activated branch, where those with it keep the branch before.
TEST(EmulatedTraining, OfNarrowLayersIsThatOfProducts) {
  auto training = plan();
  training.epochs = 2;
  auto rectified = design(Objective::ci_ivae_paper);
  rectified.encoder.activation = rectified.prior.activation = rectified.decoder.activation = Activation::relu;
  const auto windows = windowed_track(21, 100, 10);
  for (const auto& [model, data] :
       std::vector<std::pair<ModelDesign, FleetData>>{{design(Objective::ci_ivae_published), track(21, 100)},
                                                      {rectified, track(21, 100)},
                                                      {flow_design(false), track(12, 100)},
                                                      {flow_design(true), track(12, 100)},
                                                      {convolution_design(10), windows},
                                                      {convolution_design_of(Activation::relu), windows},
                                                      {convolution_design_of(Activation::leaky_relu), windows}}) {
    const auto trained = [&, &model = model, &data = data](bool is_narrow) {
      const WithoutNarrowLayers by_products(!is_narrow);
      const CountedOperations counted;
      auto result = train(*device_under_test(), model, training, data, members(2, 100));
      for (const char* operation : {"row_chain_forward", "row_chain_backward", "weight_gradients"})
        EXPECT_EQ(counted.of(operation) > 0, is_narrow) << operation;
      for (const char* operation : {"narrow_convolution_forward", "narrow_convolution_backward"})
        EXPECT_EQ(counted.of(operation) > 0, is_narrow && model.window > 1) << operation;
      return result;
    };
    expect_close(trained(true), trained(false));
  }
}

// What is not ordered between a branch and the operations beside it gives other weights when the branch runs late
// (schedule 0) and at once (1, and on the CPU).
void expect_equal_late_and_at_once(const std::function<std::vector<NamedTensors>()>& trained) {
  std::vector<std::vector<NamedTensors>> weights;
  for (const unsigned schedule : {0u, 1u}) {
    cuda_emulator::set_schedule(schedule);
    weights.push_back(trained());
    cuda_emulator::reset();
  }
  ASSERT_EQ(weights[0].size(), weights[1].size());
  for (std::size_t member = 0; member < weights[0].size(); ++member)
    expect_equal(weights[0][member], weights[1][member]);
}

TEST(EmulatedTraining, GivesTheSameBytesWhetherBranchesRunLateOrAtOnce) {
  auto training = plan();
  training.epochs = 1;
  for (const bool by_products : {false, true}) {
    const WithoutNarrowLayers without(by_products);
    for (const auto& [model, data] :
         std::vector<std::pair<ModelDesign, FleetData>>{{flow_design(false), track(12, 150)},
                                                        {flow_design(true), track(12, 150)},
                                                        {learned_variance_design(), track(21, 150)},
                                                        {convolution_design(10), windowed_track(21, 150, 10)}})
      for (const auto convolutions : {ConvolutionMethod::gemm, ConvolutionMethod::cudnn}) {
        if (convolutions == ConvolutionMethod::cudnn && model.window == 1) continue;
        expect_equal_late_and_at_once([&, &model = model, &data = data] {
          return train(*make_device("cuda", 2, ProductPrecision::fp32, convolutions), model, training, data,
                       members(2, 150))
              .weights;
        });
      }
  }
}

// Every way to encode the drawn windows: each by itself, a stretch of the recording once, and that with draws that are
// weighed.
TEST(EmulatedTraining, OfCebraGivesTheSameBytesWhetherBranchesRunLateOrAtOnce) {
  const auto data = small_cebra::track();
  for (const bool by_products : {false, true}) {
    const WithoutNarrowLayers without(by_products);
    for (const std::int32_t batch : {8, 32, 300})
      for (const bool is_hybrid : {false, true}) {
        SCOPED_TRACE(testing::Message() << "batch " << batch << ", hybrid " << is_hybrid << ", by products "
                                        << by_products);
        auto model = small_cebra::design(5);
        model.learns_temperature = true;
        auto steps = small_cebra::plan(2, batch);
        if (is_hybrid) {
          model.n_features = 5;
          model.n_behaviour_features = 3;
          steps.prior = ContrastivePrior::leads;
          steps.positive = ContrastivePositive::time_delta;
        }
        expect_equal_late_and_at_once([&] {
          const auto device = device_under_test();
          CebraFleet fleet(*device, model, steps, data, {small_cebra::member(3), small_cebra::member(8)});
          EXPECT_EQ(fleet.encodes_distinct(), batch != 8);
          EXPECT_EQ(fleet.weighs_draws(), batch == 300);
          small_cebra::trained(fleet);
          return std::vector{fleet.parameters(0), fleet.parameters(1)};
        });
      }
  }
}

TEST(EmulatedTraining, OfGclGivesTheSameBytesWhetherBranchesRunLateOrAtOnce) {
  const GclDesign model{.n_neurons = 21, .n_labels = 3, .n_latents = 2, .features = {{24, 17}}, .psi = {{12}}};
  const TrainingPlan training{.batch = 32, .epochs = 1};
  for (const bool by_products : {false, true}) {
    const WithoutNarrowLayers without(by_products);
    expect_equal_late_and_at_once([&] {
      const auto device = device_under_test();
      GclFleet fleet(*device, model, training, track(21, 150), members(2, 150));
      fleet.train([](auto) { return true; });
      return std::vector{fleet.parameters(0), fleet.parameters(1)};
    });
  }
}

// Large layers step during the backward pass; the rest at its end. Tied weights get two gradients before they may. In
// one stretch the bytes are those of one step at the end; in several the products are others, and round otherwise.
TEST(EmulatedTraining, WithoutClippingGivesTheBytesOfOneStepAtTheEnd) {
  const WithoutNarrowLayers by_products;
  auto training = plan();
  training.epochs = 1;
  training.clip_norm = 0;
  struct Case {
    ModelDesign model;
    FleetData data;
    // three times the largest gradient, and less than twelve times the smaller hidden layers'
    std::size_t holds_a_layer;
  };
  for (const auto& [model, data, holds_a_layer] : {Case{design(Objective::ci_ivae_published), track(21, 150), 10000},
                                                   Case{flow_design(true), track(12, 150), 7000}}) {
    const auto trained = [&](std::size_t cache, unsigned schedule) {
      const EmulatedCache cut_for(cache);
      cuda_emulator::set_schedule(schedule);
      auto result = train(*device_under_test(), model, training, data, members(2, 150));
      cuda_emulator::reset();
      return result;
    };
    const auto at_end = trained(0, 0), cut = trained(1000, 0), cut_at_once = trained(1000, 1);
    for (const unsigned schedule : {0u, 1u}) {
      const auto early = trained(holds_a_layer, schedule);
      for (std::size_t member = 0; member < 2; ++member) expect_equal(at_end.weights[member], early.weights[member]);
    }
    for (std::size_t member = 0; member < 2; ++member) expect_equal(cut.weights[member], cut_at_once.weights[member]);
    expect_close(cut, at_end);
    // They are other operations: one recording does not serve two of them.
    for (const std::size_t other : {holds_a_layer, std::size_t{1000}}) {
      const auto device = device_under_test();
      Fleet fleet(*device, model, training, data, members(2, 150));
      const auto step = fleet.training_step();
      fleet.begin_epoch(0);
      const EmulatedCache none(0);
      step->run(1);
      const EmulatedCache cut_for(other);
      EXPECT_MESSAGE(DeviceError, step->run(1), "at its replay");
    }
  }
}

// On a device without a cache to cut for nothing steps early, and chains run without clipping too.
TEST(EmulatedTraining, WithoutClippingOfNarrowLayersIsThatOfProducts) {
  auto training = plan();
  training.epochs = 2;
  training.clip_norm = 0;
  const EmulatedCache none(0);
  for (const auto& [model, data] : std::vector<std::pair<ModelDesign, FleetData>>{
           {design(Objective::ci_ivae_published), track(21, 100)}, {flow_design(true), track(12, 100)}}) {
    const auto trained = [&, &model = model, &data = data](bool is_narrow) {
      const WithoutNarrowLayers by_products(!is_narrow);
      const CountedOperations counted;
      auto result = train(*device_under_test(), model, training, data, members(2, 100));
      EXPECT_EQ(counted.of("row_chain_backward") > 0, is_narrow);
      EXPECT_EQ(counted.of("gradient_norm"), 0);
      return result;
    };
    expect_close(trained(true), trained(false));
  }
}

// A decoder too wide for a chain steps layer by layer during the backward pass; the encoder and the prior beside it are
// chains.
TEST(EmulatedTraining, OfAWideDecoderThatStepsEarlyBesideChainsIsThatOfTheCpu) {
  auto model = design(Objective::ci_ivae_published);
  model.decoder.widths = {16, 264};
  const auto data = track(21, 100);
  auto training = plan();
  training.epochs = 2;
  training.clip_norm = 0;
  struct Run {
    Trained trained;
    int n_chains = 0, n_adam = 0;
  };
  const auto run = [&](std::size_t cache, unsigned schedule) {
    const EmulatedCache cut_for(cache);
    const CountedOperations counted;
    cuda_emulator::set_schedule(schedule);
    Run result{.trained = train(*device_under_test(), model, training, data, members(2, 100))};
    cuda_emulator::reset();
    result.n_chains = counted.of("row_chain_backward");
    result.n_adam = counted.of("adam");
    return result;
  };
  // A third holds the gradient of the layer to 264, not that from it; a twelfth is more than that of every other layer.
  const auto late = run(60000, 0), at_once = run(60000, 1), at_end = run(0, 0);
  for (std::size_t member = 0; member < 2; ++member)
    expect_equal(late.trained.weights[member], at_once.trained.weights[member]);
  EXPECT_GT(late.n_chains, 0);
  EXPECT_EQ(late.n_chains, at_end.n_chains);
  EXPECT_GT(late.n_adam, 3 * at_end.n_adam);
  expect_close(late.trained, train(*make_cpu_device(2), model, training, data, members(2, 100)));
}

// A kernel whose result depends on the order of its threads or blocks, or a branch on when it runs, gives other weights
// in another schedule.
TEST(EmulatedTraining, GivesTheSameBytesInFourSchedules) {
  const auto data = track(21, 200);
  auto training = plan();
  training.epochs = 2;
  for (const auto objective : {Objective::ci_ivae_paper, Objective::ivae}) {
    std::vector<Trained> trained;
    for (unsigned schedule = 0; schedule < 4; ++schedule) {
      cuda_emulator::set_schedule(schedule);
      trained.push_back(train(*device_under_test(), design(objective), training, data, members(2, 200)));
      cuda_emulator::reset();
      for (std::size_t member = 0; member < 2; ++member)
        expect_equal(trained[0].weights[member], trained.back().weights[member]);
    }
  }
}

TEST(EmulatedTraining, OfRecordingsThatShareAPriorGivesTheSameBytesInFourSchedulesAndTheCpusWeights) {
  const JointTrack joint(Objective::ci_ivae_paper);
  auto training = plan();
  training.epochs = 2;
  const auto on_cpu = train(*make_cpu_device(2), joint.sessions(), training, joint.members(2));
  std::vector<Trained> trained;
  for (unsigned schedule = 0; schedule < 4; ++schedule) {
    cuda_emulator::set_schedule(schedule);
    trained.push_back(train(*device_under_test(), joint.sessions(), training, joint.members(2)));
    cuda_emulator::reset();
    for (std::size_t member = 0; member < 4; ++member)
      expect_equal(trained[0].weights[member], trained.back().weights[member]);
    expect_close(trained.back(), on_cpu);
  }
}

}  // namespace
}  // namespace idem
