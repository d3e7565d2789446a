#include "host/recordings/spike_times.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <random>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"
#include "tests/support/error_message.h"

namespace idem {
namespace {

SpikeTimes spikes_of(std::vector<double> times, std::vector<std::int64_t> units, double rate_hz = 0) {
  return {std::move(times), std::move(units), rate_hz, "spikes"};
}

TEST(SpikeTimes, ASpikeOnAnEdgeBelongsToTheBinThatBeginsThere) {
  // Every edge of 25 ms bins, as the decimal number that a file holds; k * 0.025 in floating point is often an ulp off
  // it.
  SpikeTimes seconds, samples;
  for (int k = 0; k < 4000; ++k) {
    seconds.times.push_back(
        std::stod(std::to_string(k * 25 / 1000) + "." + std::to_string(1000 + k * 25 % 1000).substr(1)));
    samples.times.push_back(750.0 * k);
    seconds.units.push_back(7);
    samples.units.push_back(7);
  }
  samples.sampling_rate_hz = 30000;
  for (const auto& spikes : {seconds, samples}) {
    const auto binned = bin_spikes(spikes, {.bin_width_ms = 25});
    ASSERT_EQ(binned.n_bins, 4000);
    for (const float count : binned.counts) EXPECT_EQ(count, 1);
  }
  const auto binned = bin_spikes(spikes_of({749, 750, 1499, 1500}, {1, 1, 1, 1}, 30000), {.bin_width_ms = 25});
  EXPECT_EQ(binned.counts, (std::vector<float>{1, 2, 1}));
}

TEST(SpikeTimes, BinsAgreeWithCountingByHand) {
  std::mt19937 generator(3);
  SpikeTimes spikes;
  for (int spike = 0; spike < 3000; ++spike) {
    spikes.times.push_back(static_cast<double>(generator()) / 4294967296.0 * 20 - 1);
    spikes.units.push_back(10 + generator() % 4);
  }
  const Binning binning{.bin_width_ms = 40, .start_s = 2, .stop_s = 10.05, .units = {13, 10}};
  const auto binned = bin_spikes(spikes, binning);
  ASSERT_EQ(binned.n_bins, 201);  // 8.05 s hold 201 whole bins
  EXPECT_EQ(binned.units, binning.units);
  EXPECT_EQ(binned.time_s[100], 6.0);
  std::int64_t n_inside = 0, n_other = 0;
  for (int bin = 0; bin < 201; ++bin)
    for (int column = 0; column < 2; ++column) {
      float wanted = 0;
      for (std::size_t spike = 0; spike < spikes.times.size(); ++spike)
        wanted += spikes.units[spike] == binning.units[to_size(column)] && spikes.times[spike] >= 2 + bin * 0.04 &&
                  spikes.times[spike] < 2 + (bin + 1) * 0.04;
      EXPECT_EQ(binned.counts[to_size(2 * bin + column)], wanted);
      n_inside += static_cast<std::int64_t>(wanted);
    }
  for (const auto unit : spikes.units) n_other += unit == 11 || unit == 12;
  EXPECT_EQ(binned.n_other_units, n_other);
  EXPECT_EQ(binned.n_outside, 3000 - n_other - n_inside);
  EXPECT_EQ(bin_spikes(spikes, {.bin_width_ms = 40}).units, (std::vector<std::int64_t>{10, 11, 12, 13}));
}

TEST(SpikeTimes, AClockThatStartsLateBeginsWithTheFirstSpikeOrSample) {
  const auto spikes = spikes_of({3600.0711, 3600.12, 3601}, {1, 2, 1});
  const BinnedSpikes late = bin_spikes(spikes, {.bin_width_ms = 25}),
                     from_zero = bin_spikes(spikes, {.bin_width_ms = 25, .start_s = 0});
  EXPECT_EQ(late.first_bin, 144002);
  ASSERT_EQ(late.n_bins, from_zero.n_bins - 144002);
  for (std::size_t bin = 0; bin < late.time_s.size(); ++bin)
    EXPECT_EQ(late.time_s[bin], from_zero.time_s[bin + 144002]);  // to the last bit
  EXPECT_TRUE(std::equal(late.counts.begin(), late.counts.end(), from_zero.counts.begin() + 2 * 144002));
  EXPECT_EQ(bin_spikes(spikes, {.bin_width_ms = 25, .first_sample_s = 3590.01}).time_s.front(), 3590);
  EXPECT_EQ(bin_spikes(spikes, {.bin_width_ms = 25, .first_sample_s = 0.1}).first_bin, 0);
  EXPECT_EQ(bin_spikes(spikes, {.bin_width_ms = 25, .units = {2}}).time_s.front(),
            3600.1);  // of the units that are kept
  EXPECT_EQ(bin_spikes(spikes_of({0.24, 1}, {1, 1}), {.bin_width_ms = 25}).first_bin,
            0);  // a recording may begin in silence
  EXPECT_EQ(bin_spikes(spikes_of({-30, -29}, {1, 1}), {.bin_width_ms = 25}).counts.front(), 1);
  SpikeTimes samples = spikes_of({3e6, 3.1e6}, {1, 1});
  samples.sampling_rate_hz = 30000;
  EXPECT_EQ(bin_spikes(samples, {.bin_width_ms = 25}).time_s.front(), 100);
}

TEST(SpikeTimes, ImpossibleSpikesAreRefusedWithARemedy) {
  const Binning binning{.bin_width_ms = 25};
  EXPECT_MESSAGE(DataError, bin_spikes(spikes_of({1, 2}, {1}), binning), "2 spike times but 1 unit ids");
  EXPECT_MESSAGE(DataError, bin_spikes(spikes_of({}, {}), binning), "holds no spikes");
  EXPECT_MESSAGE(DataError, bin_spikes(spikes_of({1, NAN}, {1, 1}), binning), "row 1 has the spike time nan");
  EXPECT_MESSAGE(DataError, bin_spikes(spikes_of({1, 2e8}, {1, 1}), binning), "sampling_rate_hz");
  EXPECT_MESSAGE(DataError, bin_spikes(spikes_of({1, 2}, {1, 1}), {.bin_width_ms = 25, .units = {2}}),
                 "unit 2 has no spikes");
  EXPECT_MESSAGE(ConfigError, bin_spikes(spikes_of({1, 2}, {1, 1}), {.bin_width_ms = 25, .units = {1, 1}}),
                 "listed twice");
  EXPECT_MESSAGE(DataError, bin_spikes(spikes_of({1, 2}, {1, 1}), {.bin_width_ms = 25, .start_s = 5}), "no whole bin");
  EXPECT_MESSAGE(ConfigError, bin_spikes(spikes_of({1}, {1}), {.bin_width_ms = 0}), "above 0 ms");
}

TEST(SpikeTimes, LabelsAreInterpolatedByTheirKind) {
  const std::vector<double> at = {-0.1, 0, 0.25, 0.5, 0.75, 1, 1.5, 2, 2.1};
  SampledLabel label{.time_s = {0, 1, 2}, .values = {10, 20, 0}};
  const auto expect = [&](const std::vector<double>& wanted) {
    const auto aligned = align_label(label, at);
    for (std::size_t i = 0; i < at.size(); ++i) {
      if (std::isnan(wanted[i]))
        EXPECT_TRUE(std::isnan(aligned[i])) << at[i];
      else
        EXPECT_NEAR(aligned[i], wanted[i], 1e-12) << at[i];
    }
  };
  expect({NAN, 10, 12.5, 15, 17.5, 20, 10, 0, NAN});
  label.kind = LabelKind::circular;
  label.period = 360;
  label.values = {350, 10, 190};  // over 0 along the short arc; then half a turn
  const auto circular = align_label(label, at);
  EXPECT_NEAR(circular[2], 355, 1e-9);
  EXPECT_NEAR(circular[3], 0, 1e-9);
  EXPECT_NEAR(circular[4], 5, 1e-9);
  label.kind = LabelKind::categorical;
  label.values = {0, 1, 2};
  expect({NAN, 0, 0, 0, 0, 1, 1, 2, 2});  // a state lasts until the next sample, the last one on
  label.max_gap_s = 0.05;
  expect({NAN, 0, NAN, NAN, NAN, 1, NAN, 2, NAN});
  label.max_gap_s = 0;
  label.choice = SampleChoice::nearest;
  expect({NAN, 0, 0, 0, 1, 1, 1, 2, NAN});  // ties go to the earlier sample
}

TEST(SpikeTimes, GapsBetweenSamplesStayWithoutAValue) {
  SampledLabel label{.time_s = {0, 1, 5, 6}, .values = {0, 1, 5, 6}, .max_gap_s = 2};
  auto aligned = align_label(label, {0.5, 1, 3, 5, 5.5});
  EXPECT_EQ(aligned[0], 0.5);
  EXPECT_EQ(aligned[1], 1);
  EXPECT_TRUE(std::isnan(aligned[2]));
  EXPECT_EQ(aligned[4], 5.5);
  label.max_gap_s = 0;
  EXPECT_EQ(align_label(label, {3})[0], 3);
  label.values[1] = NAN;  // a missing sample is no sample
  EXPECT_EQ(align_label(label, {1})[0], 1);
}

TEST(SpikeTimes, TimesThatNumbersDoNotTellApartAreRefusedAndNotSearchedForEver) {
  for (const double time : {1e300, -1e300, 1e16}) {
    const SpikeTimes spikes{.times = {time, time}, .units = {1, 1}, .where = "x.npy"};
    for (const std::optional<double> start_s : {std::optional<double>(), std::optional(time)})
      EXPECT_MESSAGE(DataError, bin_spikes(spikes, {.bin_width_ms = 25, .start_s = start_s}),
                     "where numbers tell no bins of 25 ms apart");
  }
  EXPECT_MESSAGE(DataError,
                 bin_spikes({.times = {1}, .units = {1}, .where = "x.npy"}, {.bin_width_ms = 25, .start_s = -1e300}),
                 "no bins of 25 ms apart");
}

TEST(SpikeTimes, AStateEndsAtASampleWithoutAValue) {
  SampledLabel label{.time_s = {1, 5, 9}, .values = {2, std::nan(""), 3}, .kind = LabelKind::categorical};
  const auto aligned = align_label(label, {2, 6, 10});
  EXPECT_EQ(aligned[0], 2);
  EXPECT_TRUE(std::isnan(aligned[1]));
  EXPECT_EQ(aligned[2], 3);
  label.choice = SampleChoice::nearest;
  EXPECT_EQ(align_label(label, {6})[0], 3);
}

}  // namespace
}  // namespace idem
