// vae_family.h - variational autoencoders: VAE, iVAE, CI-iVAE, pi-VAE, with dense or convolutional encoders and a dense
// or an invertible decoder (engine/families/vae).
#pragma once

#include "host/families/family.h"

namespace idem {

const Family& vae_family();

}  // namespace idem
