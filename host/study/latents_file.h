// latents_file.h - the arrays that every latents.npz has (the whole list is in host/FORMATS.md).
#pragma once

#include <map>
#include <string>

#include "engine/training/latent_table.h"
#include "host/formats/npz.h"
#include "host/recordings/recording.h"

namespace idem {

// One row of `table` per bin of the recording; what it lacks (the posterior without labels, a log variance of CEBRA's)
// has no array.
std::map<std::string, NumpyArray> latent_arrays(const Recording& recording, const LatentTable& table,
                                                std::int64_t n_latents);

}  // namespace idem
