#include "host/study/consistency.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include <Eigen/Core>

#include "host/evaluation/decoding_scores.h"
#include "host/evaluation/identifiability.h"
#include "host/evaluation/linear.h"
#include "host/evaluation/neighbour_decoder.h"
#include "host/formats/npz.h"
#include "host/evaluation/scores.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;
using RowMajorMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

constexpr int kEdges = 100;  // the published number

struct BinMeans {
  RowMajorMatrix means;         // [n_bins x n_dims]
  std::vector<bool> is_filled;  // [n_bins]
};

// is_ring: the last edge is the first once more, and no label lies beyond.
BinMeans bin_means(const AlignedRows& animal, const std::vector<double>& edges, bool is_ring, int n_groups,
                   bool unit_length) {
  const auto per_group = static_cast<int>(edges.size()) - 1;
  const int n_dims = animal.embedding.n_dims;
  // One more than counts: labels at the very top enter where a neighbour is empty.
  const int stride = per_group + 2;
  RowMajorMatrix sums = RowMajorMatrix::Zero(n_groups * stride, n_dims);
  std::vector<std::int64_t> counts(to_size(n_groups * stride), 0);
  for (std::size_t i = 0; i < animal.rows.size(); ++i) {
    double label = animal.label[i];
    if (is_ring) {
      label -= std::floor(label / edges.back()) * edges.back();
      if (!(label < edges.back())) label = 0;  // what rounds to a whole turn
    }
    const auto bin = static_cast<int>(std::upper_bound(edges.begin(), edges.end(), label) - edges.begin());
    const int at = animal.group[i] * stride + bin;
    const float* row = animal.embedding.values.data() + std::int64_t{animal.rows[i]} * n_dims;
    for (int dim = 0; dim < n_dims; ++dim) sums(at, dim) += row[dim];
    ++counts[to_size(at)];
  }
  BinMeans result{RowMajorMatrix::Zero(n_groups * per_group, n_dims),
                  std::vector<bool>(to_size(n_groups * per_group), false)};
  for (int group = 0; group < n_groups; ++group)
    for (int bin = 1; bin <= per_group; ++bin) {
      const int to = group * per_group + bin - 1;
      for (int reach = 0; reach <= 2 && !result.is_filled[to_size(to)]; ++reach) {
        Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(n_dims);
        std::int64_t n = 0;
        const int first = is_ring ? bin - reach : std::max(0, bin - reach);
        const int last = is_ring ? std::min(bin + reach, first + per_group - 1)
                                 : std::min(stride - 1, bin + reach);  // a ring's bins once each
        for (int near = first; near <= last; ++near) {
          const int at = group * stride + (is_ring ? 1 + (near - 1 + per_group) % per_group : near);
          sum += sums.row(at);
          n += counts[to_size(at)];
        }
        if (n == 0) continue;
        sum /= static_cast<double>(n);
        const double length = sum.norm();
        if (unit_length && !(length > 0)) continue;
        result.means.row(to) = unit_length ? Eigen::RowVectorXd(sum / length) : sum;
        result.is_filled[to_size(to)] = true;
      }
    }
  return result;
}

std::span<const double> values_of(const RowMajorMatrix& matrix) { return {matrix.data(), to_size(matrix.size())}; }

}  // namespace

