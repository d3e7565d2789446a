#include "engine/families/vae/label_prior.h"

#include <stdexcept>

#include "engine/networks/dense.h"
#include "kernels/common/stable_math.h"

namespace idem {

namespace {

// One mean and log variance for all rows: a table with a single column, picked by every row.
template <class Real>
class GlobalPrior final : public GaussianNetwork<Real> {
 public:
  GlobalPrior(ParameterLayout& layout, const ModelDesign& design)
      : table_(embeddings<Real>(layout, "prior", 1, design.n_latents)) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    table_->plan(device, n_members, batch, training);
    picked_ = Activations<Real>(device, n_members, batch, 1);
    picked_.memory().upload(
        std::vector<Real>(picked_.memory().size(), Real(1)));  // also the padding, which no product reads
  }
  Rows<Real> mean() const override { return table_->mean(); }
  Rows<Real> raw_log_var() const override { return table_->raw_log_var(); }
  Rows<Real> d_mean() const override { return table_->d_mean(); }
  Rows<Real> d_raw_log_var() const override { return table_->d_raw_log_var(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
               Rows<const Real>) const override {
    table_->forward(device, parameters, fleet, picked_);
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                Rows<const Real>) const override {
    table_->backward(device, parameters, fleet, picked_);
  }

 private:
  std::unique_ptr<GaussianNetwork<Real>> table_;
  Activations<Real> picked_;
};

// N(0, I). What it is given as gradients goes nowhere.
template <class Real>
class StandardNormalPrior final : public GaussianNetwork<Real> {
 public:
  explicit StandardNormalPrior(const ModelDesign& design)
      : n_latents_(design.n_latents), raw_(raw_of_variance_one(design)) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    mean_ = Activations<Real>(device, n_members, batch, n_latents_);
    raw_log_var_ = Activations<Real>(device, n_members, batch, n_latents_);
    raw_log_var_.memory().upload(std::vector<Real>(raw_log_var_.memory().size(), static_cast<Real>(raw_)));
    if (!training) return;
    d_mean_ = Activations<Real>(device, n_members, batch, n_latents_);
    d_raw_log_var_ = Activations<Real>(device, n_members, batch, n_latents_);
  }
  Rows<Real> mean() const override { return mean_; }
  Rows<Real> raw_log_var() const override { return raw_log_var_; }
  Rows<Real> d_mean() const override { return d_mean_; }
  Rows<Real> d_raw_log_var() const override { return d_raw_log_var_; }
  void forward(Device&, const Parameters<Real>&, const FleetExtent&, Rows<const Real>) const override {}
  void backward(Device&, const Parameters<Real>&, const FleetExtent&, Rows<const Real>) const override {}

 private:
  // What the bound of the log variances makes 0 of. It grows with raw, so halving finds it.
  static double raw_of_variance_one(const ModelDesign& design) {
    if (design.log_var_bound == LogVarBound::none) return 0;
    const auto bounded = [&](double raw) {
      return stable::bound_log_var(raw, design.log_var_low, design.log_var_high);
    };
    double low = -1e3, high = 1e3;
    if (!(bounded(low) < 0 && bounded(high) > 0))
      throw std::invalid_argument("a standard normal prior needs log variances bounded about 0");
    for (int i = 0; i < 200; ++i) (bounded((low + high) / 2) < 0 ? low : high) = (low + high) / 2;
    return (low + high) / 2;
  }

  std::int32_t n_latents_;
  double raw_;
  Activations<Real> mean_, raw_log_var_, d_mean_, d_raw_log_var_;
};

}  // namespace

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> make_label_prior(ParameterLayout& layout, const ModelDesign& design) {
  switch (design.prior_kind) {
    case PriorKind::separate_mlps:
      return separate_mlps<Real>(layout, "prior", design.n_labels, design.prior, design.n_latents);
    case PriorKind::shared_mlp:
      return shared_mlp<Real>(layout, "prior", design.n_labels, design.prior, design.n_latents);
    case PriorKind::embedding: return embeddings<Real>(layout, "prior", design.n_labels, design.n_latents);
    case PriorKind::standard_normal: return std::make_unique<StandardNormalPrior<Real>>(design);
    case PriorKind::global: return std::make_unique<GlobalPrior<Real>>(layout, design);
  }
  throw std::invalid_argument("unknown prior");
}

template std::unique_ptr<GaussianNetwork<float>> make_label_prior<float>(ParameterLayout&, const ModelDesign&);
template std::unique_ptr<GaussianNetwork<double>> make_label_prior<double>(ParameterLayout&, const ModelDesign&);

}  // namespace idem
