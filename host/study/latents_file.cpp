#include "host/study/latents_file.h"

namespace idem {

std::map<std::string, NumpyArray> latent_arrays(const Recording& recording, const LatentTable& table,
                                                std::int64_t n_latents) {
  const std::int64_t n_times = recording.n_times;
  std::map<std::string, NumpyArray> arrays;
  arrays["time_s"] = NumpyArray::of<double>({n_times}, recording.time_s);
  arrays["segment"] = NumpyArray::of<std::int32_t>({n_times}, segment_of_bins(recording));
  for (const auto& [name, values] :
       {std::pair{"encoder_mean", &table.encoder_mean}, std::pair{"encoder_log_var", &table.encoder_log_var},
        std::pair{"posterior_mean", &table.posterior_mean}})
    if (!values->empty()) arrays[name] = NumpyArray::of<float>({n_times, n_latents}, *values);
  std::vector<std::string> names;
  for (const auto& label : recording.labels) names.push_back(label.name);
  const LabelFeatures features = encode_labels(recording, names);
  arrays["labels"] = NumpyArray::of<float>({n_times, features.n_features}, features.values);
  arrays["label_names"] = NumpyArray::of_texts(features.names);
  return arrays;
}

}  // namespace idem
