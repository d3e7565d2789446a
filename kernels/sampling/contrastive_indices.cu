#include "kernels/sampling/contrastive_indices.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/common/cuda.h"
#include "kernels/common/philox.h"
#include "kernels/sampling/rounded_alike.h"
#include "kernels/sampling/shuffled_order.h"

namespace idem {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// A whole number in [0, n), n > 0; uniform to n / 2^32.
HD std::int32_t below(std::uint32_t word, std::int32_t n) {
  return static_cast<std::int32_t>((std::uint64_t{word} * static_cast<std::uint32_t>(n)) >> 32);
}

// One member's draws. Positions count from the first sample of its set.
template <class Real>
struct MemberDraws {
  ContrastiveIndices<Real> p;
  std::int64_t member;
  std::int32_t set, first_sample, n_samples, first_lead, n_leads;

  HD MemberDraws(const ContrastiveIndices<Real>& indices, std::int64_t of_member) : p(indices), member(of_member) {
    set = p.set[member];
    first_sample = p.sets.sample_begin[set];
    n_samples = p.sets.sample_begin[set + 1] - first_sample;
    first_lead = p.sets.lead_begin[set];
    n_leads = p.sets.lead_begin[set + 1] - first_lead;
  }
  HD std::uint32_t step() const { return p.step[member] + p.ahead; }
  HD PhiloxWords words(RandomStream stream, std::int32_t place) const {
    return random_words(p.seed[member], stream, step(), static_cast<std::uint32_t>(place));
  }
  HD std::int32_t sample_of_group(std::int32_t group, std::uint32_t word) const {
    const std::int32_t begin = p.sets.group_sample_begin[group];
    return p.sets.group_samples[begin + below(word, p.sets.group_sample_begin[group + 1] - begin)];
  }
  HD std::int32_t n_candidates() const { return p.prior == ContrastivePrior::leads ? n_leads : n_samples; }
  HD std::int32_t candidate(std::int32_t number) const {
    return p.prior == ContrastivePrior::leads ? p.sets.leads[first_lead + number] : number;
  }
  HD std::int32_t from_prior(RandomStream stream, std::int32_t place) const {
    const PhiloxWords drawn = words(stream, place);
    if (p.prior != ContrastivePrior::classes) return candidate(below(drawn.w[0], n_candidates()));
    const std::int32_t first_group = p.sets.group_begin[set];
    return sample_of_group(first_group + below(drawn.w[1], p.sets.group_begin[set + 1] - first_group), drawn.w[0]);
  }
  HD std::int32_t reference(std::int32_t place) const {
    return p.in_order ? candidate(place % n_candidates()) : from_prior(RandomStream::contrastive_reference, place);
  }
  HD ShuffledOrder negative_order() const {
    return ShuffledOrder(p.seed[member], RandomStream::contrastive_negative, step(),
                         static_cast<std::uint32_t>(n_candidates()));
  }
  HD std::int32_t negative(std::int32_t place, const ShuffledOrder& order) const {
    if (!p.in_order) return from_prior(RandomStream::contrastive_negative, place);
    return candidate(
        static_cast<std::int32_t>(order.walked(order.permuted(static_cast<std::uint32_t>(place % n_candidates())))));
  }
  HD std::int32_t row(std::int32_t position) const { return p.sets.rows[first_sample + position]; }
  HD const float* labels(std::int32_t position) const {
    return p.sets.labels + static_cast<std::int64_t>(first_sample + position) * p.sets.n_labels;
  }
  HD float* query(std::int32_t place) const { return p.query + (member * p.batch + place) * p.sets.n_labels; }

