#include "host/study/consistency.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "host/evaluation/aligned_animals.h"
#include "host/evaluation/decoding_scores.h"
#include "host/evaluation/identifiability.h"
#include "host/evaluation/neighbour_decoder.h"
#include "host/formats/npz.h"
#include "kernels/common/to_size.h"

namespace idem {

using nlohmann::json;

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
struct AnimalToAlign {
  std::size_t subject = 0;
  const LabelColumn *position = nullptr, *direction = nullptr;
};
std::vector<AnimalToAlign> animals_to_align(const std::vector<Subject>& subjects, const DecodingOptions& decoding) {
  std::vector<AnimalToAlign> found;
  const auto name_of = [](const LabelColumn* label) { return label ? label->name : std::string(); };
  for (std::size_t subject = 0; subject < subjects.size(); ++subject) {
    const LabelColumn* position = position_label(subjects[subject].recording, decoding.position_label);
    const LabelColumn* direction = direction_label(subjects[subject].recording, decoding.direction_label);
    if (!position) continue;
    const LabelColumn& first = found.empty() ? *position : *found.front().position;
    const bool is_alike = position->name == first.name && position->unit == first.unit &&
                          position->kind == first.kind && position->period == first.period &&
                          (found.empty() || name_of(direction) == name_of(found.front().direction));
    if (is_alike) found.push_back({subject, position, direction});
  }
  return found;
}

constexpr int kEdges = 100;  // of label bins: the published number

// What is compared: a score of one animal's latents ("encoder", "posterior") against another's, under one split.
struct PairScore {
  std::size_t from = 0, to = 0;  // places among the animals
  int split = 0;                 // its number
  std::string latents, score;
  auto operator<=>(const PairScore&) const = default;
};
using PairScores = std::map<PairScore, std::vector<double>>;  // one value per seed

// The runs of one split and seed, one for each animal that has one.
struct RunsOfSeed {
  int split = 0;
  std::vector<std::size_t> animals;
  std::vector<const FinishedRun*> runs;
};

class AnimalComparison {
 public:
  AnimalComparison(const StudyRuns& runs, ThreadPool& pool)
      : study_runs_(runs), pool_(pool), animals_(animals_to_align(runs.subjects(), runs.study().decoding)) {
    for (const auto& animal : animals_)
      if (animal.direction)
        categories_.insert(animal.direction->categories.begin(), animal.direction->categories.end());
  }

  bool is_empty() const { return animals_.size() < 2; }

  // Entries of one model.
  json entries(std::size_t model, const std::vector<FinishedRun>& finished) const {
    PairScores scores;
    for (const auto& seed : seeds_of(model, finished))
      if (seed.runs.size() > 1) add_scores(seed, scores);
    json list = json::array();
    const PairScore* last = nullptr;
    for (const auto& [key, values] : scores) {
      const bool is_new_pair = !last || last->from != key.from || last->to != key.to;
      if (is_new_pair)
        list.push_back({{"from", subject(key.from)},
                        {"to", subject(key.to)},
                        {"model", study_runs_.study().models[model].name},
                        {"splits", json::array()}});
      json& splits = list.back()["splits"];
      if (is_new_pair || last->split != key.split) splits.push_back({{"split", key.split}});
      splits.back()[key.latents][key.score] = mean_of(values);
      last = &key;
    }
    return list;
  }

 private:
  const std::string& subject(std::size_t animal) const {
    return study_runs_.subjects()[animals_[animal].subject].recording.subject;
  }

  // By number of the split, then seed: an animal may lack either.
  std::vector<RunsOfSeed> seeds_of(std::size_t model, const std::vector<FinishedRun>& finished) const {
    std::map<std::pair<int, std::uint64_t>, RunsOfSeed> seeds;
    for (std::size_t animal = 0; animal < animals_.size(); ++animal)
      for (const auto& run : finished) {
        if (run.run->model != model || run.run->subject != animals_[animal].subject) continue;
        const int split = study_runs_.split_number_of(*run.run);
        RunsOfSeed& seed = seeds[{split, run.run->seed}];
        seed.split = split;
        seed.animals.push_back(animal);
        seed.runs.push_back(&run);
      }
    std::vector<RunsOfSeed> list;
    for (auto& [key, seed] : seeds) list.push_back(std::move(seed));
    return list;
  }

