#include "host/study/subjects.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/support/errors.h"
#include "host/recordings/plausibility.h"
#include "host/preparation/prepare.h"
#include "host/recordings/read_recording.h"
#include "host/preparation/choose_splits.h"
#include "kernels/common/to_size.h"

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
  subject.trials = std::move(chosen.trials);
  subject.notes.push_back(std::move(chosen.note));
}

// A part in which nobody fires trains or scores nothing: the recording began or ended elsewhere, or its spikes have
// another clock.
void require_spikes(const Subject& subject) {
  const Recording& recording = subject.recording;
  const auto n_neurons = static_cast<std::ptrdiff_t>(recording.n_neurons);
  for (std::size_t i = 0; i < subject.splits.size(); ++i) {
    const Split& split = subject.splits[i];
    for (const auto& [name, bins] :
         {std::pair("training", &split.train), std::pair("validation", &split.valid), std::pair("test", &split.test)}) {
      const auto is_silent = [&](std::int32_t bin) {
        const auto row = recording.counts.begin() + bin * n_neurons;
        return std::all_of(row, row + n_neurons, [](float count) { return count == 0; });
      };
      if (bins->empty() || !std::all_of(bins->begin(), bins->end(), is_silent)) continue;
      throw DataError(fmt::format(
          "{}: the {} part of split {} ({} bins from {:.6g} s to {:.6g} s) has no spike; leave the silent stretch out "
          "(recording.start_s, stop_s, gaps_s), or choose other splits (splits.kind, fractions or ranges)",
          recording.subject, name, subject.split_numbers[i], bins->size(), recording.time_s[to_size(bins->front())],
          recording.time_s[to_size(bins->back())] + recording.bin_width_s));
    }
  }
}

// Fewer bins than a window are one window, and fewer than latents and one more lie on a plane whatever they hold.
void require_training_bins(const ModelConfig& model, const Subject& subject) {
  const Preparation& preparation = model.preparation;
  const auto window = to_size(preparation.uses_window() ? preparation.left + preparation.right : 1),
             latents = to_size(model.n_latents());
  for (std::size_t i = 0; i < subject.splits.size(); ++i)
    if (const auto n = subject.splits[i].train.size(); n < std::max(window, latents + 1))
      throw DataError(
          fmt::format("{}: split {} has {} training bins, and model {} needs {} or more: as many as its window of {} "
                      "and more than its {} latents; "
                      "give it a longer recording, or other splits, windows or model.latents",
                      subject.recording.subject, subject.split_numbers[i], n, model.name, std::max(window, latents + 1),
                      window, latents));
}

void check_models(const Study& study, const Subject& subject) {
  const Recording& recording = subject.recording;
  for (const auto& model : study.models) {
    const Recording seen = with_time(recording, model.preparation.labels);
    under_key(study, fmt::format("model {}: model.labels", model.name), [&] {
      for (const auto& label : model.preparation.labels) seen.label(label);
    });
    const ModelConfig own = model_for(model, recording);
    check_windows(recording, own.preparation, subject.splits);
    require_training_bins(own, subject);
    if (own.preparation.square_root && recording.has_negative_values)
      model.fail("input.transform",
                 fmt::format("square-root needs counts, {} has negative values; use \"none\"", recording.subject));
    smoothing_taps(own.preparation, recording.bin_width_s);
    own.own->check(own, subject);
  }
}

void check_decoding(const Study& study, const Subject& subject) {
  const DecodingOptions& decoding = study.decoding;
  under_key(study, "evaluation.position", [&] { position_label(subject.recording, decoding.position_label); });
  under_key(study, "evaluation.direction", [&] { direction_label(subject.recording, decoding.direction_label); });
  const auto fewest = to_size(*std::min_element(decoding.neighbours.begin(), decoding.neighbours.end()));
  for (const auto& part : subject.splits)
    if (part.train.size() < fewest)
      throw ConfigError(
          fmt::format("{}: evaluation.neighbours: {} has {} training bins, fewer than every entry; add a smaller one",
                      study.source, subject.recording.subject, part.train.size()));
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
        "the windows around {} bins read across the border between training, validation and test bins ({} of them test "
        "bins{}); with windows.edges "
        "\"clamped-concatenated\" none does",
        list_of(all), list_of(tests),
        subject.splits.size() > 1 ? fmt::format("; splits {}", fmt::join(subject.split_numbers, ", ")) : "");
    if (known.insert(note).second) subject.notes.push_back(note);
  }
}

