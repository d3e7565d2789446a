#include "host/parity/parity.h"
#include "tests/support/golden_cases.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "tests/support/device_under_test.h"

namespace idem {
namespace {

struct GoldenFile {
  std::string file;
  std::string folder;
};
void PrintTo(const GoldenFile& test_case, std::ostream* to) { *to << test_case.folder << "/" << test_case.file; }

std::filesystem::path path_of(const GoldenFile& test_case) {
  if (test_case.folder == "shared") return std::filesystem::path(IDEM_SHARED_DIR) / "golden" / test_case.file;
  // Of programs that were carried to another machine (tools/gpu-check) with their golden cases beside them.
  if (const char* carried = std::getenv("IDEM_GOLDEN_DIR")) return std::filesystem::path(carried) / test_case.file;
  return std::filesystem::path(IDEM_SOURCE_DIR) / "tests" / "golden" / test_case.file;
}

class GoldenCase : public testing::TestWithParam<GoldenFile> {
 protected:
  void expect_parity(Precision precision, double tolerance, double tolerance_after_steps,
                     ConvolutionMethod convolutions = ConvolutionMethod::gemm) {
    const auto path = path_of(GetParam());
    if (!std::filesystem::exists(path)) GTEST_SKIP() << path << " is not on this machine";
    const auto golden = read_npz(path);
    const auto device = precision == Precision::fp64
                            ? make_cpu_device(2)
                            : make_device(IDEM_TEST_DEVICE, 2, ProductPrecision::fp32, convolutions);
    const auto differences = compare_parity(golden, run_parity(*device, known_case_kinds(), golden, precision));
    ASSERT_GT(differences.size(), 10u);
    for (const auto& [name, relative] : differences) {
      const double allowed =
          name.rfind("param_after.", 0) == 0 || name.rfind("step2", 0) == 0 ? tolerance_after_steps : tolerance;
      EXPECT_TRUE(relative <= allowed) << name << " differs by " << relative << ", allowed " << allowed;
    }
  }
};

// The oracle, which only the CPU has: in double only the order of sums differs from the golden values.
TEST_P(GoldenCase, InDoubleAgreesToRounding) { expect_parity(Precision::fp64, 1e-9, 1e-8); }
// Float32: some 1e-7 per operation; three Adam steps divide small gradients by their own size.
TEST_P(GoldenCase, InSingleAgreesToTheStatedTolerance) { expect_parity(Precision::fp32, 1e-4, 1e-3); }
// With learned convolutions; those of the small case are narrower than cuDNN's layouts, all of the large one's but the
// last are cuDNN's.
class GoldenConvolutions : public GoldenCase {};
TEST_P(GoldenConvolutions, ByCudnnInSingleAgreeToTheStatedTolerance) {
  if (const auto reason = why_no_cudnn(); !reason.empty()) GTEST_SKIP() << reason;
  expect_parity(Precision::fp32, 1e-4, 1e-3, ConvolutionMethod::cudnn);
}

std::vector<GoldenFile> golden_files() {
  std::vector<GoldenFile> all;
  for (const char* folder : {"tests", "shared"})
    for (const char* file :
         {"civae_objective.npz", "civae_objective_paper.npz", "conv_civae_boxcar_step.npz",
          "conv_civae_gaussian_step.npz", "pivae_step.npz", "conv_pivae_step.npz", "cebra_cosine_fixed_step.npz",
          "cebra_cosine_learnable_step.npz", "cebra_euclidean_fixed_step.npz"})
      all.push_back({file, folder});
  return all;
}
std::string file_name_of(const testing::TestParamInfo<GoldenFile>& parameter) {
  return parameter.param.folder + "_" + std::filesystem::path(parameter.param.file).stem().string();
}
INSTANTIATE_TEST_SUITE_P(, GoldenCase, testing::ValuesIn(golden_files()), file_name_of);
INSTANTIATE_TEST_SUITE_P(, GoldenConvolutions,
                         testing::Values(GoldenFile{"conv_pivae_step.npz", "tests"},
                                         GoldenFile{"conv_pivae_step.npz", "shared"}),
                         file_name_of);

TEST(Parity, ReportsNonFiniteValuesAndOtherShapesAsDifferences) {
  const std::map<std::string, NumpyArray> golden{{"a", NumpyArray::of<double>({2}, {1, 2})},
                                                 {"b", NumpyArray::of<double>({1}, {1})}};
  const std::map<std::string, NumpyArray> computed{{"a", NumpyArray::of<double>({2}, {1, std::nan("")})},
                                                   {"b", NumpyArray::of<double>({2}, {1, 1})}};
  for (const auto& difference : compare_parity(golden, computed))
    EXPECT_FALSE(difference.relative <= 1e30) << difference.name;
}

TEST(Parity, EveryGoldenTensorButInputsAndTheIndeterminateMustBeComputed) {
  const NumpyArray one = NumpyArray::of_scalar(1.0);
  const std::map<std::string, NumpyArray> golden{{"meta", NumpyArray::of_text(R"({"indeterminate": ["grad.free"]})")},
                                                 {"param0.w", one},
                                                 {"step0.in.x", one},
                                                 {"alphas", one},
                                                 {"grad.free", one},
                                                 {"grad.w", one},
                                                 {"step0.out.loss", one},
                                                 {"step0.out.z_mean", one}};
  const auto differences = compare_parity(golden, {{"grad.w", one}, {"extra", one}});
  ASSERT_EQ(differences.size(), 3u);
  EXPECT_EQ(differences[0].name, "grad.w");
  EXPECT_EQ(differences[0].relative, 0);
  EXPECT_EQ(differences[1].name, "step0.out.loss");
  EXPECT_FALSE(differences[1].relative <= 1e30);
  EXPECT_EQ(differences[2].name, "step0.out.z_mean");
  EXPECT_FALSE(differences[2].relative <= 1e30);
}

TEST(Parity, RefusesAFileThatIsNoGoldenCase) {
  const auto device = device_under_test(1);
  EXPECT_THROW(run_parity(*device, known_case_kinds(), {{"x", NumpyArray::of_scalar(1.0)}}, Precision::fp32),
               DataError);
  EXPECT_THROW(run_parity(*device, known_case_kinds(), {{"meta", NumpyArray::of_text("{\"case\": \"no-such\"}")}},
                          Precision::fp32),
               DataError);
}

}  // namespace
}  // namespace idem
