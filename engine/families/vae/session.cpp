#include "engine/families/vae/session.h"

#include <cmath>

#include "kernels/sampling/sampling.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

std::vector<double> betas(const std::vector<MemberPlan>& members) {
  std::vector<double> beta;
  for (const auto& member : members) beta.push_back(member.beta);
  return beta;
}

enum Column : std::size_t {
  loss,
  reconstruction_encoder,
  reconstruction_posterior,
  kl_encoder,
  kl_posterior,
  skew,
  alpha,
  alpha_zero,
  alpha_one
};

std::vector<EpochColumn<float>> columns(const CiIvae<float>& model) {
  const auto& out = model.outputs();
  const float* of_alpha = out.alpha.data();
  return {{out.loss.data()},
          {model.reconstruction_encoder()},
          {model.reconstruction_posterior()},
          {out.kl_encoder.data()},
          {out.kl_posterior.data()},
          {out.skew.data()},
          {of_alpha},
          {of_alpha, true, 0},
          {of_alpha, true, 1}};
}

}  // namespace

VaeSession::VaeSession(Device& on, const FleetSession& of, const TrainingPlan& training_plan,
                       const std::vector<MemberPlan>& member_plans, const SharedPrior<Real>* shared, std::int32_t place,
                       const std::uint8_t* computes)
    : device(on),
      design(of.design),
      plan(training_plan),
      data(of.data),
      members(member_plans),
      n_members(static_cast<std::int32_t>(member_plans.size())),
      model(on, design, n_members, plan.batch, true, betas(members), shared, place),
      inputs(on, data.inputs, data.n_rows, design.n_neurons),
      targets(on, data.targets, data.n_rows, design.n_neurons),
      labels(on, data.labels, data.n_rows, design.n_labels),
      window_begin(on, data.window_begin),
      train_lists(on, members, &MemberPlan::train_rows),
      valid_lists(on, members, &MemberPlan::valid_rows),
      optimizer(on, model.parameters(), adam_settings(plan), seeds_of(members)),
      valid_draws(on, n()),
      active(on, n()),
      rows(on, n() * to_size(plan.batch)),
      noise_scale(on, std::vector<Real>(n(), static_cast<Real>(plan.input_noise))),
      sums(on, n_members, columns(model)),
      computing(computes ? computes : active.data()) {
  // Who computes a batch and who steps are not the same members then: nothing may step while others still compute.
  if (shared) model.parameters().step_early(nullptr);
}

// Draws of all members, also of those that do not take part: they wait for nothing.
void VaeSession::draw_for_latents(const std::uint32_t* step) {
  const auto draws = [&](RandomStream stream, Rows<Real> out, std::int64_t n_cols) {
    return DrawNormals<Real>{.fleet = {n_members},
                             .n_rows = plan.batch,
                             .n_cols = static_cast<std::int32_t>(n_cols),
                             .stream = stream,
                             .seed = optimizer.seeds(),
                             .step = step,
                             .out = out};
  };
  auto& in = model.inputs();
  SeveralDraws<Real> of_latents{.fleet = {n_members}};
  of_latents.add(draws(RandomStream::encoder_noise, in.noise_encoder, design.n_latents));
  if (!design.common_random_numbers)
    of_latents.add(draws(RandomStream::posterior_noise, in.noise_posterior, design.n_latents));
  if (model.needs_monte_carlo_noise())
    of_latents.add(draws(RandomStream::monte_carlo_noise, in.noise_monte_carlo,
                         std::int64_t{design.n_latents} * design.n_samples));
  device.aside([&] { draw_several(device.execution(), of_latents); });
}

// Whole windows where `windowed`, the targets' bins side by side.
GatherRows<float> VaeSession::gather(const SourceMatrix& source, std::int32_t n_features, bool windowed, Rows<Real> out,
                                     const InputNoise<Real>& noise) const {
  return {.fleet = extent(),
          .batch = plan.batch,
          .n_features = n_features,
          .window = windowed ? design.window : 1,
          .source = source.data.data(),
          .source_stride = source.stride,
          .rows = rows.data(),
          .window_begin = windowed ? window_begin.data() : nullptr,
          .side_by_side = &source == &targets,
          .noise = noise,
          .out = out};
}

void VaeSession::next_batch(const std::uint32_t* position, const std::uint8_t* enabled, bool training) {
  auto& in = model.inputs();
  const auto& on = device.execution();
  const std::uint32_t* step = training ? optimizer.draws() : valid_draws.data();
  draw_for_latents(step);
  batch_rows(on, BatchRows<Real>{.n_members = n_members,
                                 .batch = plan.batch,
                                 .shuffle = training && plan.shuffle,
                                 .position = position,
                                 .row_lists = lists(training).rows.data(),
                                 .list_begin = lists(training).offsets.data(),
                                 .seed = optimizer.seeds(),
                                 .enabled = enabled,
                                 .rows = rows.data(),
                                 .weights = in.row_weight.data(),
                                 .weights_stride = model.row_scalar_stride(),
                                 .active = active.data()});
  const InputNoise<Real> none,
      noise = is_noisy(training) ? InputNoise<Real>{optimizer.seeds(), step, noise_scale.data()} : none;
  SeveralGathers<Real> of_batch{.fleet = extent()};
  of_batch.add(gather(inputs, design.n_neurons, design.encoder_window() > 1, in.x, noise));
  of_batch.add(gather(targets, design.n_neurons, design.decodes_window, in.target, plan.noisy_target ? noise : none));
  if (design.sees_labels()) of_batch.add(gather(labels, design.n_labels, false, model.label(), none));
  gather_several(on, of_batch);
}

void VaeSession::forward() {
  model.forward(extent());
  device.aside([&] { sums.add(extent(), plan.batch, model.inputs().row_weight.data(), model.row_scalar_stride()); });
}

std::vector<LossParts> VaeSession::means(const RowLists& lists, const std::vector<std::uint8_t>& is_enabled) const {
  std::vector<LossParts> parts;
  for (const auto& mean : sums.means(lists.enabled_sizes(is_enabled))) {
    const bool finite = std::isfinite(mean[loss]);
    // The minimum over a grid of losses that are not numbers is at no alpha. Without q(z|x) every row is at alpha 0.
    const auto of_alpha = [&](Column column, double without) {
      return !finite ? std::nan("") : design.encoder_sees_labels ? without : mean[column];
    };
    parts.push_back(
        {.loss = mean[loss],
         .reconstruction_encoder = design.decodes_encoder() ? mean[reconstruction_encoder] : std::nan(""),
         .reconstruction_posterior = design.decodes_posterior() ? mean[reconstruction_posterior] : std::nan(""),
         .kl_encoder = mean[kl_encoder],
         .kl_posterior = mean[kl_posterior],
         .skew = mean[skew],
         .alpha = of_alpha(alpha, 0),
         .alpha_zero_fraction = of_alpha(alpha_zero, 1),
         .alpha_one_fraction = of_alpha(alpha_one, 0)});
  }
  return parts;
}

}  // namespace idem