AnimalConsistency consistency_of_animals(const std::vector<AlignedRows>& animals, int n_edges, bool unit_length,
                                         double period) {
  const bool is_ring = period > 0;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  int n_groups = 1;
  for (const auto& animal : animals) {
    for (const double label : animal.label) low = std::min(low, label), high = std::max(high, label);
    for (const auto group : animal.group) n_groups = std::max(n_groups, group + 1);
  }
  if (is_ring) low = 0, high = period;
  std::vector<double> edges;
  for (int i = 0; i < n_edges; ++i) edges.push_back(low + i * (high - low) / (n_edges - 1));
  edges.back() = high;
  std::vector<BinMeans> means;
  for (const auto& animal : animals) means.push_back(bin_means(animal, edges, is_ring, n_groups, unit_length));

  AnimalConsistency result;
  result.n_bins = n_groups * (n_edges - 1);
  std::set<std::size_t> left_out;
  for (const auto& from : means) {
    auto &row = result.r2.emplace_back(), &unmapped = result.unmapped_r2.emplace_back();
    for (const auto& to : means) {
      row.push_back(std::numeric_limits<double>::quiet_NaN());
      unmapped.push_back(std::numeric_limits<double>::quiet_NaN());
      if (&from == &to) continue;
      std::vector<Eigen::Index> common;
      for (std::size_t bin = 0; bin < from.is_filled.size(); ++bin)
        if (from.is_filled[bin] && to.is_filled[bin])
          common.push_back(static_cast<Eigen::Index>(bin));
        else
          left_out.insert(bin);
      if (static_cast<Eigen::Index>(common.size()) < kBinsPerCoefficient * (from.means.cols() + 1)) continue;
      const RowMajorMatrix inputs = from.means(common, Eigen::all), truth = to.means(common, Eigen::all);
      const RowMajorMatrix mapped = fit_linear(inputs, truth, 0).apply(inputs);
      row.back() = mean_r2(values_of(truth), values_of(mapped), truth.cols());
      unmapped.back() = mean_r2(values_of(truth), values_of(inputs), truth.cols());
    }
  }
  result.n_bins_left_out = static_cast<std::int32_t>(left_out.size());
  return result;
}

namespace {

// The latents of a run, "encoder" label-free and "posterior" with labels, those there are.
struct RunEmbeddings {
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, Embedding> embeddings;

  RunEmbeddings(RunEmbeddings&&) = default;  // a copy's embeddings would be another's values
  explicit RunEmbeddings(const std::filesystem::path& path) {
    const auto arrays = read_npz(path);
    for (const auto& [name, array] : {std::pair{"encoder", "encoder_mean"}, {"posterior", "posterior_mean"}}) {
      const auto found = arrays.find(array);
      if (found == arrays.end()) continue;
      const auto& kept = values[name] = found->second.as<float>();
      embeddings[name] = {found->second.shape[0], static_cast<int>(found->second.shape[1]), kept};
    }
  }
};

// The direction's place among all categories of that label in the study; one group for a recording without directions.
std::vector<std::int32_t> groups_of(const Recording& recording, const LabelColumn* direction,
                                    const std::set<std::string>& categories) {
  std::vector<std::int32_t> groups(to_size(recording.n_times), 0);
  if (!direction) return groups;
  for (std::size_t bin = 0; bin < groups.size(); ++bin) {
    const auto found = categories.find(direction->categories[to_size(direction->values[bin])]);
    groups[bin] = static_cast<std::int32_t>(std::distance(categories.begin(), found));
  }
  return groups;
}

// The scores of `to`'s positions, read from `from`'s latents: {"position_error_cm", "position_r2"} or as decoding.h
// says.
json decode_across(const AlignedRows& from, const AlignedRows& to, const LabelColumn& position, ThreadPool& pool) {
  Recording both;
  both.labels = {position};
  both.labels.front().values.clear();
  std::vector<float> latents;
  Split split;
  for (const auto* animal : {&from, &to}) {
    const auto n_dims = static_cast<std::ptrdiff_t>(animal->embedding.n_dims);
    for (std::size_t i = 0; i < animal->rows.size(); ++i) {
      const auto row = animal->embedding.values.begin() + animal->rows[i] * n_dims;
      latents.insert(latents.end(), row, row + n_dims);
      both.labels.front().values.push_back(animal->label[i]);
      (animal == &from ? split.train : split.test).push_back(both.n_times++);
    }
  }
  const DecodingOptions options{.position_label = position.name};
  const int neighbours = std::min(kNeighboursAcross, static_cast<int>(split.train.size()));
  const DecodedPosition decoded = decode_position({both.n_times, from.embedding.n_dims, latents}, both, split, options,
                                                  Distance::euclidean, neighbours, pool);
  json scores = json::object();
  score_decoded(scores, "test", decoded.decoded, split.test, both, options);
  return scores.at("test");
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  std::size_t n = 0;
  for (const double value : values)
    if (std::isfinite(value)) sum += value, ++n;
  return n > 0 ? sum / static_cast<double>(n) : std::numeric_limits<double>::quiet_NaN();
}

// The agreement of the seeds of one split, by name, which is also added to `sums`.
json agreement_of_seeds(std::vector<const FinishedRun*> of_seeds, const Split& bins,
                        std::map<std::string, double>& sums) {
  std::stable_sort(of_seeds.begin(), of_seeds.end(), [](const auto* a, const auto* b) {
    return a->loss < b->loss || (std::isnan(b->loss) && !std::isnan(a->loss));
  });
  std::vector<RunEmbeddings> seeds;
  for (const FinishedRun* seed : of_seeds) seeds.emplace_back(seed->latents);
  const Split on_train{.name = bins.name, .train = bins.train, .valid = {}, .test = bins.train};
  json entry = {{"seeds", seeds.size()}};
  for (const auto& [name, first] : seeds.front().embeddings) {
    std::vector<Embedding> embeddings;
    for (const auto& seed : seeds) embeddings.push_back(seed.embeddings.at(name));
    for (const auto& [key, scored] : {std::pair{name, &bins}, {name + "_train", &on_train}}) {
      const auto add = [&](const std::string& as, const std::vector<Embedding>& among) {
        const double mean = mean_affine_agreement(among, *scored);
        entry[as] = mean;
        sums[as] += mean;
      };
      add(key, embeddings);
      if (const auto half = static_cast<std::ptrdiff_t>(embeddings.size() / 2); embeddings.size() >= kSeedsToRank)
        add(key + "_lowest_loss", {embeddings.begin(), embeddings.begin() + half});
    }
  }
  return entry;
}

// Animals that can be aligned: those with the first one's position and, where it has one, direction.
struct AnimalsToAlign {
  std::vector<std::size_t> aligned;
  std::vector<const LabelColumn*> positions, directions;
  std::set<std::string> categories;
};
AnimalsToAlign animals_to_align(const std::vector<Subject>& subjects, const DecodingOptions& decoding) {
  AnimalsToAlign found;
  auto& [aligned, positions, directions, categories] = found;
  for (std::size_t subject = 0; subject < subjects.size(); ++subject) {
    const LabelColumn* position = position_label(subjects[subject].recording, decoding.position_label);
    const LabelColumn* direction = direction_label(subjects[subject].recording, decoding.direction_label);
    if (!position) continue;
    if (!aligned.empty() &&
        (position->name != positions.front()->name || position->unit != positions.front()->unit ||
         position->kind != positions.front()->kind || position->period != positions.front()->period ||
         (direction ? direction->name : "") != (directions.front() ? directions.front()->name : "")))
      continue;
    aligned.push_back(subject);
    positions.push_back(position);
    directions.push_back(direction);
    if (direction) categories.insert(direction->categories.begin(), direction->categories.end());
  }
  return found;
}

}  // namespace

