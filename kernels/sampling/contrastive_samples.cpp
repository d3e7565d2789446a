#include "kernels/sampling/contrastive_samples.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <initializer_list>
#include <numeric>
#include <stdexcept>
#include <string>
#include <type_traits>

namespace idem {
namespace {

std::size_t index_of(std::int64_t i) { return static_cast<std::size_t>(i); }

// All sets' arrays while they grow; entries and boxes row by row, [n x n_labels].
struct Layout {
  std::vector<std::int32_t> sample_begin{0}, rows, lead_begin{0}, leads, n_still, group_begin{0}, group_of,
      group_sample_begin{0}, group_samples, entry_begin{0}, entry_sample, box_begin{0};
  std::vector<float> labels, entry_labels, box_low, box_high;
};

void check(const ContrastiveSet& set, std::size_t number, std::int32_t n_labels) {
  const std::string where = "set " + std::to_string(number) + " of a contrastive training ";
  const std::size_t n = set.rows.size();
  if (n == 0) throw std::invalid_argument(where + "has no samples");
  if (set.segments.size() != n || set.labels.size() != n * index_of(n_labels) ||
      (!set.classes.empty() && set.classes.size() != n)) {
    throw std::invalid_argument(where + "needs a segment, " + std::to_string(n_labels) +
                                " labels and a class, or no classes at all, for each of " + std::to_string(n) +
                                " samples");
  }
  for (std::size_t i = 0; i < set.labels.size(); ++i) {
    if (std::isfinite(set.labels[i])) continue;
    throw std::invalid_argument(where + "has a label that is not finite, at sample " +
                                std::to_string(i / index_of(n_labels)));
  }
}

void append_leads(const ContrastiveSet& set, const ContrastiveSampleOptions& options, Layout& layout) {
  const std::int64_t n = static_cast<std::int64_t>(set.rows.size()), offset = options.time_offset;
  std::int64_t stretch_begin = 0;  // of the run of successive bins of one segment that ends at sample i
  for (std::int64_t i = 0; i < n; ++i) {
    const bool follows =
        i > 0 && (options.across_segments || (set.segments[index_of(i)] == set.segments[index_of(i - 1)] &&
                                              set.rows[index_of(i)] == set.rows[index_of(i - 1)] + 1));
    if (i > 0 && !follows) stretch_begin = i;
    if (i - offset >= stretch_begin) layout.leads.push_back(static_cast<std::int32_t>(i - offset));
  }
  layout.lead_begin.push_back(static_cast<std::int32_t>(layout.leads.size()));
  layout.n_still.push_back(options.across_segments ? static_cast<std::int32_t>(std::min(n, offset)) : 0);
}

// Orders entries [begin, end) so that any kContrastiveBox in a row, from begin on, are neighbours: halves at the median
// of the widest label. `labels` are the set's, an entry is a position in it.
void cluster(const float* labels, std::int32_t n_labels, std::int32_t* begin, std::int32_t* end) {
  const auto value = [&](std::int32_t sample, std::int32_t label) {
    return labels[std::int64_t{sample} * n_labels + label];
  };
  const std::int64_t n_boxes = (end - begin + kContrastiveBox - 1) / kContrastiveBox;
  if (n_boxes <= 1) {
    std::sort(begin, end);
    return;
  }
  std::int32_t widest = 0;
  double width = -1;
  for (std::int32_t label = 0; label < n_labels; ++label) {
    const auto [low, high] = std::minmax_element(
        begin, end, [&](std::int32_t a, std::int32_t b) { return value(a, label) < value(b, label); });
    const double extent = static_cast<double>(value(*high, label)) - static_cast<double>(value(*low, label));
    if (extent > width) width = extent, widest = label;
  }
  std::int32_t* middle = begin + (n_boxes + 1) / 2 * kContrastiveBox;
  std::nth_element(begin, middle, end, [&](std::int32_t a, std::int32_t b) {
    return value(a, widest) != value(b, widest) ? value(a, widest) < value(b, widest) : a < b;
  });
  cluster(labels, n_labels, begin, middle);
  cluster(labels, n_labels, middle, end);
}

// The distinct label rows of one group, given its positions in list order.
void append_entries(const float* labels, std::int32_t n_labels, std::vector<std::int32_t> entries, Layout& layout) {
  const auto row = [&](std::int32_t sample) { return labels + std::int64_t{sample} * n_labels; };
  std::stable_sort(entries.begin(), entries.end(), [&](std::int32_t a, std::int32_t b) {
    return std::lexicographical_compare(row(a), row(a) + n_labels, row(b), row(b) + n_labels);
  });
  entries.erase(
      std::unique(entries.begin(), entries.end(),
                  [&](std::int32_t a, std::int32_t b) { return std::equal(row(a), row(a) + n_labels, row(b)); }),
      entries.end());
  if (n_labels > 1) {
    cluster(labels, n_labels, entries.data(), entries.data() + entries.size());
    for (std::size_t first = 0; first < entries.size(); first += kContrastiveBox) {
      const std::size_t last = std::min(entries.size(), first + kContrastiveBox);
      for (std::int32_t label = 0; label < n_labels; ++label) {
        float low = row(entries[first])[label], high = low;
        for (std::size_t i = first; i < last; ++i) {
          low = std::min(low, row(entries[i])[label]);
          high = std::max(high, row(entries[i])[label]);
        }
        layout.box_low.push_back(low);
        layout.box_high.push_back(high);
      }
    }
  }
  for (std::int32_t entry : entries) {
    layout.entry_sample.push_back(entry);
    layout.entry_labels.insert(layout.entry_labels.end(), row(entry), row(entry) + n_labels);
  }
  layout.entry_begin.push_back(static_cast<std::int32_t>(layout.entry_sample.size()));
  layout.box_begin.push_back(n_labels > 1 ? static_cast<std::int32_t>(layout.box_low.size() / index_of(n_labels)) : 0);
}

void append_groups(const ContrastiveSet& set, const float* labels, std::int32_t n_labels, Layout& layout) {
  std::vector<std::int32_t> classes = set.classes;
  if (classes.empty()) classes.assign(set.rows.size(), 0);
  std::vector<std::int32_t> values = classes;
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
  const std::int32_t first_group = layout.group_begin.back();
  std::vector<std::vector<std::int32_t>> samples(values.size());
  for (std::size_t i = 0; i < classes.size(); ++i) {
    const std::int64_t group = std::lower_bound(values.begin(), values.end(), classes[i]) - values.begin();
    samples[index_of(group)].push_back(static_cast<std::int32_t>(i));
    layout.group_of.push_back(first_group + static_cast<std::int32_t>(group));
  }
  for (const std::vector<std::int32_t>& group : samples) {
    layout.group_samples.insert(layout.group_samples.end(), group.begin(), group.end());
    layout.group_sample_begin.push_back(static_cast<std::int32_t>(layout.group_samples.size()));
    if (n_labels > 0) append_entries(labels, n_labels, group, layout);
  }
  layout.group_begin.push_back(first_group + static_cast<std::int32_t>(values.size()));
}

std::vector<float> label_by_label(const std::vector<float>& rows, std::int32_t n_labels) {
  std::vector<float> columns(rows.size());
  const std::size_t n = n_labels > 0 ? rows.size() / index_of(n_labels) : 0;
  for (std::size_t i = 0; i < rows.size(); ++i) columns[i % index_of(n_labels) * n + i / index_of(n_labels)] = rows[i];
  return columns;
}

// Calls visit on every pointer of the sets.
template <class Visit>
void for_each_array(ContrastiveSets& sets, const Visit& visit) {
  for (const std::int32_t** array :
       {&sets.sample_begin, &sets.rows, &sets.lead_begin, &sets.leads, &sets.n_still, &sets.group_begin, &sets.group_of,
        &sets.group_sample_begin, &sets.group_samples, &sets.entry_begin, &sets.entry_sample, &sets.box_begin}) {
    visit(*array);
  }
  for (const float** array : {&sets.labels, &sets.entry_labels, &sets.box_low, &sets.box_high}) visit(*array);
}

}  // namespace

ContrastiveSamples::ContrastiveSamples(const ContrastiveSampleOptions& options,
                                       const std::vector<ContrastiveSet>& sets) {
  if (options.time_offset < 1 || options.n_labels < 0)
    throw std::invalid_argument("a contrastive training needs a time offset of at least 1 bin");
  if (options.n_circular < 0 || 2 * options.n_circular > options.n_labels)
    throw std::invalid_argument("a contrastive training needs two label columns for each circular label");
  Layout layout;
  for (std::size_t i = 0; i < sets.size(); ++i) {
    check(sets[i], i, options.n_labels);
    layout.rows.insert(layout.rows.end(), sets[i].rows.begin(), sets[i].rows.end());
    layout.sample_begin.push_back(static_cast<std::int32_t>(layout.rows.size()));
    append_leads(sets[i], options, layout);
    std::vector<float> labels = sets[i].labels;
    for (float& label : labels) label += 0.0f;  // -0 becomes 0: the two are one label
    append_groups(sets[i], labels.data(), options.n_labels, layout);
    layout.labels.insert(layout.labels.end(), labels.begin(), labels.end());
  }
  sets_.n_labels = options.n_labels;
  sets_.n_circular = options.n_circular;
  sets_.time_offset = options.time_offset;
  sets_.n_entries = static_cast<std::int64_t>(layout.entry_sample.size());
  sets_.n_boxes = options.n_labels > 0 ? static_cast<std::int64_t>(layout.box_low.size()) / options.n_labels : 0;

  const std::vector<float> entry_labels = label_by_label(layout.entry_labels, options.n_labels),
                           box_low = label_by_label(layout.box_low, options.n_labels),
                           box_high = label_by_label(layout.box_high, options.n_labels);
  std::vector<std::size_t> begins;
  const auto append = [&](const auto& values) {
    begins.push_back(bytes_.size());
    const std::size_t size = values.size() * sizeof values[0];
    bytes_.resize(bytes_.size() + (size + 15) / 16 * 16);
    if (size > 0) std::memcpy(bytes_.data() + begins.back(), values.data(), size);
  };
  for (const auto* values : {&layout.sample_begin, &layout.rows, &layout.lead_begin, &layout.leads, &layout.n_still,
                             &layout.group_begin, &layout.group_of, &layout.group_sample_begin, &layout.group_samples,
                             &layout.entry_begin, &layout.entry_sample, &layout.box_begin}) {
    append(*values);
  }
  for (const std::vector<float>* values :
       std::initializer_list<const std::vector<float>*>{&layout.labels, &entry_labels, &box_low, &box_high}) {
    append(*values);
  }
  std::size_t next = 0;
  for_each_array(sets_, [&](auto& array) {
    array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(bytes_.data() + begins[next++]);
  });
}

ContrastiveSets ContrastiveSamples::view(const std::byte* base) const {
  ContrastiveSets moved = sets_;
  for_each_array(moved, [&](auto& array) {
    array = reinterpret_cast<std::remove_reference_t<decltype(array)>>(
        base + (reinterpret_cast<const std::byte*>(array) - bytes_.data()));
  });
  return moved;
}

}  // namespace idem
