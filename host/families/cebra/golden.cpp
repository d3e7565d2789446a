#include "host/families/cebra/golden.h"

#include <algorithm>

#include "engine/families/cebra/cebra.h"
#include "host/parity/case_training.h"
#include "host/parity/transfer.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using namespace parity;

// CEBRA: references, positives and negatives are [batch x window x neuron].
template <class Real>
Arrays run_cebra_steps(Device& device, const ParityCase& golden) {
  const JsonFields& meta = golden.meta();
  const std::vector<std::int64_t> x_shape = golden.shape("step0.in.reference", 3);
  const std::int64_t batch = x_shape[0], window = x_shape[1], n_neurons = x_shape[2];
  const CebraDesign design{
      .n_neurons = static_cast<std::int32_t>(n_neurons),
      .n_features = golden.extent("step0.out.reference", 2, 1),
      .window = static_cast<std::int32_t>(window),
      .width = golden.extent("param0.encoder.conv0.weight", 3, 0),
      .is_normalised = meta.boolean("normalize"),
      .similarity = meta.text("similarity") == "cosine" ? Similarity::cosine : Similarity::euclidean,
      .learns_temperature = golden.has("param0.log_inverse_temperature"),
      .smallest_temperature = meta.has("min_temperature") ? meta.number("min_temperature", 0, kUnbounded) : 0};
  const std::vector<double> temperature{meta.number("temperature", std::numeric_limits<double>::min(), kUnbounded)};
  const auto owned = checked_model(device, golden, [&](Device& on) {
    return std::make_unique<Cebra<Real>>(on, design, 1, CebraBatch{.batch = static_cast<std::int32_t>(batch)}, true,
                                         temperature);
  });
  Cebra<Real>& model = *owned;
  CaseTraining<Real> training(device, golden, model.parameters());
  const Transfer<Real> transfer(device);
  const char* const lists[] = {"reference", "negative", "positive"};

  Arrays out;
  for (std::int64_t step = 0; step < n_steps(golden); ++step) {
    const std::string at = "step" + std::to_string(step);
    std::vector<double> by_bin(to_size(window * 3 * batch * n_neurons));  // the engine's windows lie bin by bin
    for (std::int64_t list = 0; list < 3; ++list) {
      const auto values = golden.values(at + ".in." + lists[list], x_shape);
      for (std::int64_t row = 0; row < batch; ++row)
        for (std::int64_t bin = 0; bin < window; ++bin)
          std::copy_n(values.begin() + (row * window + bin) * n_neurons, n_neurons,
                      by_bin.begin() + ((bin * 3 + list) * batch + row) * n_neurons);
    }
    transfer.in(NumpyArray::of<double>({window * 3 * batch, n_neurons}, by_bin), model.x());
    model.forward({}, true);
    model.backward({});

    const auto record = [&](const std::string& name, NumpyArray array) { out[at + ".out." + name] = std::move(array); };
    record("loss", NumpyArray::of_scalar(transfer.scalars(model.terms().loss.data(), 1).at(0)));
    record("align", NumpyArray::of_scalar(transfer.scalars(model.terms().alignment.data(), 1).at(0)));
    record("uniform", NumpyArray::of_scalar(transfer.scalars(model.terms().uniformity.data(), 1).at(0)));
    for (std::int64_t list = 0; list < 3; ++list)
      record(lists[list], transfer.out(model.embedding().from_row(list * batch), batch, design.n_features));
    training.step(out);
  }
  training.finish(out);
  return out;
}

}  // namespace

std::vector<CaseKind> cebra_golden_cases() { return {{"cebra-step", run_cebra_steps<float>, run_cebra_steps<double>}}; }

}  // namespace idem
