// infer_latents.h - the latents of a whole recording under a trained model.
#pragma once

#include "engine/device/device.h"
#include "engine/families/vae/design.h"
#include "engine/networks/parameters.h"
#include "engine/training/latent_table.h"
#include "engine/training/training_plan.h"

namespace idem {

// Latents of new data under saved weights (n_rows, inputs and labels of `data` are read; labels may be empty: then only
// the encoder's are filled, and an encoder that sees labels is refused by std::invalid_argument). Of an encoder that
// sees labels there is no encoder_*, and posterior_* is its q(z|x,u).
LatentTable infer_latents(Device& device, const ModelDesign& design, const NamedTensors& parameters,
                          const FleetData& data);

// What that takes, without a recording; throws std::invalid_argument for impossible designs.
ModelPlan plan_latents(const ModelDesign& design);

// Throws std::invalid_argument where the data's windows, of so many rows, are not all there.
void check_windows(const FleetData& data, std::int32_t window);

}  // namespace idem
