// contrastive_samples.h - lays out, once before training, what contrastive_indices draws from.
//
//   // One set per split and labelling.
//   const ContrastiveSamples samples({.n_labels = 3, .time_offset = 10}, {{rows, segments, labels, classes}, ...});
//   // Upload samples.bytes(), then; on the CPU samples.view(samples.bytes().data()).
//   p.sets = samples.view(uploaded);
#pragma once

#include <cstddef>
#include <vector>

#include "kernels/sampling/contrastive_indices.h"

namespace idem {

// What the members that share it train on.
//   rows     [n_samples]             bins of the recording, in any order; ties of the nearest-label search go to the
//                                    first listed
//   segments [n_samples]             segment of each; two samples follow each other in time where their bins do and
//                                    their segments are one
//   labels   [n_samples x n_labels]  finite; linear ones, then sine and cosine of each of the n_circular circular ones
//   classes  [n_samples] or empty    any numbers: each value that occurs is a class, no other is
struct ContrastiveSet {
  std::vector<std::int32_t> rows, segments;
  std::vector<float> labels;
  std::vector<std::int32_t> classes;
};

struct ContrastiveSampleOptions {
  std::int32_t n_labels = 0, time_offset = 1;
  std::int32_t n_circular = 0;  // of the label columns the last 2 n_circular are theirs
  // The published code: the list is one stretch of time whatever its bins and segments, and the label differences of
  // its first time_offset samples are 0.
  bool across_segments = false;
};

class ContrastiveSamples {
 public:
  // Throws std::invalid_argument where a set is empty, its sizes disagree or a label is not finite, where time_offset <
  // 1, and where n_labels has no room for the columns of the circular labels.
  ContrastiveSamples(const ContrastiveSampleOptions& options, const std::vector<ContrastiveSet>& sets);
  ContrastiveSamples(ContrastiveSamples&&) = default;
  ContrastiveSamples& operator=(ContrastiveSamples&&) = default;

  std::int32_t n_samples(std::int32_t set) const { return sets_.sample_begin[set + 1] - sets_.sample_begin[set]; }
  // How many samples have one time_offset later: with 0, the prior `leads` and positives by `time` or `time_delta` have
  // nothing to draw from.
  std::int32_t n_leads(std::int32_t set) const { return sets_.lead_begin[set + 1] - sets_.lead_begin[set]; }

  const std::vector<std::byte>& bytes() const { return bytes_; }
  // Pointers into a copy of bytes() that begins at `base`, aligned to 16 bytes, in whatever memory.
  ContrastiveSets view(const std::byte* base) const;

 private:
  std::vector<std::byte> bytes_;
  ContrastiveSets sets_;  // into bytes_
};

}  // namespace idem
