#include "host/recordings/recording_draft.h"

#include <algorithm>

#include "kernels/common/to_size.h"

namespace idem {

RecordingDraft::RecordingDraft(Recording full) : recording(std::move(full)) {
  const auto n_times = to_size(recording.n_times);
  keeps.assign(n_times, 1);
  begins_segment.assign(n_times, 0);
  for (const auto& segment : recording.segments) begins_segment[to_size(segment.begin)] = 1;
}

Recording RecordingDraft::finish() && {
  Recording kept = std::move(recording);
  const auto n_times = to_size(kept.n_times);
  const auto n_neurons = to_size(kept.n_neurons);
  const auto n_latents = to_size(kept.n_true_latents);
  std::vector<std::int32_t> new_time(n_times + 1, 0);
  kept.segments.clear();
  std::size_t to = 0;
  bool broken = true;
  for (std::size_t from = 0; from < n_times; ++from) {
    new_time[from] = static_cast<std::int32_t>(to);
    broken = broken || begins_segment[from];
    if (!keeps[from]) {
      broken = true;
      continue;
    }
    if (broken) kept.segments.push_back({static_cast<std::int32_t>(to), static_cast<std::int32_t>(to)});
    broken = false;
    std::copy_n(kept.counts.begin() + static_cast<std::ptrdiff_t>(from * n_neurons), n_neurons,
                kept.counts.begin() + static_cast<std::ptrdiff_t>(to * n_neurons));
    kept.time_s[to] = kept.time_s[from];
    for (auto& label : kept.labels) label.values[to] = label.values[from];
    for (auto* latents : {&kept.true_latents, &kept.true_latent_means})
      for (std::size_t latent = 0; latent < n_latents && !latents->empty(); ++latent)
        (*latents)[to * n_latents + latent] = (*latents)[from * n_latents + latent];
    kept.segments.back().end = static_cast<std::int32_t>(++to);
  }
  new_time[n_times] = static_cast<std::int32_t>(to);
  std::vector<Segment> trials;
  for (const auto& trial : kept.trials) {
    const Segment moved{new_time[to_size(trial.begin)], new_time[to_size(trial.end)]};
    if (moved.end > moved.begin) trials.push_back(moved);
  }
  kept.trials = std::move(trials);
  kept.n_times = static_cast<std::int32_t>(to);
  kept.counts.resize(to * n_neurons);
  kept.time_s.resize(to);
  kept.true_latents.resize(to * n_latents);
  if (!kept.true_latent_means.empty()) kept.true_latent_means.resize(to * n_latents);
  for (auto& label : kept.labels) label.values.resize(to);
  return kept;
}

}  // namespace idem
