// finite_differences.h - gradients against differences of what they are gradients of.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <random>

#include "engine/networks/parameters.h"

namespace idem {

// How fast `loss` grows with the value, which is put back.
template <class Loss>
double central_difference(double& value, double h, Loss&& loss) {
  const double at = value;
  value = at + h;
  const double above = loss();
  value = at - h;
  const double below = loss();
  value = at;
  return (above - below) / (2 * h);
}

// Along one random direction for each tensor: a wrong tensor cannot hide behind the others. The parameters are put
// back.
template <class Parameters, class Random, class Loss>
void expect_gradients_of_tensors(Parameters& parameters, const NamedTensors& gradients, Random& random, double h,
                                 double tolerance, Loss&& loss) {
  std::normal_distribution<double> normal;
  const NamedTensors start = parameters.get(0);
  ASSERT_EQ(start.size(), gradients.size());
  for (const auto& [name, tensor] : start) {
    NamedTensor direction = tensor;
    double predicted = 0;
    for (std::size_t i = 0; i < direction.values.size(); ++i) {
      direction.values[i] = normal(random);
      predicted += direction.values[i] * gradients.at(name).values[i];
    }
    double step = 0;
    const double measured = central_difference(step, h, [&] {
      NamedTensors moved = start;
      for (std::size_t i = 0; i < direction.values.size(); ++i) moved[name].values[i] += step * direction.values[i];
      parameters.set(0, moved);
      return loss();
    });
    EXPECT_NEAR(measured, predicted, tolerance * (1 + std::abs(predicted))) << name;
  }
  parameters.set(0, start);
}

}  // namespace idem
