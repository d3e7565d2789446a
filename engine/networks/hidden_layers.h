// hidden_layers.h - the shape of a multilayer perceptron.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/layers/layers.h"

namespace idem {

// A multilayer perceptron's hidden layers; what comes after the last one is the user's.
struct HiddenLayers {
  std::vector<std::int32_t> widths;
  Activation activation = Activation::leaky_relu;
  double slope = 0.2;  // leaky_relu only
};

}  // namespace idem
