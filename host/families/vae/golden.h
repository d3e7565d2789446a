// golden.h - golden cases of the VAE family: training steps of Conv-CI-iVAE, pi-VAE and conv-pi-VAE (without the clip
// of extreme rates' gradients), and CI-iVAE's objective alone.
#pragma once

#include <vector>

#include "host/parity/parity.h"

namespace idem {

std::vector<CaseKind> vae_golden_cases();

}  // namespace idem
