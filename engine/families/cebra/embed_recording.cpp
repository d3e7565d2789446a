#include "engine/families/cebra/embed_recording.h"

#include <algorithm>
#include <stdexcept>

#include "engine/families/cebra/stretches.h"
#include "engine/training/source_matrix.h"
#include "kernels/common/to_size.h"
#include "kernels/input/input.h"

namespace idem {

namespace {

using Real = float;

std::unique_ptr<Cebra<Real>> embedding_model(Device& device, const CebraDesign& design, std::int32_t rows_per_batch) {
  const CebraBatch batch{.batch = 1, .n_stretch = rows_per_batch + design.window - 1};
  return std::make_unique<Cebra<Real>>(device, design, 1, batch, false, std::vector<double>{1.0});
}

}  // namespace

ModelPlan plan_latents(const CebraDesign& design) {
  return plan_of([&](Device& device) { return embedding_model(device, design, kRowsPerEmbedding); });
}

std::vector<float> embed_recording(Device& device, const CebraDesign& design, const NamedTensors& parameters,
                                   const CebraData& data, std::int32_t rows_per_batch) {
  check_data(design, data);
  if (rows_per_batch < 1) throw std::invalid_argument("a batch has at least one row");
  // Each segment between repetitions of its ends.
  const std::int32_t window = design.window, left = window / 2, right = window - left - 1;
  const std::int64_t n_neurons = design.n_neurons;
  std::vector<float> source;
  std::vector<std::int32_t> window_begin;
  const auto append = [&](std::int64_t row) {
    source.insert(source.end(), data.inputs.begin() + row * n_neurons, data.inputs.begin() + (row + 1) * n_neurons);
  };
  const auto n_source_rows = [&] { return static_cast<std::int64_t>(source.size()) / n_neurons; };
  const SegmentEnds ends(data.segments);
  for (std::int64_t row = 0; row < data.n_rows; ++row) {
    if (ends.begin[to_size(row)] == row)
      for (std::int32_t i = 0; i < left; ++i) append(row);
    window_begin.push_back(static_cast<std::int32_t>(n_source_rows() - left));
    append(row);
    if (ends.end[to_size(row)] == row + 1)
      for (std::int32_t i = 0; i < right; ++i) append(row);
  }
  const SourceMatrix padded_inputs(device, source, n_source_rows(), n_neurons);

  // Stretch by stretch of the padded recording, also the windows across its segments, which nobody asked for.
  const std::int32_t n_stretch = rows_per_batch + window - 1;
  const auto planned = embedding_model(device, design, rows_per_batch);
  Cebra<Real>& model = *planned;
  model.parameters().set(0, parameters);
  Array<std::int32_t> bins(device, to_size(n_stretch));
  std::vector<float> embedding;
  std::size_t row = 0;
  for (std::int64_t begin = 0; row < window_begin.size(); begin += rows_per_batch) {
    std::vector<std::int32_t> stretch;
    for (std::int64_t i = 0; i < n_stretch; ++i)
      stretch.push_back(static_cast<std::int32_t>(std::min(begin + i, n_source_rows() - 1)));
    bins.upload(stretch);
    gather_rows(device.execution(), GatherRows<Real>{.batch = n_stretch,
                                                     .n_features = design.n_neurons,
                                                     .source = padded_inputs.data.data(),
                                                     .source_stride = padded_inputs.stride,
                                                     .rows = bins.data(),
                                                     .out = model.x()});
    model.embed({});
    const Rows<const Real> from = model.embedding();
    std::vector<Real> values(to_size(rows_per_batch * from.row_stride));
    device.copy_out(values.data(), from.data, values.size() * sizeof(Real));
    for (; row < window_begin.size() && window_begin[row] < begin + rows_per_batch; ++row) {
      const auto of_row = values.begin() + (window_begin[row] - begin) * from.row_stride;
      embedding.insert(embedding.end(), of_row, of_row + design.n_features);
    }
  }
  return embedding;
}

}  // namespace idem