  HD void write_noisy(std::int32_t place, const float* from) const {
    float* out = query(place);
    const std::int32_t n_linear = p.sets.n_labels - 2 * p.sets.n_circular;
    const auto noise = [&](std::int32_t label) {
      return exact_normal(p.seed[member], RandomStream::contrastive_noise, step(),
                          std::int64_t{place} * p.sets.n_labels + label);
    };
    for (std::int32_t label = 0; label < n_linear; ++label)
      out[label] = fmaf(p.delta_sd[member], noise(label), from[label]);
    for (std::int32_t label = n_linear; label < p.sets.n_labels; label += 2)
      write_turned(out + label, from + label,
                   Turn::by(static_cast<double>(p.delta_sd[member]) * static_cast<double>(noise(label))));
  }
  HD void write_changed(std::int32_t place, const float* from, const float* earlier, const float* later) const {
    float* out = query(place);
    const std::int32_t n_linear = p.sets.n_labels - 2 * p.sets.n_circular;
    for (std::int32_t label = 0; label < n_linear; ++label) out[label] = from[label] + (later[label] - earlier[label]);
    for (std::int32_t label = n_linear; label < p.sets.n_labels; label += 2)
      write_turned(out + label, from + label, Turn::between(earlier + label, later + label));
  }
  HD void write_query(std::int32_t place, std::int32_t reference_position) const {
    const float* from = labels(reference_position);
    if (p.positive_is == ContrastivePositive::delta) {
      write_noisy(place, from);
      return;
    }
    const std::int32_t n_still = p.sets.n_still[set];
    const std::int32_t number =
        below(words(RandomStream::contrastive_positive, place).w[0], n_still + n_leads) - n_still;
    const float* earlier = number < 0 ? from : labels(p.sets.leads[first_lead + number]);
    write_changed(place, from, earlier,
                  number < 0 ? from : earlier + static_cast<std::int64_t>(p.sets.time_offset) * p.sets.n_labels);
  }
  // The positive of a reference of the group that was dealt to this place.
  HD void write_dealt(std::int32_t place) const {
    const std::int64_t first = member / p.n_sessions * p.n_sessions;
    const ShuffledOrder deal(p.seed[first], RandomStream::contrastive_deal, p.step[first] + p.ahead,
                             static_cast<std::uint32_t>(p.n_sessions * p.batch));
    const auto own = static_cast<std::uint32_t>((member - first) * p.batch + place);
    const auto dealt = static_cast<std::int32_t>(deal.walked(deal.permuted(own)));
    p.source[member * p.batch + place] = dealt;
    const MemberDraws other(p, first + dealt / p.batch);
    const std::int32_t position = other.reference(dealt % p.batch);
    const std::uint32_t word = words(RandomStream::contrastive_positive, place).w[0];
    if (p.positive_is == ContrastivePositive::same_class) {
      const std::int32_t of_other = p.sets.group_of[other.first_sample + position] - p.sets.group_begin[other.set];
      p.positive[member * p.stride + place] = row(sample_of_group(p.sets.group_begin[set] + of_other, word));
      return;
    }
    const float* from = other.labels(position);
    if (p.positive_is == ContrastivePositive::delta) {
      write_noisy(place, from);
      return;
    }
    std::int32_t n_all = 0;
    for (std::int32_t session = 0; session < p.n_sessions; ++session) n_all += MemberDraws(p, first + session).n_leads;
    std::int32_t number = below(word, n_all), session = 0;
    for (std::int32_t n; number >= (n = MemberDraws(p, first + session).n_leads); ++session) number -= n;
    const MemberDraws changing(p, first + session);
    const float* earlier = changing.labels(p.sets.leads[changing.first_lead + number]);
    write_changed(place, from, earlier, earlier + static_cast<std::int64_t>(p.sets.time_offset) * p.sets.n_labels);
  }
  // Everything but a positive that has to be searched for.
  HD void write(std::int32_t place, const ShuffledOrder& order) const {
    const std::int64_t out = member * p.stride + place;
    const std::int32_t position = reference(place);
    p.reference[out] = row(position);
    p.negative[out] = row(negative(place, order));
    if (p.n_sessions > 1) {
      write_dealt(place);
      return;
    }
    if (p.time_positive) p.time_positive[out] = row(position + p.sets.time_offset);
    if (p.positive_is == ContrastivePositive::time) {
      p.positive[out] = row(position + p.sets.time_offset);
    } else if (p.positive_is == ContrastivePositive::same_class) {
      const std::uint32_t word = words(RandomStream::contrastive_positive, place).w[0];
      p.positive[out] = row(sample_of_group(p.sets.group_of[first_sample + position], word));
    } else {
      write_query(place, position);
    }
  }
  HD std::int32_t group_of_place(std::int32_t place) const {
    const std::int32_t first_group = p.sets.group_begin[set];
    return p.sets.group_begin[set + 1] - first_group == 1 ? first_group
                                                          : p.sets.group_of[first_sample + reference(place)];
  }
};

template <class Real>
HD bool searches(const ContrastiveIndices<Real>& p) {
  return p.positive_is == ContrastivePositive::time_delta || p.positive_is == ContrastivePositive::delta;
}

HD double exact_distance(float a, float b) {
  const double difference = static_cast<double>(a) - static_cast<double>(b);
  return difference < 0 ? -difference : difference;
}

// The sample of the entry nearest to the query, for one label: the last entry below the query or the first that is not.
HD std::int32_t nearest_of_one_label(const ContrastiveSets& sets, std::int32_t group, float query) {
  std::int32_t low = sets.entry_begin[group], high = sets.entry_begin[group + 1];
  const std::int32_t begin = low, end = high;
  while (low < high) {
    const std::int32_t middle = low + (high - low) / 2;
    if (sets.entry_labels[middle] < query) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == end) return sets.entry_sample[end - 1];
  if (low == begin) return sets.entry_sample[begin];
  const double below_query = exact_distance(sets.entry_labels[low - 1], query),
               above_query = exact_distance(sets.entry_labels[low], query);
  if (below_query < above_query) return sets.entry_sample[low - 1];
  if (above_query < below_query) return sets.entry_sample[low];
  return sets.entry_sample[low] < sets.entry_sample[low - 1] ? sets.entry_sample[low] : sets.entry_sample[low - 1];
}

// Squared distances are summed in label order with one rounding per label. Rounding keeps order, so a box's bound,
// summed alike from smaller gaps, never exceeds the distance of an entry inside it.
HD double gap_to_entry(float label, double query) { return static_cast<double>(label) - query; }
HD double gap_to_box(float low, float high, double query) {
  const double under = static_cast<double>(low) - query, over = query - static_cast<double>(high);
  return under > 0 ? under : (over > 0 ? over : 0.0);
}

#if IDEM_COMPILES_CPU_TWINS
IDEM_SIMD_CLONES static void add_to_bounds(const float* __restrict__ low, const float* __restrict__ high, double query,
                                           std::int64_t n, double* __restrict__ bounds) {
  for (std::int64_t box = 0; box < n; ++box) {
    const double gap = gap_to_box(low[box], high[box], query);
    bounds[box] = exact_fma(gap, gap, bounds[box]);
  }
}
IDEM_SIMD_CLONES static void add_to_distances(const float* __restrict__ labels, double query, std::int64_t n,
                                              double* __restrict__ distances) {
  for (std::int64_t entry = 0; entry < n; ++entry) {
    const double gap = gap_to_entry(labels[entry], query);
    distances[entry] = exact_fma(gap, gap, distances[entry]);
  }
}

static std::int32_t nearest_of_several_labels(const ContrastiveSets& sets, std::int32_t group, const float* query,
                                              std::vector<double>& bounds) {
  const std::int64_t box_begin = sets.box_begin[group], n_boxes = sets.box_begin[group + 1] - box_begin;
  const std::int64_t entry_begin = sets.entry_begin[group], entry_end = sets.entry_begin[group + 1];
  bounds.assign(static_cast<std::size_t>(n_boxes), 0.0);
  for (std::int32_t label = 0; label < sets.n_labels; ++label) {
    const std::int64_t first = label * sets.n_boxes + box_begin;
    add_to_bounds(sets.box_low + first, sets.box_high + first, static_cast<double>(query[label]), n_boxes,
                  bounds.data());
  }
  double best = kInfinity;
  std::int32_t best_sample = sets.entry_sample[entry_begin];
  const auto search = [&](std::int64_t box) {
    const std::int64_t first = entry_begin + box * kContrastiveBox,
                       n = entry_end - first < kContrastiveBox ? entry_end - first : kContrastiveBox;
    double distances[kContrastiveBox] = {};
    for (std::int32_t label = 0; label < sets.n_labels; ++label) {
      add_to_distances(sets.entry_labels + label * sets.n_entries + first, static_cast<double>(query[label]), n,
                       distances);
    }
    for (std::int64_t i = 0; i < n; ++i) {
      const std::int32_t sample = sets.entry_sample[first + i];
      if (distances[i] < best || (distances[i] == best && sample < best_sample)) {
        best = distances[i];
        best_sample = sample;
      }
    }
  };
  const std::int64_t likeliest = std::min_element(bounds.begin(), bounds.end()) - bounds.begin();
  search(likeliest);
  for (std::int64_t box = 0; box < n_boxes; ++box) {
    if (box != likeliest && bounds[static_cast<std::size_t>(box)] <= best) search(box);
  }
  return best_sample;
}

template <class Real>
void contrastive_indices_cpu(const ContrastiveIndices<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.batch, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    const MemberDraws<Real> draws(p, member);
    const ShuffledOrder order = draws.negative_order();
    std::vector<double> bounds;
    for (std::int32_t place = static_cast<std::int32_t>(begin); place < end; ++place) {
      draws.write(place, order);
      if (!searches(p)) continue;
      const std::int32_t group = draws.group_of_place(place);
      const float* query = draws.query(place);
      const std::int32_t nearest = p.sets.n_labels == 1 ? nearest_of_one_label(p.sets, group, query[0])
                                                        : nearest_of_several_labels(p.sets, group, query, bounds);
      p.positive[member * p.stride + place] = draws.row(nearest);
    }
  });
}
IDEM_INSTANTIATE_CPU(contrastive_indices, ContrastiveIndices)
#endif

