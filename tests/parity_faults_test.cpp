// Golden cases in which one array or one number does not fit the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "host/parity.h"
#include "tests/json_mutations.h"

namespace idem {
namespace {

using Arrays = std::map<std::string, NumpyArray>;

NumpyArray reshaped(const NumpyArray& array, std::vector<std::int64_t> shape) {
  NumpyArray changed = array;
  changed.shape = std::move(shape);
  changed.bytes.resize(static_cast<std::size_t>(changed.size() * changed.type.item_bytes));
  return changed;
}

// Every way in which an array may not be what its use needs. `bytes` always hold what the shape says, as of any array that was read.
std::vector<std::pair<std::string, NumpyArray>> changed(const NumpyArray& array) {
  std::vector<std::pair<std::string, NumpyArray>> all{{"text", NumpyArray::of_text("text")}, {"0-d", reshaped(array, {})}};
  const auto add = [&](const std::string& what, std::vector<std::int64_t> shape) { all.emplace_back(what, reshaped(array, std::move(shape))); };
  for (std::size_t axis = 0; axis < array.shape.size(); ++axis) {
    const std::string at = " axis " + std::to_string(axis);
    auto shape = array.shape;
    shape[axis] -= 1;
    add("less of" + at, shape);
    shape[axis] = array.shape[axis] + 1;
    add("more of" + at, shape);
    shape[axis] = 0;
    add("nothing of" + at, shape);
    shape = array.shape;
    shape.erase(shape.begin() + static_cast<std::ptrdiff_t>(axis));
    add("without" + at, shape);
    shape = array.shape;
    shape.insert(shape.begin() + static_cast<std::ptrdiff_t>(axis), 1);
    add("one more" + at, shape);
  }
  add("empty with a large axis", {std::int64_t{1} << 40, 0});
  std::vector<std::int64_t> turned(array.shape.rbegin(), array.shape.rend());
  add("turned", turned);
  NumpyArray swapped_type = reshaped(array, array.shape);
  swapped_type.type = {'u', 1, false};
  all.emplace_back("bytes", reshaped(swapped_type, array.shape));
  return all;
}

class FaultyGoldenCase : public testing::TestWithParam<std::filesystem::path> {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists(GetParam())) GTEST_SKIP() << GetParam() << " is not on this machine";
    golden = read_npz(GetParam());
  }
  // "" where it ran, else the message of its DataError; any other exception fails the test.
  std::string run(const Arrays& arrays) {
    try {
      compare_parity(arrays, run_parity(*device, arrays, Precision::fp32, "case.npz"));
    } catch (const DataError& error) {
      EXPECT_EQ(std::string(error.what()).find_first_of("\n\r"), std::string::npos) << error.what();
      return error.what();
    }
    return "";
  }

  Arrays golden;
  std::unique_ptr<Device> device = make_cpu_device(1);
};

// The later steps' arrays are looked at as the first one's are, only later.
bool is_of_first_step(const std::string& name) { return !name.starts_with("step") || name.starts_with("step0."); }

TEST_P(FaultyGoldenCase, IsRefusedWhicheverArrayDoesNotFit) {
  const Arrays computed = run_parity(*device, golden, Precision::fp32);
  int n_inputs = 0;
  for (const auto& [name, array] : golden) {
    if (name == "meta") continue;
    const bool is_result = computed.contains(name);
    // What is only compared; but sizes are read from the first results of some.
    const bool is_only_compared = is_result && !name.ends_with("0.out.z_mean") && !name.ends_with("0.out.reference");
    Arrays without = golden;
    without.erase(name);
    if (is_only_compared) {
      EXPECT_NO_THROW(compare_parity(without, computed)) << name;
    } else if (is_of_first_step(name)) {
      EXPECT_NE(run(without).find("case.npz: array \"" + name + "\" is missing"), std::string::npos) << name << ": " << run(without);
    }
    for (const auto& [what, other] : changed(array)) {
      SCOPED_TRACE(name + ", " + what);
      Arrays arrays = golden;
      arrays[name] = other;
      if (is_only_compared) {
        try {
          compare_parity(arrays, computed);
        } catch (const DataError&) {  // text
        }
        continue;
      }
      if (!is_of_first_step(name) && what != "less of axis 0") continue;
      ++n_inputs;
      const std::string message = run(arrays);
      if (other.shape == array.shape && !other.is_text()) continue;
      if (array.shape.empty() && !other.is_text()) continue;
      // Sizes that this array itself decides are refused where the next array has others.
      EXPECT_EQ(message.find("case.npz: array \""), 0u) << message;
    }
  }
  EXPECT_GT(n_inputs, 80);
}

TEST_P(FaultyGoldenCase, IsRefusedOrComputedWhateverItsMetaSays) {
  // Fewer steps are enough to see what a number does.
  auto meta = nlohmann::ordered_json::parse(golden.at("meta").text());
  if (meta.contains("steps")) meta["steps"] = 1;
  for_each_mutation(
      meta,
      [&](const std::string& where, const std::string& text) {
        SCOPED_TRACE(where);
        Arrays arrays = golden;
        arrays["meta"] = NumpyArray::of_text(text);
        std::string message;
        ASSERT_NO_THROW(message = run(arrays));
        EXPECT_EQ(message.find("json.exception"), std::string::npos) << message;
        EXPECT_TRUE(message.empty() || message.starts_with("case.npz: ")) << message;
      },
      1);
}

std::vector<std::filesystem::path> cases() {
  std::vector<std::filesystem::path> all;
  const auto folder = std::filesystem::path(IDEM_SOURCE_DIR) / "tests" / "golden";
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".npz") all.push_back(entry.path());
  std::sort(all.begin(), all.end());
  return all;
}
INSTANTIATE_TEST_SUITE_P(, FaultyGoldenCase, testing::ValuesIn(cases()), [](const auto& parameter) { return parameter.param.stem().string(); });

TEST(FaultyGoldenCases, OfOthersAreRefused) {
  const auto path = std::filesystem::path(IDEM_SHARED_DIR) / "cases" / "hostile" / "parity_103.npz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not on this machine";
  const auto device = make_cpu_device(1);
  EXPECT_THROW(run_parity(*device, read_npz(path), Precision::fp32), DataError);
}

}  // namespace
}  // namespace idem
