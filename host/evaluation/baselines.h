// baselines.h - what a model must beat: the same decoders on what no model made.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "host/evaluation/targets.h"

namespace idem {

// Built once per recording (kept by reference), used for all its splits; the rows and decoders are a model's.
//   chance        {"valid", "test"}: the median of the train positions (circular: their circular mean) and their most
//                 frequent categories
//   pca           two principal components (fewer where there are fewer numbers) of the flattened windows of the whole
//                 recording: bins [t - left, t + right), all neurons
//   window_sums   spikes per neuron in that window, not reduced
//   place_fields  decode_by_place_fields of the window sums: what labels can be had from these counts by one who knows
//                 the tuning
// Windows are cut as the study's own (splits.h) and shifted inside what they may see; the published ones are
// whole-session. `split` is looked at for clamped-concatenated windows alone, which are right for that split only.
class Baselines {
 public:
  Baselines(const Recording& recording, int left, int right, EdgePolicy edges = EdgePolicy::segment_clamped,
            const Split& split = {});
  // decoded: where it is given, gets what each reads of the test rows: "pca/euclidean", ..., "place_fields", "chance".
  nlohmann::json decode(const Split& split, const DecodingOptions& options, ThreadPool& pool,
                        TestReadings* decoded = nullptr) const;

  Embedding pca() const { return {recording_.n_times, n_components_, pca_}; }
  Embedding window_sums() const { return {recording_.n_times, recording_.n_neurons, window_sums_}; }

 private:
  const Recording& recording_;
  int n_components_ = 2;
  std::vector<float> pca_, window_sums_;
};

}  // namespace idem
