#include "host/study/transform.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/support/errors.h"
#include "host/study/latents_file.h"
#include "host/study/model_match.h"
#include "host/preparation/prepare.h"

namespace idem {
namespace {

// What the model asks of a recording, no configuration can change.
PreparedData prepared_for(const SavedModel& model, const std::string& model_name, const Recording& recording,
                          bool with_labels, ThreadPool& pool) {
  const auto scaling = with_labels ? std::vector{model.scaling} : std::vector<LabelScaling>();
  try {
    return prepare(recording, model.preparation, {}, pool, scaling, {.labels = with_labels});
  } catch (const ConfigError& error) {
    throw DataError(
        fmt::format("{}, as {} was trained, does not fit: {}", recording.subject, model_name, error.what()));
  }
}

}  // namespace

std::string transform_recording(const SavedModel& model, const std::string& model_name, const Recording& given,
                                Device& device, ThreadPool& pool, const std::filesystem::path& out) {
  const LabelUse use = model.design->label_use();
  std::vector<std::string> said;
  const Recording measured = matched_to_model(model, model_name, given, said);
  const Recording recording = use != LabelUse::unused ? with_time(measured, model.preparation.labels) : measured;
  if (!(std::abs(recording.bin_width_s - model.bin_width_s) <= 1e-6 * model.bin_width_s))
    throw DataError(fmt::format("{}: has bins of {:g} ms, {} was trained on {:g} ms; bin the recording alike",
                                recording.subject, 1000 * recording.bin_width_s, model_name, 1000 * model.bin_width_s));
  const auto lines_of = [&](const std::string& what) {
    const std::string edges =
        model.preparation.edges == EdgePolicy::clamped_concatenated
            ? "; windows.edges: segment-clamped in place of the model's clamped-concatenated, which needs a split"
            : "";
    std::string text =
        fmt::format("{} bins of {} -> {} ({}){}", recording.n_times, recording.subject, out.string(), what, edges);
    for (const auto& sentence : said) text += "\n" + sentence;
    return text;
  };
  std::vector<std::string> missing;
  for (const auto& name : use == LabelUse::unused ? std::vector<std::string>() : model.preparation.labels)
    if (std::none_of(recording.labels.begin(), recording.labels.end(),
                     [&](const LabelColumn& column) { return column.name == name; }))
      missing.push_back(name);
  if (use == LabelUse::required && !missing.empty())
    throw DataError(
        fmt::format("{}: lacks {}, which the encoder of {} sees beside the spikes; without them the model has no "
                    "latents, so add them "
                    "to the recording",
                    recording.subject, fmt::join(missing, ", "), model_name));
  const bool with_labels = use != LabelUse::unused && missing.empty();
  const PreparedData prepared = prepared_for(model, model_name, recording, with_labels, pool);
  const LatentTable table = model.design->latents(device, model.parameters, prepared);
  write_npz(out, latent_arrays(measured, table, model.design->n_latents()));
  std::string what = model.design->describe_latents(missing);
  if (with_labels && model.provenance.value("shuffled_labels", false))
    what += "; the model was trained on shuffled labels, these are the recording's own";
  return lines_of(what);
}

}  // namespace idem