#if IDEM_COMPILES_CUDA_TWINS
struct ContrastiveIndicesRow {
  ContrastiveIndices<float> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t) const {
    const MemberDraws<float> draws(p, member);
    const std::int32_t place = static_cast<std::int32_t>(row);
    draws.write(place, draws.negative_order());
    if (searches(p) && p.sets.n_labels == 1) {
      const std::int32_t nearest = nearest_of_one_label(p.sets, draws.group_of_place(place), draws.query(place)[0]);
      p.positive[member * p.stride + place] = draws.row(nearest);
    }
  }
};

// The smaller first number of all lanes; of equals, the smaller second. A NaN comes after all numbers, or else lanes
// could end with different pairs, and what they decide by them would part the warp.
static __device__ void warp_smallest(double& value, std::int32_t& number) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const double other = __shfl_xor_sync(0xffffffffu, value, offset);
    const std::int32_t others = __shfl_xor_sync(0xffffffffu, number, offset);
    const bool is_nan = value != value, is_other_nan = other != other;
    const bool is_equal = other == value || (is_nan && is_other_nan);
    if (other < value || (is_nan && !is_other_nan) || (is_equal && others < number)) {
      value = other;
      number = others;
    }
  }
}

// The labels of a query: of a few in registers, else where they lie.
template <int n>
struct QueryLabels {
  float labels[n];
  __device__ QueryLabels(const float* from, std::int32_t) {
    for (int label = 0; label < n; ++label) labels[label] = from[label];
  }
  HD std::int32_t size() const { return n; }
  __device__ double operator[](int label) const { return static_cast<double>(labels[label]); }
};
template <>
struct QueryLabels<0> {
  const float* labels;
  std::int32_t n;
  __device__ QueryLabels(const float* from, std::int32_t n_labels) : labels(from), n(n_labels) {}
  HD std::int32_t size() const { return n; }
  __device__ double operator[](int label) const { return static_cast<double>(labels[label]); }
};

