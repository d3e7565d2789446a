#include "host/study/subjects.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/families/cebra/contrastive_data.h"
#include "host/support/errors.h"
#include "host/support/numpy_random.h"
#include "host/recordings/plausibility.h"
#include "host/preparation/prepare.h"
#include "host/recordings/read_recording.h"
#include "host/preparation/choose_splits.h"

namespace idem {
namespace {

using nlohmann::json;

// What `action` finds wrong, with the key that is to be changed in front.
template <class Action>
void under_key(const Study& study, const std::string& key, const Action& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    throw ConfigError(fmt::format("{}: {}: {}", study.source, key, error.what()));
  }
}

void split(const Study& study, Subject& subject) {
  StudySplits chosen = split_recording(study.splits, subject.recording, study.source);
  subject.splits = std::move(chosen.splits);
  subject.split_numbers = std::move(chosen.numbers);
  subject.notes.push_back(std::move(chosen.note));
}

// A part in which nobody fires trains or scores nothing: the recording began or ended elsewhere, or its spikes have another clock.
void require_spikes(const Subject& subject) {
  const Recording& recording = subject.recording;
  const auto n_neurons = static_cast<std::ptrdiff_t>(recording.n_neurons);
  for (std::size_t i = 0; i < subject.splits.size(); ++i) {
    const Split& split = subject.splits[i];
    for (const auto& [name, bins] : {std::pair("training", &split.train), std::pair("validation", &split.valid), std::pair("test", &split.test)}) {
      const auto is_silent = [&](std::int32_t bin) {
        const auto row = recording.counts.begin() + bin * n_neurons;
        return std::all_of(row, row + n_neurons, [](float count) { return count == 0; });
      };
      if (bins->empty() || !std::all_of(bins->begin(), bins->end(), is_silent)) continue;
      throw DataError(fmt::format("{}: the {} part of split {} ({} bins from {:.6g} s to {:.6g} s) has no spike; leave the silent stretch out "
                                  "(recording.start_s, stop_s, gaps_s), or choose other splits (splits.kind, fractions or ranges)",
                                  recording.subject, name, subject.split_numbers[i], bins->size(), recording.time_s[static_cast<std::size_t>(bins->front())],
                                  recording.time_s[static_cast<std::size_t>(bins->back())] + recording.bin_width_s));
    }
  }
}

// Positives have something to be drawn from in every split. Throws ConfigError.
void check_positives(const ModelConfig& model, const Subject& subject) {
  ThreadPool pool(1);
  const Recording seen = recording_for(model, subject.recording);
  for (const auto& part : subject.splits)
    contrastive_data(model, seen, prepare(seen, model.preparation, {part}, pool, {}, model.sees_labels()));
}

// Fewer bins than a window are one window, and fewer than latents and one more lie on a plane whatever they hold.
void require_training_bins(const ModelConfig& model, const Preparation& preparation, const Subject& subject) {
  const auto window = static_cast<std::size_t>(preparation.uses_window() ? preparation.left + preparation.right : 1),
             latents = static_cast<std::size_t>(model.n_latents());
  for (std::size_t i = 0; i < subject.splits.size(); ++i)
    if (const auto n = subject.splits[i].train.size(); n < std::max(window, latents + 1))
      throw DataError(fmt::format("{}: split {} has {} training bins, and model {} needs {} or more: as many as its window of {} and more than its {} latents; "
                                  "give it a longer recording, or other splits, windows or model.latents",
                                  subject.recording.subject, subject.split_numbers[i], n, model.name, std::max(window, latents + 1), window, latents));
}

void check_models(const Study& study, const Subject& subject) {
  const Recording& recording = subject.recording;
  for (const auto& model : study.models) {
    const Recording seen = with_time(recording, model.preparation.labels);
    under_key(study, fmt::format("model {}: model.labels", model.name), [&] {
      for (const auto& label : model.preparation.labels) seen.label(label);
    });
    const Preparation preparation = model_for(study, model, recording).preparation;
    const auto fail = [&](const std::string& key, const std::string& message) {
      throw ConfigError(fmt::format("{}: model {}: {}: {}", study.source, model.name, key, message));
    };
    check_windows(recording, preparation, subject.splits);
    require_training_bins(model, preparation, subject);
    if (preparation.square_root && recording.has_negative_values)
      fail("input.transform", fmt::format("square-root needs counts, {} has negative values; use \"none\"", recording.subject));
    if (model.cebra) {
      under_key(study, fmt::format("model {}", model.name), [&] { check_positives(model_for(study, model, recording), subject); });
      continue;
    }
    smoothing_taps(preparation, recording.bin_width_s);
    if (model.gcl) continue;
    if (model.design.prior_kind == PriorKind::embedding &&
        (preparation.labels.size() != 1 || seen.label(preparation.labels.front()).kind != LabelKind::categorical))
      fail("prior.kind", fmt::format("an embedding is of one categorical label, not of [{}]; name one in model.labels or use \"shared-mlp\"",
                                     fmt::join(preparation.labels, ", ")));
    const std::int32_t n_outputs = recording.n_neurons * (model.design.decodes_window ? model.design.window : 1);
    if (model.design.decoder_kind == DecoderKind::gin && n_outputs <= model.design.n_latents)
      fail("decoder.kind", fmt::format("gin needs more outputs than latents, not {} of {}; lower model.latents or use \"mlp\"", n_outputs,
                                       model.design.n_latents));
    if (model.design.observation == Observation::poisson) require_whole_counts(recording);
  }
}

void check_decoding(const Study& study, const Subject& subject) {
  const DecodingOptions decoding = decoding_options(study);
  under_key(study, "evaluation.position", [&] { position_label(subject.recording, decoding.position_label); });
  under_key(study, "evaluation.direction", [&] { direction_label(subject.recording, decoding.direction_label); });
  const auto fewest = static_cast<std::size_t>(*std::min_element(decoding.neighbours.begin(), decoding.neighbours.end()));
  for (const auto& part : subject.splits)
    if (part.train.size() < fewest)
      throw ConfigError(fmt::format("{}: evaluation.neighbours: {} has {} training bins, fewer than every entry; add a smaller one", study.source,
                                    subject.recording.subject, part.train.size()));
}

std::string list_of(const std::vector<std::int32_t>& numbers) { return fmt::format("{}", fmt::join(numbers, ", ")); }

// Windows near a border between training and test bins see some of both.
void note_borders(const Study& study, Subject& subject) {
  ThreadPool pool(1);
  std::set<std::string> known;  // models differ in their targets only
  for (const auto& model : study.models) {
    std::vector<std::int32_t> all, tests;
    for (const auto& split : subject.splits) {
      const BorderBins across = bins_across_borders(subject.recording, model.preparation, split, pool);
      all.push_back(across.train + across.valid + across.test);
      tests.push_back(across.test);
    }
    if (std::all_of(all.begin(), all.end(), [](auto n) { return n == 0; })) continue;
    const std::string note = fmt::format(
        "the windows around {} bins read across the border between training, validation and test bins ({} of them test bins{}); with windows.edges "
        "\"clamped-concatenated\" none does",
        list_of(all), list_of(tests), subject.splits.size() > 1 ? fmt::format("; splits {}", fmt::join(subject.split_numbers, ", ")) : "");
    if (known.insert(note).second) subject.notes.push_back(note);
  }
}

void note_labels(const Study& study, Subject& subject) {
  for (const auto& model : study.models) {
    if (!model.sees_labels() && model.is_vae())
      subject.notes.push_back(
          fmt::format("model {} sees no label: what its files call posterior is its encoder times a prior of no label", model.name));
    if (model.is_vae() && model.design.encoder_sees_labels)
      subject.notes.push_back(fmt::format("model {} has no label-free latents: its encoder sees the labels", model.name));
    if (model.cebra && model.cebra->fits_session)
      subject.notes.push_back(fmt::format("model {} was fitted on every bin of the session: it has seen the activity of the test bins, though no label (contrastive.fit)",
                                          model.name));
    if (model.shuffle_labels)
      subject.notes.push_back(fmt::format("model {} is a control: its labels are dealt out to the bins by chance (model.shuffle_labels {}); what is decoded, and "
                                          "CEBRA's InfoNCE on validation bins, are of the true ones", model.name, *model.shuffle_labels));
  }
}

bool is_constant(const LabelColumn& label, const std::vector<std::int32_t>& bins) {
  const auto value = [&](std::int32_t bin) { return label.values[static_cast<std::size_t>(bin)]; };
  return std::all_of(bins.begin(), bins.end(), [&](auto bin) { return value(bin) == value(bins.front()); });
}

void warn_of_models(const Study& study, Subject& subject) {
  const auto most = std::max_element(subject.splits.begin(), subject.splits.end(),
                                     [](const Split& a, const Split& b) { return a.train.size() < b.train.size(); })->train.size();
  for (const auto& model : study.models) {
    const auto say = [&](const std::string& text) { subject.warnings.push_back(fmt::format("model {}: {}", model.name, text)); };
    constexpr std::size_t large_full_batch = 30000;
    if (model.cebra && model.cebra->plan.is_full_batch && most > large_full_batch)
      say(fmt::format("contrastive.batch null compares {} bins with as many in each of {} steps: give a number to take less", most, model.cebra->plan.steps));
    if (!model.cebra && static_cast<std::size_t>(model.training.batch) > most)
      say(fmt::format("training.batch {} is more than the {} training bins: a step takes them all", model.training.batch, most));
    if (!model.cebra && model.training.patience >= model.training.epochs)
      say(fmt::format("training.patience {} is no less than training.epochs {}: nothing stops early", model.training.patience, model.training.epochs));
    if (const auto n = model.n_latents(); n > subject.recording.n_neurons)
      say(fmt::format("{} latents of {} neurons: a latent that is no smaller than the counts explains nothing", n, subject.recording.n_neurons));
  }
}

void warn(Subject& subject) {
  // Scores of a part this short are luck.
  constexpr std::size_t few_bins = 20;
  const Recording& recording = subject.recording;
  subject.warnings = doubts_of(recording);
  for (std::size_t i = 0; i < subject.splits.size(); ++i) {
    const Split& split = subject.splits[i];
    for (const auto& [name, bins] : {std::pair("training", &split.train), std::pair("validation", &split.valid), std::pair("test", &split.test)})
      if (!bins->empty() && bins->size() < few_bins)
        subject.warnings.push_back(fmt::format("split {} has only {} {} bin{}: numbers from so few mean little", subject.split_numbers[i],
                                               bins->size(), name, bins->size() == 1 ? "" : "s"));
    for (const auto& label : recording.labels)
      if (is_constant(label, split.train))
        subject.warnings.push_back(
            fmt::format("label {} is constant in the training bins of split {}: it tells a model nothing", label.name, subject.split_numbers[i]));
  }
}

// What recordings need to share a space.
void check_joint_models(const Study& study, const std::vector<Subject>& subjects) {
  for (const auto& model : study.models) {
    if (!model.is_joint) continue;
    const auto fail = [&](const std::string& message) {
      throw ConfigError(fmt::format("{}: model {}: joint: {}", study.source, model.name, message));
    };
    if (subjects.size() < 2) fail("needs two recordings or more; list them in recording, or drop it");
    ThreadPool pool(1);
    const auto facts = [&](const Subject& subject) {
      const ModelConfig own = model_for(study, model, subject.recording);
      const Recording seen = recording_for(own, subject.recording);
      std::set<std::set<std::int32_t>> classes;  // those of each split and part
      if (own.cebra && own.cebra->by_class)
        for (const auto& part : subject.splits) {
          const auto sets = contrastive_data(own, seen, prepare(seen, own.preparation, {part}, pool)).data.sets;
          for (const auto& set : sets) classes.insert(std::set<std::int32_t>(set.classes.begin(), set.classes.end()));
        }
      std::vector<std::string> names = label_scaling(seen, own.preparation, {}).names;
      for (const auto& name : own.preparation.labels) {
        const LabelColumn& label = seen.label(name);
        if (!label.unit.empty()) names.push_back(fmt::format("{} in {}", name, label.unit));
        if (label.kind == LabelKind::circular) names.push_back(fmt::format("{} of period {:g}", name, label.period));
      }
      return std::tuple(names, classes);
    };
    const auto first = facts(subjects.front());
    for (const auto& subject : subjects) {
      const Recording& recording = subject.recording;
      const auto own = facts(subject);
      if (std::get<0>(own) != std::get<0>(first))
        fail(fmt::format("{} has the labels [{}], {} has [{}]; name labels and categories alike, or choose model.labels that all have", recording.subject,
                         fmt::join(std::get<0>(own), ", "), subjects.front().recording.subject, fmt::join(std::get<0>(first), ", ")));
      if (std::get<1>(own) != std::get<1>(first) || std::get<1>(own).size() > 1)
        fail(fmt::format("not every part of every split of {} and {} has the same categories of [{}]; choose other splits, or labels that all have",
                         recording.subject, subjects.front().recording.subject, fmt::join(model_for(study, model, recording).preparation.labels, ", ")));
      if (subject.split_numbers != subjects.front().split_numbers) fail("the recordings are not split alike; set splits.kind");
      if (!(std::abs(recording.bin_width_s - subjects.front().recording.bin_width_s) <= 1e-6 * recording.bin_width_s))
        fail("the recordings have bins of different width; bin them alike");
    }
  }
}

}  // namespace