void note_models(const Study& study, Subject& subject) {
  for (const auto& model : study.models) {
    for (auto& note : model.own->notes(model)) subject.notes.push_back(std::move(note));
    if (model.shuffle_labels)
      subject.notes.push_back(
          fmt::format("model {} is a control: its labels are dealt out to the bins by chance "
                      "(model.shuffle_labels {}); what is decoded, and InfoNCE on validation bins, are of the true "
                      "ones",
                      model.name, *model.shuffle_labels));
  }
}

bool is_constant(const LabelColumn& label, const std::vector<std::int32_t>& bins) {
  const auto value = [&](std::int32_t bin) { return label.values[to_size(bin)]; };
  return std::all_of(bins.begin(), bins.end(), [&](auto bin) { return value(bin) == value(bins.front()); });
}

void warn_of_models(const Study& study, Subject& subject) {
  const auto most = std::max_element(subject.splits.begin(), subject.splits.end(), [](const Split& a, const Split& b) {
                      return a.train.size() < b.train.size();
                    })->train.size();
  for (const auto& model : study.models) {
    const auto say = [&](const std::string& text) {
      subject.warnings.push_back(fmt::format("model {}: {}", model.name, text));
    };
    for (const auto& warning : model.own->warnings(most)) say(warning);
    if (const auto n = model.n_latents(); n > subject.recording.n_neurons)
      say(fmt::format("{} latents of {} neurons: a latent that is no smaller than the counts explains nothing", n,
                      subject.recording.n_neurons));
  }
}

void warn(Subject& subject) {
  // Scores of a part this short are luck.
  constexpr std::size_t few_bins = 20;
  const Recording& recording = subject.recording;
  subject.warnings = doubts_of(recording);
  for (std::size_t i = 0; i < subject.splits.size(); ++i) {
    const Split& split = subject.splits[i];
    for (const auto& [name, bins] :
         {std::pair("training", &split.train), std::pair("validation", &split.valid), std::pair("test", &split.test)})
      if (!bins->empty() && bins->size() < few_bins)
        subject.warnings.push_back(fmt::format("split {} has only {} {} bin{}: numbers from so few mean little",
                                               subject.split_numbers[i], bins->size(), name,
                                               bins->size() == 1 ? "" : "s"));
    for (const auto& label : recording.labels)
      if (is_constant(label, split.train))
        subject.warnings.push_back(
            fmt::format("label {} is constant in the training bins of split {}: it tells a model nothing", label.name,
                        subject.split_numbers[i]));
  }
}

// The labels that a model sees of a recording: features, units, periods.
std::vector<std::string> label_facts(const ModelConfig& model, const Recording& recording) {
  const ModelConfig own = model_for(model, recording);
  const Recording seen = recording_for(own, recording);
  std::vector<std::string> facts = label_scaling(seen, own.preparation, {}).names;
  for (const auto& name : own.preparation.labels) {
    const LabelColumn& label = seen.label(name);
    if (!label.unit.empty()) facts.push_back(fmt::format("{} in {}", name, label.unit));
    if (label.kind == LabelKind::circular) facts.push_back(fmt::format("{} of period {:g}", name, label.period));
  }
  return facts;
}

// What recordings need to share a space.
void check_joint_models(const Study& study, const std::vector<Subject>& subjects) {
  for (const auto& model : study.models) {
    if (!model.is_joint) continue;
    if (subjects.size() < 2) model.fail("joint", "needs two recordings or more; list them in recording, or drop it");
    const Recording& first = subjects.front().recording;
    const auto labels = label_facts(model, first);
    for (const auto& subject : subjects) {
      const Recording& recording = subject.recording;
      if (const auto own = label_facts(model, recording); own != labels)
        model.fail("joint",
                   fmt::format("{} has the labels [{}], {} has [{}]; name labels and categories alike, or choose "
                               "model.labels that all have",
                               recording.subject, fmt::join(own, ", "), first.subject, fmt::join(labels, ", ")));
      if (subject.split_numbers != subjects.front().split_numbers)
        model.fail("joint", "the recordings are not split alike; set splits.kind");
      if (!(std::abs(recording.bin_width_s - first.bin_width_s) <= 1e-6 * recording.bin_width_s))
        model.fail("joint", "the recordings have bins of different width; bin them alike");
    }
    model.own->check_joint(model, subjects);
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
      throw ConfigError(fmt::format("{}: recording: two are of subject \"{}\"; give each its own recording.subject",
                                    study.source, subject.recording.subject));
    split(study, subject);
    require_spikes(subject);
    check_decoding(study, subject);
    check_models(study, subject);
    note_borders(study, subject);
    note_models(study, subject);
    warn(subject);
    warn_of_models(study, subject);
    subjects.push_back(std::move(subject));
  }
  check_joint_models(study, subjects);
  return subjects;
}

}  // namespace idem
