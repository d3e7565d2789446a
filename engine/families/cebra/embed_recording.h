// embed_recording.h - a whole recording under a trained CEBRA encoder.
#pragma once

#include "engine/families/cebra/plan.h"

namespace idem {

// The embedding of every row, [n_rows x n_features]. At the ends of a segment its first and last row are repeated, so
// that every row has one (sets are not read). rows_per_batch only cuts the work.
inline constexpr std::int32_t kRowsPerEmbedding = 512;
std::vector<float> embed_recording(Device& device, const CebraDesign& design, const NamedTensors& parameters,
                                   const CebraData& data, std::int32_t rows_per_batch = kRowsPerEmbedding);

// What that takes, without a recording; throws std::invalid_argument for impossible designs.
ModelPlan plan_latents(const CebraDesign& design);

}  // namespace idem