json seed_consistency(const StudyRuns& runs, const std::vector<FinishedRun>& finished) {
  json list = json::array();
  for (const auto [subject_place, model] : runs.cells()) {
    const Subject& subject = runs.subjects()[subject_place];
    json splits = json::array();
    std::map<std::string, double> sums;
    for (std::size_t split = 0; split < subject.splits.size(); ++split) {
      std::vector<const FinishedRun*> of_seeds;
      for (const auto& run : finished)
        if (run.run->subject == subject_place && run.run->model == model && run.run->split == split)
          of_seeds.push_back(&run);
      if (of_seeds.size() < 2) continue;
      json entry = agreement_of_seeds(of_seeds, subject.splits[split], sums);
      entry["split"] = subject.split_numbers[split];
      splits.push_back(std::move(entry));
    }
    if (splits.empty()) continue;
    const auto n_splits = static_cast<double>(splits.size());
    json entry = {{"subject", subject.recording.subject},
                  {"model", runs.study().models[model].name},
                  {"splits", std::move(splits)}};
    for (const auto& [key, sum] : sums) entry[key] = sum / n_splits;
    list.push_back(std::move(entry));
  }
  return list;
}

json animal_consistency(const StudyRuns& study_runs, const std::vector<FinishedRun>& runs, ThreadPool& pool) {
  const Study& study = study_runs.study();
  const std::vector<Subject>& subjects = study_runs.subjects();
  const auto [aligned, positions, directions, categories] = animals_to_align(subjects, study.decoding);
  json list = json::array();
  if (aligned.size() < 2) return list;

  for (std::size_t model = 0; model < study.models.size(); ++model) {
    // [from, to] -> split number -> "encoder", ... -> "train", ... -> one value per seed
    std::map<std::pair<std::size_t, std::size_t>,
             std::map<int, std::map<std::string, std::map<std::string, std::vector<double>>>>>
        found;
    std::map<std::pair<int, std::uint64_t>, std::map<std::size_t, const FinishedRun*>> by_split_and_seed;
    for (const auto& finished : runs) {
      const auto place = std::find(aligned.begin(), aligned.end(), finished.run->subject);
      if (finished.run->model != model || place == aligned.end()) continue;
      const int split = subjects[finished.run->subject].split_numbers[finished.run->split];
      by_split_and_seed[{split, finished.run->seed}][to_size(place - aligned.begin())] = &finished;
    }
    for (const auto& [key, of_animal] : by_split_and_seed) {
      if (of_animal.size() < 2) continue;
      std::vector<std::size_t> animals;
      std::vector<RunEmbeddings> embeddings;
      for (const auto& [animal, finished] : of_animal) {
        animals.push_back(animal);
        embeddings.emplace_back(finished->latents);
      }
      for (const auto& [name, first] : embeddings.front().embeddings) {
        std::vector<AlignedRows> rows_of_part[2];  // train, test
        const auto add = [&, &name = name](std::size_t from, std::size_t to, const std::string& score, double value) {
          found[{animals[from], animals[to]}][key.first][name][score].push_back(value);
        };
        for (const bool on_test : {false, true}) {
          std::vector<AlignedRows>& rows = rows_of_part[on_test];
          for (std::size_t i = 0; i < animals.size(); ++i) {
            const auto& run = *of_animal.at(animals[i])->run;
            const Recording& recording = subjects[run.subject].recording;
            const Split& split = subjects[run.subject].splits[run.split];
            const auto groups = groups_of(recording, directions[animals[i]], categories);
            AlignedRows of{.embedding = embeddings[i].embeddings.at(name),
                           .rows = on_test ? split.test : split.train,
                           .label = {},
                           .group = {}};
            for (const auto row : of.rows) {
              of.label.push_back(positions[animals[i]]->values[to_size(row)]);
              of.group.push_back(groups[to_size(row)]);
            }
            rows.push_back(std::move(of));
          }
          if (std::any_of(rows.begin(), rows.end(), [](const AlignedRows& of) { return of.rows.empty(); })) continue;
          const std::string part = on_test ? "test" : "train";
          const double period = positions.front()->kind == LabelKind::circular ? positions.front()->period : 0;
          const auto plain = consistency_of_animals(rows, kEdges, false, period),
                     published = consistency_of_animals(rows, kEdges, true, period);
          for (std::size_t from = 0; from < animals.size(); ++from)
            for (std::size_t to = 0; to < animals.size(); ++to) {
              if (from == to) continue;
              add(from, to, part, plain.r2[from][to]);
              add(from, to, part + "_unmapped", plain.unmapped_r2[from][to]);
              add(from, to, part + "_published", published.r2[from][to]);
              add(from, to, part + "_bins_left_out", plain.n_bins_left_out / static_cast<double>(plain.n_bins));
            }
        }
        for (std::size_t from = 0; from < animals.size(); ++from)
          for (std::size_t to = 0; to < animals.size(); ++to) {
            const AlignedRows &train = rows_of_part[0][from], &test = rows_of_part[1][to];
            if (from == to || train.rows.empty() || test.rows.empty()) continue;
            const json scores = decode_across(train, test, *positions[animals[from]], pool);
            for (const char* score : {"position_error_cm", "position_error", "position_r2"})
              if (scores.contains(score)) add(from, to, std::string("across_") + score, scores.at(score));
          }
      }
    }
    for (const auto& [pair, of_split] : found) {
      json splits = json::array();
      for (const auto& [split, latents] : of_split) {
        json entry = {{"split", split}};
        for (const auto& [name, scores] : latents)
          for (const auto& [score, values] : scores) entry[name][score] = mean_of(values);
        splits.push_back(std::move(entry));
      }
      list.push_back({{"from", subjects[aligned[pair.first]].recording.subject},
                      {"to", subjects[aligned[pair.second]].recording.subject},
                      {"model", study.models[model].name},
                      {"splits", std::move(splits)}});
    }
  }
  return list;
}

}  // namespace idem
