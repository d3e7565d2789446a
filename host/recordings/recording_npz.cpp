#include "host/recordings/recording_npz.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "host/support/errors.h"
#include "host/support/named.h"
#include "host/support/one_line.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

constexpr const char* format_name = "idem-recording";

template <class T>
NumpyArray counts_as(const Recording& recording) {
  return NumpyArray::of({recording.n_times, recording.n_neurons},
                        std::vector<T>(recording.counts.begin(), recording.counts.end()));
}

NumpyArray smallest_counts(const Recording& recording) {
  float largest = 0;
  for (const float count : recording.counts) {
    if (!(count >= 0 && count < 65536 && count == std::floor(count))) return counts_as<float>(recording);
    largest = std::max(largest, count);
  }
  return largest < 256 ? counts_as<std::uint8_t>(recording) : counts_as<std::uint16_t>(recording);
}

}  // namespace

void write_recording_npz(const Recording& recording, const std::filesystem::path& path) {
  check_recording(recording, path.string());
  std::map<std::string, NumpyArray> arrays;
  const std::int64_t n_times = recording.n_times;
  arrays["counts"] = smallest_counts(recording);
  arrays["time_s"] = NumpyArray::of({n_times}, recording.time_s);
  arrays["segment"] = NumpyArray::of({n_times}, segment_of_bins(recording));
  arrays["bin_width_s"] = NumpyArray::of_scalar(recording.bin_width_s);
  const auto n_labels = recording.labels.size();
  std::vector<double> labels(to_size(n_times) * n_labels);
  auto descriptions = nlohmann::json::array();
  for (std::size_t label = 0; label < n_labels; ++label) {
    const auto& column = recording.labels[label];
    for (std::size_t time = 0; time < column.values.size(); ++time)
      labels[time * n_labels + label] = column.values[time];
    descriptions.push_back({{"name", column.name},
                            {"kind", to_string(column.kind)},
                            {"unit", column.unit},
                            {"period", column.period},
                            {"categories", column.categories}});
  }
  arrays["labels"] = NumpyArray::of({n_times, static_cast<std::int64_t>(n_labels)}, labels);
  if (!recording.trials.empty()) {
    std::vector<std::int32_t> trials;
    for (const auto& trial : recording.trials) trials.insert(trials.end(), {trial.begin, trial.end});
    arrays["trials"] = NumpyArray::of({static_cast<std::int64_t>(recording.trials.size()), 2}, trials);
  }
  if (!recording.neuron_ids.empty())
    arrays["neuron_ids"] =
        NumpyArray::of({static_cast<std::int64_t>(recording.neuron_ids.size())}, recording.neuron_ids);
  if (recording.n_true_latents > 0)
    arrays["true_latents"] = NumpyArray::of({n_times, recording.n_true_latents}, recording.true_latents);
  if (!recording.true_latent_means.empty())
    arrays["true_latent_means"] = NumpyArray::of({n_times, recording.n_true_latents}, recording.true_latent_means);
  const nlohmann::json meta = {{"format", format_name},
                               {"version", 1},
                               {"subject", recording.subject},
                               {"labels", descriptions},
                               {"has_negative_values", recording.has_negative_values},
                               {"notes", recording.notes}};
  arrays["meta"] = NumpyArray::of_text(meta.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
  write_npz(path, arrays);
}

bool is_recording_npz(const std::map<std::string, NumpyArray>& arrays) {
  const auto meta = arrays.find("meta");
  return meta != arrays.end() && meta->second.is_text() && meta->second.size() == 1 &&
         meta->second.text().find(format_name) != std::string::npos;
}

Recording recording_of_npz(const std::map<std::string, NumpyArray>& arrays, const std::string& where) {
  const auto array = [&](const std::string& name, std::size_t n_axes) -> const NumpyArray& {
    const auto found = arrays.find(name);
    if (found == arrays.end()) throw DataError(where + ": has no array " + name + "; write the recording again");
    if (found->second.shape.size() != n_axes)
      throw DataError(where + ": array " + name + " has " + std::to_string(found->second.shape.size()) +
                      " axes where " + std::to_string(n_axes) + " are needed; write the recording again");
    return found->second;
  };
  Recording recording;
  nlohmann::json descriptions;
  try {
    const auto meta = nlohmann::json::parse(array("meta", 0).text());
    if (meta.at("format") != format_name || meta.at("version") != 1)
      throw DataError(where + ": is of another version of this program; write the recording again");
    recording.subject = meta.at("subject").get<std::string>();
    recording.has_negative_values = meta.at("has_negative_values").get<bool>();
    recording.notes = meta.at("notes").get<std::vector<std::string>>();
    for (const auto& description : meta.at("labels")) {
      LabelColumn column;
      column.name = description.at("name").get<std::string>();
      column.kind = named<LabelKind>(description.at("kind").get<std::string>());
      column.unit = description.at("unit").get<std::string>();
      column.period = description.at("period").get<double>();
      column.categories = description.at("categories").get<std::vector<std::string>>();
      recording.labels.push_back(std::move(column));
    }
  } catch (const nlohmann::json::exception&) {
    throw DataError(where + ": its meta text is damaged; write the recording again");
  } catch (const ConfigError& error) {
    throw DataError(where + ": " + error.what());
  }
  const auto& counts = array("counts", 2);
  if (counts.shape[0] > INT32_MAX || counts.shape[1] > INT32_MAX) throw DataError(where + ": is too large");
  recording.n_times = static_cast<std::int32_t>(counts.shape[0]);
  recording.n_neurons = static_cast<std::int32_t>(counts.shape[1]);
  recording.counts = counts.as<float>();
  recording.bin_width_s = array("bin_width_s", 0).scalar<double>();
  recording.time_s = array("time_s", 1).as<double>();
  const auto segment_of = array("segment", 1).as<std::int32_t>();
  for (std::size_t time = 0; time < segment_of.size(); ++time) {
    if (time == 0 || segment_of[time] != segment_of[time - 1])
      recording.segments.push_back({static_cast<std::int32_t>(time), 0});
    recording.segments.back().end = static_cast<std::int32_t>(time) + 1;
  }
  const auto& labels = array("labels", 2);
  if (labels.shape[0] != recording.n_times || labels.shape[1] != static_cast<std::int64_t>(recording.labels.size()))
    throw DataError(where + ": array labels does not fit the counts and the meta text; write the recording again");
  const auto values = labels.as<double>();
  for (std::size_t label = 0; label < recording.labels.size(); ++label)
    for (std::size_t time = 0; time < to_size(recording.n_times); ++time)
      recording.labels[label].values.push_back(values[time * recording.labels.size() + label]);
  if (arrays.count("trials")) {
    const auto& trials = array("trials", 2);
    const auto bounds = trials.as<std::int32_t>();
    if (trials.shape[1] != 2) throw DataError(where + ": array trials needs two columns; write the recording again");
    for (std::size_t trial = 0; trial + 1 < bounds.size(); trial += 2)
      recording.trials.push_back({bounds[trial], bounds[trial + 1]});
  }
  if (arrays.count("neuron_ids")) recording.neuron_ids = array("neuron_ids", 1).as<std::int64_t>();
  if (arrays.count("true_latents")) {
    const auto& latents = array("true_latents", 2);
    if (latents.shape[0] != recording.n_times)
      throw DataError(where + ": array true_latents does not fit the counts; write the recording again");
    recording.n_true_latents = static_cast<std::int32_t>(latents.shape[1]);
    recording.true_latents = latents.as<double>();
    if (arrays.count("true_latent_means")) recording.true_latent_means = array("true_latent_means", 2).as<double>();
    if (!recording.true_latent_means.empty() && recording.true_latent_means.size() != recording.true_latents.size())
      throw DataError(where + ": array true_latent_means does not fit true_latents; write the recording again");
  }
  check_recording(recording, where);
  return recording;
}

}  // namespace idem
