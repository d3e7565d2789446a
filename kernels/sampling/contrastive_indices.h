// contrastive_indices.h - which samples meet in a step of contrastive learning: reference, negative and positive of
// every place of a batch (Schneider, Lee, Mathis 2023, Learnable latent embeddings for joint behavioural and neural
// analysis, Methods).
//
// A sample is a bin of a recording that a member trains on; a set is a list of them with their labels, shared by the
// members that train on the same split with the same labels. The arrays of all sets are laid out once by
// ContrastiveSamples (contrastive_samples.h).
#pragma once

#include "kernels/common/operation.h"

namespace idem {

// Where references and negatives come from, each drawn on its own, with replacement.
enum class ContrastivePrior : std::int32_t {
  samples,  // every sample alike (labels: `time_delta`, `delta`, `discrete` as the data are)
  leads,    // every sample that has one time_offset later in its segment alike (`time`, and the hybrid of time and
            // behaviour)
  classes,  // every class alike, then every sample of it (`mixed`, `discrete` with equal classes)
};

// What makes a sample the positive of its reference.
enum class ContrastivePositive : std::int32_t {
  time,        // it comes time_offset later; needs the prior `leads`
  time_delta,  // its labels are the nearest to the reference's plus the difference over time_offset somewhere in the
               // set
  delta,  // its labels are the nearest to the reference's plus normal noise of standard deviation delta_sd, the same
          // for every label (circular labels: plus is a turn, see ContrastiveSets)
  same_class,  // any of the reference's class, the reference included
};

// The samples to draw from, set after set. n = all sets' samples (leads, entries, boxes, groups) together; positions
// count from a set's first.
//   sample_begin [n_sets + 1]            first sample of each set
//   rows         [n_samples]             the recording's bin
//   labels       [n_samples x n_labels]  in units that weigh the columns in the nearest-label search. The last 2
//                                        n_circular columns are sine and cosine of circular labels. Such a label
//                                        changes by an angle: with a the angles of the samples that a difference is
//                                        taken of, the query is sine and cosine of a_reference + (a_later - a_earlier),
//                                        which is the wrapped difference; noise is of the angle, in radians, the length
//                                        of arc on the circle that the columns run on
//   lead_begin   [n_sets + 1], leads [n_leads]  position of each sample whose successor by time_offset, time_offset
//                                               positions on, is in its segment
//   n_still      [n_sets]                label differences of 0 drawn besides one for each lead (the published code's
//                                        first time_offset samples)
// Groups are what a nearest-label search is restricted to: the classes of a set, or the whole set where it has none.
//   group_begin  [n_sets + 1]            first group of each set
//   group_of     [n_samples]             group of each sample, counted from the first of all
//   group_sample_begin [n_groups + 1], group_samples [n_samples]  positions, in list order, of each group's samples
//   entry_begin  [n_groups + 1]          first entry of each group: its distinct label rows
//   entry_sample [n_entries]             lowest position with these labels
//   entry_labels [n_labels x n_entries]  one label: ascending within a group; several: such that kContrastiveBox
//                                        neighbours lie close
//   box_begin    [n_groups + 1], box_low, box_high [n_labels x n_boxes]  bounds of each kContrastiveBox successive
//                                                                        entries of a group (several
//                                        labels only)
// Reads only; owns nothing.
struct ContrastiveSets {
  std::int32_t n_labels = 0, n_circular = 0, time_offset = 1;
  std::int64_t n_entries = 0, n_boxes = 0;
  const std::int32_t* sample_begin = nullptr;
  const std::int32_t* rows = nullptr;
  const float* labels = nullptr;
  const std::int32_t* lead_begin = nullptr;
  const std::int32_t* leads = nullptr;
  const std::int32_t* n_still = nullptr;
  const std::int32_t* group_begin = nullptr;
  const std::int32_t* group_of = nullptr;
  const std::int32_t* group_sample_begin = nullptr;
  const std::int32_t* group_samples = nullptr;
  const std::int32_t* entry_begin = nullptr;
  const std::int32_t* entry_sample = nullptr;
  const float* entry_labels = nullptr;
  const std::int32_t* box_begin = nullptr;
  const float* box_low = nullptr;
  const float* box_high = nullptr;
};
constexpr std::int32_t kContrastiveBox = 32;  // entries of a box: one each for the lanes of a warp

// The indices of one step, for every member.
//   set, seed, step  [n_members]    which set the member draws from, its own key, the step
//   ahead            the draws are those of the step that many after `step`
//   delta_sd         [n_members]    in units of the labels, radians of circular ones (their noise to the 2^24th of a
//                    turn); read by `delta` only
//   in_order         full batch: the reference of place k is sample (or lead) k, the negative that of a permutation of
//                    all of them which the step names; places past the last begin again; not with the prior `classes`
//   reference, negative, positive   [n_members x batch], `stride` apart from member to member: bins of the recording,
//                                   so that three arrays side by
//                    side (stride = 3 * batch) are the rows of one gather
//   time_positive    the same or null: the second positive of the hybrid, time_offset after the reference; needs the
//                    prior `leads`
//   query            [n_members x batch x n_labels] scratch; null where no label search is asked for (`time`,
//                    `same_class`)
// Several recordings at once (n_sessions > 1): members come in groups of n_sessions, the sessions of one run, each with
// a set of its own; prior `samples`, positives by `time_delta`, `delta` or `same_class`, sets without classes or
// (`same_class`) with the same ones.
//   Each reference of the group is dealt to a place of some session, as a permutation of them all which the group's
//   first member and the step name;
//   its positive is that session's: the nearest to the reference's labels plus a label difference of any of the group's
//   sessions (plus noise; or any
//   sample of its class).
//   source           [n_members x batch]  which reference each place's positive is for: session * batch + place; null
//                                         for n_sessions 1
// The nearest label row has the smallest Euclidean distance, worked out in double in label order; of several the one
// whose lowest position in the set is lowest. The reference itself may be found. Work: a binary search for one label;
// for several a bound for every box and the entries of the boxes that may hold something nearer. Nothing of the size
// batch x n_samples is ever held. Determinism: gpu_to_gpu, and the same on both twins: every index is a function of the
// member's key, set and step and of the place.
template <class Real>
struct ContrastiveIndices {
  FleetExtent fleet;
  std::int32_t batch = 0;
  ContrastivePrior prior = ContrastivePrior::samples;
  ContrastivePositive positive_is = ContrastivePositive::time_delta;
  bool in_order = false;
  ContrastiveSets sets;
  const std::int32_t* set = nullptr;
  const std::uint64_t* seed = nullptr;
  const std::uint32_t* step = nullptr;
  std::uint32_t ahead = 0;
  const float* delta_sd = nullptr;
  std::int64_t stride = 0;
  std::int32_t* reference = nullptr;
  std::int32_t* negative = nullptr;
  std::int32_t* positive = nullptr;
  std::int32_t* time_positive = nullptr;
  float* query = nullptr;
  std::int32_t n_sessions = 1;
  std::int32_t* source = nullptr;
};
IDEM_OPERATION(contrastive_indices, ContrastiveIndices)

// Rows of the sessions of a group side by side, as one InfoNCE compares them, and their gradients apart again.
//   apart   [n_members x 3 * batch x n_features]      references, negatives and positives of a session
//   joined  [n_groups x 3 * n_sessions * batch x n_features]  those of the group: references and negatives session
//                                                             after session, each positive at
//           the place of its reference (source of contrastive_indices)
//   to_joined  true: joined = apart, rearranged; false: apart = joined
// Member group * n_sessions + session belongs to the group. Determinism: gpu_to_gpu (rows are copied).
template <class Real>
struct JoinSessions {
  FleetExtent fleet;
  std::int32_t n_sessions = 1, batch = 0, n_features = 0;
  bool to_joined = true;
  const std::int32_t* source = nullptr;
  Rows<Real> apart, joined;
};
IDEM_OPERATION(join_sessions, JoinSessions)

// Where the rows of a step lie among those that are encoded once each, which draws fell on each, and how many: a batch
// whose windows overlap.
//   indices   [n_members x n_lists x batch]      rows, in [0, n_rows); for example reference, negative and positive
//   place_of  [n_members x n_rows]               place of each row that a member can draw, in [0, n_places)
//   place, begin, draw                           as PlacedDraws
//   counts    [n_members x n_lists x n_places]   how often each list holds it; null to skip
//   scratch   scratch_bytes, as drawn_places_scratch asks for, on 64 bytes
// Work: that of the draws and the places, for any number of draws of one place. Determinism: gpu_to_gpu (whole numbers
// only).
template <class Real>
struct DrawnPlaces {
  FleetExtent fleet;
  std::int32_t n_lists = 1, batch = 0, n_rows = 0, n_places = 0;
  const std::int32_t* indices = nullptr;
  const std::int32_t* place_of = nullptr;
  std::int32_t *place = nullptr, *begin = nullptr, *draw = nullptr;
  std::int32_t* counts = nullptr;
  void* scratch = nullptr;
  std::size_t scratch_bytes = 0;
};
IDEM_OPERATION(drawn_places, DrawnPlaces)

// Bytes of scratch for draws of that extent (fleet, n_lists, batch, n_places).
std::size_t drawn_places_scratch_cuda(const DrawnPlaces<float>& p);
template <class Real>
std::size_t drawn_places_scratch([[maybe_unused]] const Execution& on, [[maybe_unused]] const DrawnPlaces<Real>& p) {
#if IDEM_CUDA_TWINS
  if constexpr (std::is_same_v<Real, float>) {
    if (on.cuda) return drawn_places_scratch_cuda(p);
  }
#endif
  return 0;
}

}  // namespace idem
