#include "host/study/finished_run.h"

#include <cmath>
#include <map>

#include <fmt/format.h>

#include "host/evaluation/collapse.h"
#include "host/evaluation/decoding.h"
#include "host/evaluation/identifiability.h"
#include "host/families/families.h"
#include "host/formats/npz.h"
#include "host/study/decoded_file.h"
#include "host/study/latents_file.h"
#include "host/study/model_match.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// A model is passed on without the paths of the machine it was trained on.
json without_paths(json study) {
  study.erase("recording");
  const auto shorten = [](json& model) {
    for_each_named_file(model, [](json& path) { path = fs::path(path.get<std::string>()).filename().string(); });
  };
  shorten(study["model"]);
  for (auto& model : study["models"]) shorten(model);
  return study;
}

// The latents that a run has, by name: "encoder" label-free, "posterior" with labels. Views into `table`.
std::map<std::string, Embedding> embeddings_of(const Recording& recording, const LatentTable& table) {
  std::map<std::string, Embedding> embeddings;
  for (const auto& [name, values] : {std::pair{"encoder", &table.encoder_mean}, {"posterior", &table.posterior_mean}})
    if (!values->empty())
      embeddings.emplace(
          name, Embedding{recording.n_times,
                          static_cast<int>(static_cast<std::int64_t>(values->size()) / recording.n_times), *values});
  return embeddings;
}

// What every family's latents are asked.
void score(const StudyRuns& runs, const PlannedRun& run, TrainedRun& trained, ThreadPool& pool, json& entry) {
  const Recording& recording = runs.subject_of(run).recording;
  const Split& split = runs.split_of(run);
  const DecodingOptions& decoding = runs.study().decoding;
  const auto bins = label_bins(recording, decoding);
  const auto embeddings = embeddings_of(recording, trained.latents);
  for (const auto& [name, embedding] : embeddings) {
    TestReadings decoded;
    entry["metrics"][name] = decode_embedding(embedding, recording, split, decoding, pool, &decoded);
    if (name == "encoder") trained.decoded.merge(decoded);
    if (recording.n_true_latents > 0 && !split.test.empty())
      entry["identifiability"][name] = identifiability_report(embedding, recording, split, bins);
  }
  if (embeddings.size() == 2)
    entry["agreement"] = affine_agreement(embeddings.at("encoder"), embeddings.at("posterior"), split);
}

// The latents and what they are of, and the position decoded from label-free ones.
std::map<std::string, NumpyArray> arrays_of(const StudyRuns& runs, const PlannedRun& run, const TrainedRun& trained) {
  const Recording& recording = runs.subject_of(run).recording;
  const Split& split = runs.split_of(run);
  const auto embeddings = embeddings_of(recording, trained.latents);
  auto arrays = latent_arrays(recording, trained.latents, embeddings.begin()->second.n_dims);
  std::vector<std::int32_t> part(to_size(recording.n_times), -1);
  for (const auto& [bins, number] : {std::pair{&split.train, 0}, {&split.valid, 1}, {&split.test, 2}})
    for (const auto bin : *bins) part[to_size(bin)] = number;
  arrays["split"] = NumpyArray::of<std::int32_t>({recording.n_times}, part);
  std::vector<float> decoded(to_size(recording.n_times), std::nanf(""));
  // Of latents that were given the labels the decoded position would be the answer itself: only label-free ones are read.
  const LabelColumn* position = position_label(recording, runs.study().decoding.position_label);
  if (const auto read = trained.decoded.find("euclidean"); position && read != trained.decoded.end()) {
    const auto label = to_size(position - recording.labels.data());
    for (std::size_t i = 0; i < split.test.size(); ++i)
      decoded[to_size(split.test[i])] = static_cast<float>(read->second[i * recording.labels.size() + label]);
  }
  arrays["decoded_position"] = NumpyArray::of<float>({recording.n_times}, decoded);
  return arrays;
}

}  // namespace

json entry_of(const StudyRuns& runs, const PlannedRun& run, TrainedRun& trained, const RunProvenance& provenance,
              ThreadPool& pool) {
  const ModelConfig& model = runs.model_of(run);
  const Family& family = model.own->family();
  json entry = {{"run", run.name},
                {"subject", runs.subject_of(run).recording.subject},
                {"model", model.name},
                {"family", family.name()},
                {"objective", model.objective()},
                {"seed", run.seed},
                {"split", runs.split_number_of(run)},
                {"sees_labels", model.sees_labels()},
                {"target", family.explains_counts() ? model.preparation.to_json().at("target") : json()},
                {"recording_crc32", provenance.recording_checksum},
                {"device", provenance.device},
                {"version", IDEM_VERSION},
                {"training", trained.training}};
  if (trained.fault.empty()) {
    entry.merge_patch(trained.scores);
    score(runs, run, trained, pool, entry);
  } else {
    entry["failed"] = true;
    entry["reason"] = trained.fault;
  }
  return entry;
}

void write_run(const fs::path& folder, const StudyRuns& runs, const PlannedRun& run, TrainedRun& trained,
               const json& entry) {
  const ModelConfig& model = runs.model_of(run);
  const Recording& recording = runs.subject_of(run).recording;
  const auto arrays = arrays_of(runs, run, trained);
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed)
    throw DataError(fmt::format("{}: cannot be made ({}); is the disk full?", folder.string(), failed.message()));
  write_npz(folder / "latents.npz", arrays);
  write_decoded(folder / kDecodedFile, recording, runs.split_of(run), trained.decoded);
  trained.model.provenance = {{"program", "idem " IDEM_VERSION},
                              {"device", entry.at("device")},
                              {"study", without_paths(runs.study().resolved)},
                              {"run", run.name},
                              {"subject", recording.subject},
                              {"model", model.name},
                              {"seed", run.seed},
                              {"split", runs.split_number_of(run)},
                              {"shuffled_labels", model.shuffle_labels.has_value()},
                              {"training", trained.training}};
  remember_recording(trained.model, recording);
  write_model(folder / kModelFile, trained.model);
  fs::remove(folder / kOldModelFile, failed);  // of an older idem, of a run that was trained again
}

// Every file of a run is there and whole.
bool is_complete(const fs::path& folder) {
  try {
    read_model(fs::exists(folder / kModelFile) ? folder / kModelFile : folder / kOldModelFile);
    read_npz(folder / "latents.npz");
    return true;
  } catch (const DataError&) {
    return false;
  }
}

}  // namespace idem
