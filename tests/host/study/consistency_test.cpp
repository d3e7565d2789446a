#include "host/study/consistency.h"

#include <gtest/gtest.h>

#include <cmath>

#include "host/formats/npz.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

// Four seeds: two of one latent up to an affine map, with the lowest losses, two of others.
TEST(SeedConsistency, IsAlsoThatOfTheHalfWithTheLowestLosses) {
  const TemporaryFolder folder;
  constexpr std::int32_t n_times = 90;
  Subject subject{.recording = {},
                  .splits = {{.name = "all", .train = {}, .valid = {}, .test = {}}},
                  .split_numbers = {0},
                  .notes = {},
                  .warnings = {}};
  subject.recording.subject = "rat";
  for (std::int32_t bin = 0; bin < n_times; ++bin)
    (bin % 3 ? subject.splits[0].train : subject.splits[0].test).push_back(bin);
  Study study;
  study.models.resize(1);
  study.models[0].name = "model";
  std::vector<PlannedRun> planned(4);
  std::vector<FinishedRun> runs;
  const double losses[] = {0.9, 0.1, NAN, 0.2}, frequencies[] = {0.7, 0.3, 1.1, 0.3};
  for (std::size_t seed = 0; seed < 4; ++seed) {
    std::vector<float> values;
    for (int bin = 0; bin < n_times; ++bin) {
      const double a = std::sin(frequencies[seed] * bin), b = std::cos(frequencies[seed] * bin * 1.7);
      values.insert(values.end(),
                    {static_cast<float>(seed == 3 ? a + b : a), static_cast<float>(seed == 3 ? 5 - 2 * b : b)});
    }
    const auto path = folder / (std::to_string(seed) + ".npz");
    write_npz(path, {{"encoder_mean", NumpyArray::of<float>({n_times, 2}, values)}});
    runs.push_back({&planned[seed], path, losses[seed]});
  }
  const auto entry = seed_consistency(StudyRuns(study, {subject}), runs).at(0);
  EXPECT_NEAR(entry.at("encoder_lowest_loss").get<double>(), 1, 1e-6);
  EXPECT_NEAR(entry.at("encoder_train_lowest_loss").get<double>(), 1, 1e-6);
  EXPECT_LT(entry.at("encoder").get<double>(), 0.5);
  runs.pop_back();
  EXPECT_FALSE(seed_consistency(StudyRuns(study, {subject}), runs).at(0).contains("encoder_lowest_loss"));
}

}  // namespace
}  // namespace idem
