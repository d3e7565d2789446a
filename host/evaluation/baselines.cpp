#include "host/evaluation/baselines.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "host/evaluation/decoding.h"
#include "host/evaluation/decoding_scores.h"
#include "host/evaluation/linear.h"
#include "host/evaluation/row_major_matrix.h"
#include "host/evaluation/place_fields.h"
#include "host/evaluation/scores.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

using nlohmann::json;

// The bins t - left ... t + right - 1 of every t, shifted inside what the window of t may see.
class Windows {
 public:
  Windows(const Recording& recording, int left, int right, EdgePolicy edges, const Split& split)
      : source_(window_source(recording, split, edges)), left_(left), length_(left + right) {
    if (left < 0 || right < 1)
      throw ConfigError(
          fmt::format("baseline windows: bins [t - {}, t + {}) do not contain t: left >= 0, right >= 1", left, right));
  }
  int length() const { return length_; }
  // Bin read by tap `tap` of the window of `time`; a stretch shorter than the window repeats its last bin.
  std::int32_t bin(std::int64_t time, int tap) const {
    const std::int32_t row = source_.row_of_bin[to_size(time)];
    const std::int32_t begin = source_.segment_begin[to_size(row)], end = source_.segment_end[to_size(row)];
    const std::int32_t first = std::max(begin, std::min(row - left_, end - length_));
    return source_.source_bins[to_size(std::min(first + tap, end - 1))];
  }

 private:
  WindowSource source_;
  int left_, length_;
};

}  // namespace

Baselines::Baselines(const Recording& recording, int left, int right, EdgePolicy edges, const Split& split)
    : recording_(recording) {
  const Windows windows(recording, left, right, edges, split);
  const int n_neurons = recording.n_neurons, n_dims = windows.length() * n_neurons;
  const SampleReader read = [&](std::int64_t begin, std::int64_t end, Eigen::MatrixXd& block) {
    for (std::int64_t time = begin; time < end; ++time)
      for (int tap = 0; tap < windows.length(); ++tap)
        for (int neuron = 0; neuron < n_neurons; ++neuron)
          block(time - begin, tap * n_neurons + neuron) = recording.count(windows.bin(time, tap), neuron);
  };
  n_components_ = std::min({n_components_, n_dims, recording.n_times - 1});
  const Pca pca = fit_pca(recording.n_times, n_dims, n_components_, read);
  const RowMajorMatrix latents = project(pca, recording.n_times, read);
  pca_.assign(latents.data(), latents.data() + latents.size());

  window_sums_.resize(recording.counts.size());
  for (std::int64_t time = 0; time < recording.n_times; ++time)
    for (int tap = 0; tap < windows.length(); ++tap)
      for (int neuron = 0; neuron < n_neurons; ++neuron)
        window_sums_[to_size(time * n_neurons + neuron)] += recording.count(windows.bin(time, tap), neuron);
}

json Baselines::decode(const Split& split, const DecodingOptions& options, ThreadPool& pool,
                       TestReadings* decoded) const {
  json result = json::object();
  TestReadings found;
  for (const auto& [name, embedding] : {std::pair{"pca", pca()}, {"window_sums", window_sums()}}) {
    TestReadings of_embedding;
    result[name] = decode_embedding(embedding, recording_, split, options, pool, &of_embedding);
    for (auto& [decoder, values] : of_embedding) found[fmt::format("{}/{}", name, decoder)] = std::move(values);
  }
  std::vector<double> by_fields;
  if (const json fields = decode_by_place_fields(window_sums(), recording_, split, options, pool, &by_fields);
      !fields.empty()) {
    result["place_fields"] = fields;
    found["place_fields"] = std::move(by_fields);
  }

  // Chance: every row gets the same label.
  const Labels problem(recording_, options);
  if (problem.targets.empty()) return result;
  std::vector<double> columns(to_size(column_count(problem.targets))), values;
  for (const auto& target : problem.targets) {
    double* own = columns.data() + target.first_column;
    for (std::int32_t row : split.train) {
      std::vector<double> one(to_size(target.n_columns));
      target.columns_from_value(target.label->values[to_size(row)], one.data());
      for (std::size_t column = 0; column < one.size(); ++column) own[column] += one[column];
    }
    double value = target.value_from_columns(own);
    if (target.label->kind == LabelKind::continuous) {
      std::vector<double> train(split.train.size());
      std::transform(split.train.begin(), split.train.end(), train.begin(),
                     [&](auto row) { return target.label->values[to_size(row)]; });
      value = median(std::move(train));
    }
    values.push_back(value);
  }
  for (const auto& [name, rows] : {std::pair{"valid", &split.valid}, {"test", &split.test}}) {
    if (rows->empty()) continue;
    std::vector<double> guesses;
    for (std::size_t i = 0; i < rows->size(); ++i) guesses.insert(guesses.end(), values.begin(), values.end());
    score_decoded(result["chance"], name, guesses, *rows, recording_, options);
    if (rows == &split.test) found["chance"] = std::move(guesses);
  }
  if (decoded) *decoded = std::move(found);
  return result;
}

}  // namespace idem
