#include "engine/families/cebra/stretches.h"

#include <algorithm>
#include <stdexcept>

#include "kernels/common/to_size.h"

namespace idem {

namespace {

// The bins that a set's windows read, each once and ascending: the windows that begin there are encoded at once.
// place_of: of each of its rows the place of the window in the stretch.
struct Stretch {
  Stretch(const ContrastiveSet& set, const std::vector<std::int32_t>& window_begin, std::int32_t window)
      : place_of(window_begin.size()) {
    std::vector<std::int32_t> number(
        window_begin.size());  // which bins are read, then how many of those before them are
    for (const auto row : set.rows) {
      const auto begin = number.begin() + window_begin[to_size(row)];
      std::fill(begin, begin + window, 1);
    }
    for (std::size_t bin = 0; bin < number.size(); ++bin) {
      const bool is_read = number[bin] != 0;
      number[bin] = static_cast<std::int32_t>(bins.size());
      if (is_read) bins.push_back(static_cast<std::int32_t>(bin));
    }
    for (const auto row : set.rows) place_of[to_size(row)] = number[to_size(window_begin[to_size(row)])];
  }
  std::vector<std::int32_t> bins, place_of;
};

}  // namespace

std::vector<std::int32_t> training_windows(const CebraData& data, std::int32_t window) {
  const SegmentEnds ends(data.segments);
  std::vector<std::int32_t> first;
  for (std::int64_t row = 0; row < data.n_rows; ++row) {
    const std::int64_t begin = ends.begin[to_size(row)], end = ends.end[to_size(row)];
    if (end - begin < window)
      throw std::invalid_argument("the segment of row " + std::to_string(row) + " has " + std::to_string(end - begin) +
                                  " rows, fewer than the window of " + std::to_string(window));
    first.push_back(static_cast<std::int32_t>(std::clamp<std::int64_t>(row - window / 2, begin, end - window)));
  }
  return first;
}

MemberStretches::MemberStretches(Device& device, const CebraData& data, const std::vector<std::int32_t>& sets,
                                 const std::vector<std::int32_t>& window_begin, std::int32_t window,
                                 std::int32_t n_stretch) {
  std::vector<std::int32_t> all_bins, all_places;
  for (const auto set : sets) {
    Stretch stretch(data.sets[to_size(set)], window_begin, window);
    stretch.bins.resize(to_size(n_stretch), stretch.bins.back());
    all_bins.insert(all_bins.end(), stretch.bins.begin(), stretch.bins.end());
    all_places.insert(all_places.end(), stretch.place_of.begin(), stretch.place_of.end());
  }
  bins = Array<std::int32_t>(device, all_bins);
  place_of = Array<std::int32_t>(device, all_places);
}

// Sets that no member uses count for nothing: a run must not depend on them.
CebraBatch batch_of(const CebraPlan& plan, const CebraDesign& design, const CebraData& data,
                    const std::vector<CebraMemberPlan>& members) {
  const ContrastiveSamples samples(plan.samples, data.sets);
  const auto candidates = [&](const CebraMemberPlan& member) {
    return plan.prior == ContrastivePrior::leads ? samples.n_leads(member.train_set)
                                                 : samples.n_samples(member.train_set);
  };
  const std::int32_t draws = plan.is_full_batch ? candidates(members.front()) : plan.batch;
  const auto window_begin = training_windows(data, design.window);
  std::int32_t largest = 0, n_stretch = 0;
  for (const auto& member : members) {
    if (plan.is_full_batch && candidates(member) != draws)
      throw std::invalid_argument(member.name + ": a full batch of " + std::to_string(candidates(member)) +
                                  " samples beside one of " + std::to_string(draws) + "; train them apart");
    for (const auto set : {member.train_set, member.valid_set}) {
      if (set < 0) continue;
      largest = std::max(largest, samples.n_samples(set));
      const Stretch stretch(data.sets[to_size(set)], window_begin, design.window);
      n_stretch = std::max(n_stretch, static_cast<std::int32_t>(stretch.bins.size()));
    }
  }
  if (plan.n_sessions > 1) return {.batch = draws, .n_sessions = plan.n_sessions};
  // Windows of their own read about half their bins in each layer; drawn rows are compared as often as drawn until most
  // rows are.
  const std::int64_t n_read = std::int64_t{design.n_lists()} * draws * ((design.window + 1) / 2);
  const bool is_stretch = n_stretch < n_read;
  return {.batch = draws, .n_stretch = is_stretch ? n_stretch : 0, .weighs_rows = is_stretch && draws > largest / 2};
}

}  // namespace idem
