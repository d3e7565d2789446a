#include "host/transform.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/fleet.h"
#include "host/errors.h"
#include "host/latents_file.h"
#include "host/prepare.h"

namespace idem {

std::string transform_recording(const SavedModel& model, const std::string& model_name, const Recording& measured, Device& device,
                                ThreadPool& pool, const std::filesystem::path& out) {
  const Recording recording = with_time(measured, model.preparation.labels);
  if (recording.n_neurons != model.design.n_neurons)
    throw DataError(fmt::format("{}: has {} neurons, {} was trained on {}; a model serves the neurons it was trained on", recording.subject,
                                recording.n_neurons, model_name, model.design.n_neurons));
  if (!(std::abs(recording.bin_width_s - model.bin_width_s) <= 1e-6 * model.bin_width_s))
    throw DataError(fmt::format("{}: has bins of {:g} ms, {} was trained on {:g} ms; bin the recording alike", recording.subject,
                                1000 * recording.bin_width_s, model_name, 1000 * model.bin_width_s));
  std::vector<std::string> missing;
  for (const auto& name : model.preparation.labels)
    if (std::none_of(recording.labels.begin(), recording.labels.end(), [&](const LabelColumn& column) { return column.name == name; }))
      missing.push_back(name);
  const bool with_labels = missing.empty();

  const PreparedData prepared = prepare(recording, model.preparation, {}, pool, &model.scaling, with_labels);
  const LatentTable table = infer_latents(device, model.design, model.parameters, prepared.data);
  write_npz(out, latent_arrays(measured, table, model.design.n_latents));
  std::string line = fmt::format("{} bins of {} -> {} (encoder_mean, label-free", recording.n_times, recording.subject, out.string());
  line += with_labels ? "; posterior_mean, with labels)" : fmt::format("; no posterior_mean: the recording lacks {})", fmt::join(missing, ", "));
  if (with_labels && model.provenance.value("shuffled_labels", false)) line += "; the model was trained on shuffled labels, these are the recording's own";
  if (model.preparation.edges == EdgePolicy::clamped_concatenated)
    line += "; windows.edges: segment-clamped in place of the model's clamped-concatenated, which needs a split";
  return line;
}

}  // namespace idem
