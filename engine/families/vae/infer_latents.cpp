#include "engine/families/vae/infer_latents.h"

#include <stdexcept>

#include "engine/families/vae/ci_ivae.h"
#include "engine/training/in_batches.h"
#include "engine/training/source_matrix.h"
#include "kernels/common/to_size.h"
#include "kernels/input/input.h"

namespace idem {

void check_windows(const FleetData& data, std::int32_t window) {
  if (window == 1) return;
  if (data.window_begin.size() != to_size(data.n_rows))
    throw std::invalid_argument("every row of the data must have a window");
  for (const auto begin : data.window_begin)
    if (begin < 0 || begin + std::int64_t{window} > data.n_rows)
      throw std::invalid_argument("a window of " + std::to_string(window) + " rows from row " + std::to_string(begin) +
                                  " on leaves the data");
}

namespace {

using Real = float;

constexpr std::int32_t kInferenceBatch = 512;

std::unique_ptr<CiIvae<Real>> inference_model(Device& device, const ModelDesign& design) {
  return std::make_unique<CiIvae<Real>>(device, design, 1, kInferenceBatch, false, std::vector<double>{1.0});
}

}  // namespace

ModelPlan plan_latents(const ModelDesign& design) {
  return plan_of([&](Device& device) { return inference_model(device, design); });
}

LatentTable infer_latents(Device& device, const ModelDesign& design, const NamedTensors& tensors,
                          const FleetData& data) {
  check_windows(data, design.encoder_window());
  const bool labelled = !data.labels.empty() || !design.sees_labels();
  if (design.encoder_sees_labels && !labelled)
    throw std::invalid_argument("an encoder that sees labels has no latents without labels");
  const auto planned = inference_model(device, design);
  CiIvae<Real>& model = *planned;
  model.parameters().set(0, tensors);
  const SourceMatrix inputs(device, data.inputs, data.n_rows, design.n_neurons);
  const SourceMatrix labels(device,
                            labelled ? data.labels : std::vector<float>(to_size(data.n_rows * design.n_labels), 0.0f),
                            data.n_rows, design.n_labels);
  const Array<std::int32_t> window_begin(device, data.window_begin);
  LatentTable table;
  in_batches(device, data.n_rows, kInferenceBatch, [&](const std::int32_t* rows, std::int64_t n) {
    const auto gather = [&](const SourceMatrix& source, std::int32_t n_features, std::int32_t window, Rows<Real> out) {
      gather_rows(device.execution(), GatherRows<Real>{.batch = kInferenceBatch,
                                                       .n_features = n_features,
                                                       .window = window,
                                                       .source = source.data.data(),
                                                       .source_stride = source.stride,
                                                       .rows = rows,
                                                       .window_begin = window > 1 ? window_begin.data() : nullptr,
                                                       .out = out});
    };
    gather(inputs, design.n_neurons, design.encoder_window(), model.inputs().x);
    if (design.sees_labels()) gather(labels, design.n_labels, 1, model.inputs().label);
    model.forward_latents({});
    const auto append = [&](Rows<const Real> from, std::vector<float>& to) {
      append_rows(device, from, n, design.n_latents, to);
    };
    if (!design.encoder_sees_labels) {
      append(model.encoder_mean(), table.encoder_mean);
      append(model.outputs().encoder_log_var, table.encoder_log_var);
    }
    if (!labelled) return;
    append(model.posterior_mean(), table.posterior_mean);
    append(model.outputs().posterior_log_var, table.posterior_log_var);
    append(model.prior_mean(), table.prior_mean);
    append(model.outputs().prior_log_var, table.prior_log_var);
  });
  return table;
}

}  // namespace idem
