// Golden cases in which one array or one number does not fit the others.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "host/parity/parity.h"
#include "kernels/common/to_size.h"
#include "tests/support/golden_cases.h"
#include "tests/support/json_mutations.h"

namespace idem {
namespace {

using Arrays = std::map<std::string, NumpyArray>;

NumpyArray reshaped(const NumpyArray& array, std::vector<std::int64_t> shape) {
  NumpyArray changed = array;
  changed.shape = std::move(shape);
  changed.bytes.resize(to_size(changed.size() * changed.type.item_bytes));
  return changed;
}

// Every way in which an array may not be what its use needs. `bytes` always hold what the shape says, as of any array
// that was read.
std::vector<std::pair<std::string, NumpyArray>> changed(const NumpyArray& array) {
  std::vector<std::pair<std::string, NumpyArray>> all{{"text", NumpyArray::of_text("text")},
                                                      {"0-d", reshaped(array, {})}};
  const auto add = [&](const std::string& what, std::vector<std::int64_t> shape) {
    all.emplace_back(what, reshaped(array, std::move(shape)));
  };
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
      compare_parity(arrays, run_parity(*device, known_case_kinds(), arrays, Precision::fp32, "case.npz"));
    } catch (const DataError& error) {
      EXPECT_EQ(std::string(error.what()).find_first_of("\n\r"), std::string::npos) << error.what();
      return error.what();
    }
    return "";
  }

  Arrays golden;
  std::unique_ptr<Device> device = make_cpu_device(1);
};

// Cases of others are larger: a part of the changes is enough there.
bool is_of_project(const std::filesystem::path& path) { return path.string().starts_with(IDEM_SOURCE_DIR "/tests"); }

// The later steps' arrays are looked at as the first one's are, only later.
bool is_of_first_step(const std::string& name) { return !name.starts_with("step") || name.starts_with("step0."); }

TEST_P(FaultyGoldenCase, IsRefusedWhicheverArrayDoesNotFit) {
  const Arrays computed = run_parity(*device, known_case_kinds(), golden, Precision::fp32);
  int n_inputs = 0;
  for (const auto& [name, array] : golden) {
    if (name == "meta") continue;
    const bool is_result = computed.contains(name);
    Arrays without = golden;
    without.erase(name);
    if (is_result) {
      EXPECT_NO_THROW(compare_parity(without, computed)) << name;
    } else if (is_of_first_step(name) && !name.ends_with(".centre")) {  // which is for people alone
      EXPECT_EQ(run(without).find("case.npz: array \""), 0u) << name << ": " << run(without);
    }
    for (const auto& [what, other] : changed(array)) {
      SCOPED_TRACE(name + ", " + what);
      Arrays arrays = golden;
      arrays[name] = other;
      // Results are looked at after all the work.
      const bool is_one_of_few = what == "less of axis 0" || what == "text";
      if (!is_one_of_few && (is_result || !is_of_first_step(name) || !is_of_project(GetParam()))) continue;
      ++n_inputs;
      const std::string message = run(arrays);
      if (other.shape == array.shape && !other.is_text()) continue;
      if (array.shape.empty() && !other.is_text()) continue;
      const bool is_of_noise = name == "eps" || name.ends_with(".eps_mc");
      if (is_of_noise && (what == "less of axis 2" || what == "more of axis 2"))
        continue;  // any number of draws will do
      // Sizes that this array itself decides are refused where the next one has others.
      EXPECT_EQ(message.find("case.npz: "), 0u) << message;
    }
  }
  EXPECT_GT(n_inputs, is_of_project(GetParam()) ? 80 : 10);
}

class FaultyGoldenMeta : public FaultyGoldenCase {};

TEST_P(FaultyGoldenMeta, IsRefusedOrComputedWhateverItSays) {
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

std::vector<std::filesystem::path> cases(bool with_those_of_others) {
  std::vector<std::filesystem::path> all;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(IDEM_SOURCE_DIR) / "tests" / "golden"))
    if (entry.path().extension() == ".npz") all.push_back(entry.path());
  std::sort(all.begin(), all.end());
  for (std::size_t i = 0, n = all.size(); with_those_of_others && i < n; ++i)
    all.push_back(std::filesystem::path(IDEM_SHARED_DIR) / "golden" / all[i].filename());
  return all;
}
std::string name_of(const testing::TestParamInfo<std::filesystem::path>& parameter) {
  return (is_of_project(parameter.param) ? "tests_" : "shared_") + parameter.param.stem().string();
}
INSTANTIATE_TEST_SUITE_P(, FaultyGoldenCase, testing::ValuesIn(cases(true)), name_of);
INSTANTIATE_TEST_SUITE_P(, FaultyGoldenMeta, testing::ValuesIn(cases(false)), name_of);

TEST(FaultyGoldenCases, OfOthersAreRefused) {
  const auto path = std::filesystem::path(IDEM_SHARED_DIR) / "cases" / "hostile" / "parity_103.npz";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not on this machine";
  const auto device = make_cpu_device(1);
  EXPECT_THROW(run_parity(*device, known_case_kinds(), read_npz(path), Precision::fp32), DataError);
}

}  // namespace
}  // namespace idem