  void add_scores(const RunsOfSeed& seed, PairScores& scores) const {
    std::vector<RunEmbeddings> embeddings;
    for (const auto* run : seed.runs) embeddings.emplace_back(run->latents);
    for (const auto& [name, first] : embeddings.front().embeddings) {
      const auto add = [&, &name = name](std::size_t from, std::size_t to, const std::string& score, double value) {
        scores[{seed.animals[from], seed.animals[to], seed.split, name, score}].push_back(value);
      };
      std::vector<AlignedRows> train, test;
      for (std::size_t i = 0; i < seed.runs.size(); ++i) {
        const Split& split = study_runs_.split_of(*seed.runs[i]->run);
        const Embedding& embedding = embeddings[i].embeddings.at(name);
        train.push_back(aligned_rows(animals_[seed.animals[i]], embedding, split.train));
        test.push_back(aligned_rows(animals_[seed.animals[i]], embedding, split.test));
      }
      add_alignment(train, "train", add);
      add_alignment(test, "test", add);
      add_decoding(train, test, *animals_[seed.animals.front()].position, add);
    }
  }

  AlignedRows aligned_rows(const AnimalToAlign& animal, const Embedding& embedding,
                           const std::vector<std::int32_t>& bins) const {
    const auto groups = groups_of(study_runs_.subjects()[animal.subject].recording, animal.direction, categories_);
    AlignedRows of{.embedding = embedding, .rows = bins, .label = {}, .group = {}};
    for (const auto bin : bins) {
      of.label.push_back(animal.position->values[to_size(bin)]);
      of.group.push_back(groups[to_size(bin)]);
    }
    return of;
  }

  template <class Add>
  void add_alignment(const std::vector<AlignedRows>& rows, const std::string& part, const Add& add) const {
    if (std::ranges::any_of(rows, [](const AlignedRows& of) { return of.rows.empty(); })) return;
    const LabelColumn& position = *animals_.front().position;
    const double period = position.kind == LabelKind::circular ? position.period : 0;
    const auto plain = consistency_of_animals(rows, kEdges, false, period);
    const auto published = consistency_of_animals(rows, kEdges, true, period);
    for (std::size_t from = 0; from < rows.size(); ++from)
      for (std::size_t to = 0; to < rows.size(); ++to) {
        if (from == to) continue;
        add(from, to, part, plain.r2[from][to]);
        add(from, to, part + "_unmapped", plain.unmapped_r2[from][to]);
        add(from, to, part + "_published", published.r2[from][to]);
        add(from, to, part + "_bins_left_out", plain.n_bins_left_out / static_cast<double>(plain.n_bins));
      }
  }

  template <class Add>
  void add_decoding(const std::vector<AlignedRows>& train, const std::vector<AlignedRows>& test,
                    const LabelColumn& position, const Add& add) const {
    for (std::size_t from = 0; from < train.size(); ++from)
      for (std::size_t to = 0; to < test.size(); ++to) {
        if (from == to || train[from].rows.empty() || test[to].rows.empty()) continue;
        const json scores = decode_across(train[from], test[to], position, pool_);
        for (const char* score : {"position_error_cm", "position_error", "position_r2"})
          if (scores.contains(score)) add(from, to, std::string("across_") + score, scores.at(score));
      }
  }

  const StudyRuns& study_runs_;
  ThreadPool& pool_;
  std::vector<AnimalToAlign> animals_;
  std::set<std::string> categories_;  // of all directions
};

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

json animal_consistency(const StudyRuns& runs, const std::vector<FinishedRun>& finished, ThreadPool& pool) {
  const AnimalComparison comparison(runs, pool);
  json list = json::array();
  if (comparison.is_empty()) return list;
  for (std::size_t model = 0; model < runs.study().models.size(); ++model)
    for (auto& entry : comparison.entries(model, finished)) list.push_back(std::move(entry));
  return list;
}

}  // namespace idem
