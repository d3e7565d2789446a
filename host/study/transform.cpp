#include "host/study/transform.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/families/cebra/embed_recording.h"
#include "engine/families/vae/vae_fleet.h"
#include "engine/families/gcl/gcl_fleet.h"
#include "host/families/cebra/contrastive_data.h"
#include "host/support/errors.h"
#include "host/study/latents_file.h"
#include "host/study/model_match.h"
#include "host/preparation/prepare.h"

namespace idem {

std::string transform_recording(const SavedModel& model, const std::string& model_name, const Recording& given, Device& device,
                                ThreadPool& pool, const std::filesystem::path& out) {
  // Labels of contrastive learning only chose what is compared while training.
  const bool sees_labels = !model.cebra && !model.gcl;
  std::vector<std::string> said;
  const Recording measured = matched_to_model(model, model_name, given, said);
  const Recording recording = sees_labels ? with_time(measured, model.preparation.labels) : measured;
  if (!(std::abs(recording.bin_width_s - model.bin_width_s) <= 1e-6 * model.bin_width_s))
    throw DataError(fmt::format("{}: has bins of {:g} ms, {} was trained on {:g} ms; bin the recording alike", recording.subject,
                                1000 * recording.bin_width_s, model_name, 1000 * model.bin_width_s));
  const auto lines_of = [&](const std::string& what) {
    const std::string edges = model.preparation.edges == EdgePolicy::clamped_concatenated
                                  ? "; windows.edges: segment-clamped in place of the model's clamped-concatenated, which needs a split"
                                  : "";
    std::string text = fmt::format("{} bins of {} -> {} ({}){}", recording.n_times, recording.subject, out.string(), what, edges);
    for (const auto& sentence : said) text += "\n" + sentence;
    return text;
  };
  // What the model asks of a recording, no configuration can change.
  const auto prepared_for_model = [&](const std::vector<LabelScaling>& scaling, bool with_labels) {
    try {
      return prepare(recording, model.preparation, {}, pool, scaling, with_labels);
    } catch (const ConfigError& error) {
      throw DataError(fmt::format("{}, as {} was trained, does not fit: {}", recording.subject, model_name, error.what()));
    }
  };
  if (!sees_labels) {
    const PreparedData prepared = prepared_for_model({}, false);
    LatentTable table;
    table.encoder_mean = model.cebra ? embed_recording(device, *model.cebra, model.parameters, embedding_data(prepared))
                                     : gcl_latents(device, *model.gcl, model.parameters, prepared.data);
    write_npz(out, latent_arrays(measured, table, model.cebra ? model.cebra->n_features : model.gcl->n_latents));
    return lines_of(model.cebra ? "encoder_mean, the embedding, label-free" : "encoder_mean, label-free");
  }
  std::vector<std::string> missing;
  for (const auto& name : model.preparation.labels)
    if (std::none_of(recording.labels.begin(), recording.labels.end(), [&](const LabelColumn& column) { return column.name == name; }))
      missing.push_back(name);
  const bool with_labels = missing.empty();

  const bool label_free = !model.design.encoder_sees_labels;
  if (!label_free && !with_labels)
    throw DataError(fmt::format("{}: lacks {}, which the encoder of {} sees beside the spikes; without them the model has no latents, so add them "
                                "to the recording",
                                recording.subject, fmt::join(missing, ", "), model_name));

  const PreparedData prepared = prepared_for_model({model.scaling}, with_labels);
  const LatentTable table = infer_latents(device, model.design, model.parameters, prepared.data);
  write_npz(out, latent_arrays(measured, table, model.design.n_latents));
  std::string what = label_free ? "encoder_mean, label-free; " : "";
  what += !model.design.sees_labels() ? "posterior_mean, the encoder times a prior of no label"
          : with_labels               ? "posterior_mean, with labels"
                                      : fmt::format("no posterior_mean: the recording lacks {}", fmt::join(missing, ", "));
  if (with_labels && model.provenance.value("shuffled_labels", false)) what += "; the model was trained on shuffled labels, these are the recording's own";
  return lines_of(what);
}

}  // namespace idem