template <class Query>
static __device__ double bound_of_box(const ContrastiveSets& sets, std::int32_t box, const Query& query) {
  double sum = 0;
  for (std::int32_t label = 0; label < query.size(); ++label) {
    const std::int64_t at = label * sets.n_boxes + box;
    const double gap = gap_to_box(sets.box_low[at], sets.box_high[at], query[label]);
    sum = exact_fma(gap, gap, sum);
  }
  return sum;
}
template <class Query>
static __device__ double distance_of_entry(const ContrastiveSets& sets, std::int32_t entry, const Query& query) {
  double sum = 0;
  for (std::int32_t label = 0; label < query.size(); ++label) {
    const double gap = gap_to_entry(sets.entry_labels[label * sets.n_entries + entry], query[label]);
    sum = exact_fma(gap, gap, sum);
  }
  return sum;
}

// A warp serves a place: its lanes bound 32 boxes at a time, then look at the 32 entries of a box. The first kKept
// bounds of each lane stay in registers, worked out side by side: waiting for memory is nearly all the time that this
// takes.
template <class Query>
static __device__ std::int32_t warp_nearest_of_several_labels(const ContrastiveSets& sets, std::int32_t group,
                                                              const Query& query) {
  constexpr int kKept = 8;
  const std::int32_t lane = static_cast<std::int32_t>(threadIdx.x % 32);
  const std::int32_t box_begin = sets.box_begin[group], n_boxes = sets.box_begin[group + 1] - box_begin;
  const std::int32_t entry_begin = sets.entry_begin[group], entry_end = sets.entry_begin[group + 1];
  double best = kInfinity;
  std::int32_t best_sample = sets.entry_sample[entry_begin];
  const auto search = [&](std::int32_t box) {
    const std::int32_t entry = entry_begin + box * kContrastiveBox + lane;
    double distance = kInfinity;
    std::int32_t sample = 0x7fffffff;
    if (entry < entry_end) {
      distance = distance_of_entry(sets, entry, query);
      sample = sets.entry_sample[entry];
    }
    warp_smallest(distance, sample);
    if (distance < best || (distance == best && sample < best_sample)) {
      best = distance;
      best_sample = sample;
    }
  };
  double smallest = kInfinity, bounds[kKept];
  std::int32_t likeliest = 0;
  for (int i = 0; i < kKept; ++i)
    bounds[i] = lane + 32 * i < n_boxes ? bound_of_box(sets, box_begin + lane + 32 * i, query) : kInfinity;
  const auto compare = [&](std::int32_t box, double bound) {
    if (!(bound < smallest)) return;
    smallest = bound;
    likeliest = box;
  };
  for (int i = 0; i < kKept; ++i) compare(lane + 32 * i, bounds[i]);
  for (std::int32_t box = lane + 32 * kKept; box < n_boxes; box += 32)
    compare(box, bound_of_box(sets, box_begin + box, query));
  warp_smallest(smallest, likeliest);
  search(likeliest);
  const auto search_those_of = [&](std::int32_t first, double bound) {
    const bool may_hold_nearer = first + lane < n_boxes && first + lane != likeliest && bound <= best;
    for (unsigned left = __ballot_sync(0xffffffffu, may_hold_nearer); left != 0; left &= left - 1) {
      const int next = __ffs(static_cast<int>(left)) - 1;
      if (__shfl_sync(0xffffffffu, bound, next) <= best)
        search(first + next);  // those before it may have held something nearer
    }
  };
  for (int i = 0; i < kKept; ++i) search_those_of(32 * i, bounds[i]);
  for (std::int32_t first = 32 * kKept; first < n_boxes; first += 32)
    search_those_of(first, first + lane < n_boxes ? bound_of_box(sets, box_begin + first + lane, query) : kInfinity);
  return best_sample;
}

