#include "engine/families/cebra/cebra_validation.h"

#include <cmath>

namespace idem {
namespace {

const double kNone = std::nan("");

double mean_of(const std::vector<CebraLoss>& losses, const auto& value) {
  double sum = 0;
  for (const auto& loss : losses) sum += value(loss);
  return sum / static_cast<double>(losses.size());
}

double error_of_mean(const std::vector<CebraLoss>& losses, const auto& value) {
  const double mean = mean_of(losses, value), n = static_cast<double>(losses.size());
  double squares = 0;
  for (const auto& loss : losses) squares += (value(loss) - mean) * (value(loss) - mean);
  return losses.size() > 1 ? std::sqrt(squares / (n - 1) / n) : kNone;
}

}  // namespace

CebraValidation::CebraValidation() : mean{kNone, kNone, kNone, kNone, kNone}, error{kNone, kNone, kNone} {}

CebraValidation::CebraValidation(const std::vector<CebraLoss>& of_batches)
    : mean{mean_of(of_batches, [](const auto& of) { return of.loss; }),
           mean_of(of_batches, [](const auto& of) { return of.alignment; }),
           mean_of(of_batches, [](const auto& of) { return of.uniformity; }),
           mean_of(of_batches, [](const auto& of) { return of.behaviour_alignment; }),
           mean_of(of_batches, [](const auto& of) { return of.behaviour_uniformity; })},
      error{
          error_of_mean(of_batches, [](const auto& of) { return of.loss; }),
          error_of_mean(of_batches, [](const auto& of) { return of.alignment + of.uniformity; }),
          error_of_mean(of_batches, [](const auto& of) { return of.behaviour_alignment + of.behaviour_uniformity; })} {}

}  // namespace idem