std::vector<Subject> load_subjects(const Study& study) {
  std::vector<Subject> subjects;
  std::set<std::string> names;
  for (const auto& section : study.recordings) {
    Subject subject;
    subject.recording = load_recording(section, {});
    subject.notes = subject.recording.notes;
    if (!names.insert(subject.recording.subject).second)
      throw ConfigError(
          fmt::format("{}: recording: two are of subject \"{}\"; give each its own recording.subject", study.source, subject.recording.subject));
    split(study, subject);
    require_spikes(subject);
    check_decoding(study, subject);
    check_models(study, subject);
    note_borders(study, subject);
    note_labels(study, subject);
    warn(subject);
    warn_of_models(study, subject);
    subjects.push_back(std::move(subject));
  }
  check_joint_models(study, subjects);
  return subjects;
}

ModelConfig model_for(const Study& study, const ModelConfig& model, const Recording& recording) {
  ModelConfig result = model;
  if (!result.preparation.labels.empty() || !model.sees_labels()) return result;
  for (const auto& label : recording.labels) result.preparation.labels.push_back(label.name);
  if (result.preparation.labels.empty())
    throw ConfigError(fmt::format(
        "{}: model.labels: {} has no labels, and {} at least one; describe what was measured in recording.labels", study.source, recording.subject,
        model.cebra ? "CEBRA's positives by behaviour need" : model.gcl ? "contrastive learning needs" : "the prior p(z|u) needs"));
  return result;
}

Recording recording_for(const ModelConfig& model, const Recording& recording) {
  Recording seen = with_time(recording, model.preparation.labels);
  if (!model.shuffle_labels) return seen;
  const auto order = NumpyRandom(*model.shuffle_labels).permutation(seen.n_times);
  for (auto& label : seen.labels) {
    const std::vector<double> values = label.values;
    for (std::size_t bin = 0; bin < values.size(); ++bin) label.values[bin] = values[static_cast<std::size_t>(order[bin])];
  }
  return seen;
}

DecodingOptions decoding_options(const Study& study) {
  const auto label = [&](const char* key) {
    const std::string name = study.evaluation.at(key);
    return name == "auto" ? std::string() : name;
  };
  DecodingOptions options;
  options.position_label = label("position");
  options.direction_label = label("direction");
  options.neighbours = study.evaluation.at("neighbours").get<std::vector<int>>();
  options.neighbours_by = study.evaluation.at("neighbours_by") == "r2" ? NeighboursBy::r2 : NeighboursBy::score;
  if (const auto& draws = study.evaluation.at("marginal_draws"); draws.is_number()) options.marginal_draws = draws.get<int>();
  options.marginal_candidates = study.evaluation.at("marginal_candidates");
  return options;
}

}  // namespace idem