template <int n_labels>
__global__ void nearest_labels_kernel(ContrastiveIndices<float> p) {
  const std::int32_t warps = static_cast<std::int32_t>(blockDim.x / 32),
                     warp = static_cast<std::int32_t>(threadIdx.x / 32);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const MemberDraws<float> draws(p, member);
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + warp; row < p.batch;
         row += static_cast<std::int64_t>(gridDim.x) * warps) {
      const std::int32_t place = static_cast<std::int32_t>(row);
      const QueryLabels<n_labels> query(draws.query(place), p.sets.n_labels);
      const std::int32_t nearest = warp_nearest_of_several_labels(p.sets, draws.group_of_place(place), query);
      if (threadIdx.x % 32 == 0) p.positive[member * p.stride + place] = draws.row(nearest);
    }
  }
}

void contrastive_indices_cuda(const ContrastiveIndices<float>& p, Stream stream) {
  cu::launch_rows("contrastive_indices", p.fleet, p.batch, 1, ContrastiveIndicesRow{p}, stream);
  if (!searches(p) || p.sets.n_labels == 1) return;
  const int threads = cu::threads(128), warps = threads / 32;
  const auto kernel = p.sets.n_labels == 2   ? nearest_labels_kernel<2>
                      : p.sets.n_labels == 3 ? nearest_labels_kernel<3>
                      : p.sets.n_labels == 4 ? nearest_labels_kernel<4>
                                             : nearest_labels_kernel<0>;
  cu::launch("nearest_labels", kernel,
             dim3(cu::grid_extent((p.batch + warps - 1) / warps), cu::grid_extent(p.fleet.n_members)),
             dim3(static_cast<unsigned>(threads)), 0, stream, p);
}
#endif

}  // namespace idem
