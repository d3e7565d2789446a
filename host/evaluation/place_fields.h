// place_fields.h - the supervised limit: Bayes' rule with what each neuron does as a function of all labels.
#pragma once

#include <nlohmann/json.hpp>

#include "host/evaluation/targets.h"

namespace idem {

// The supervised limit: Bayes' rule with each neuron's mean activity as a function of all labels (Zhang et al. 1998,
// J. Neurophysiol. 79, 1017). activity [n_times x n_neurons]: of the window that a model sees, for example.
// {"smoothing_bins": s, "activity": "poisson" or "gaussian", "valid", "test", "labels"} as one decoder's of
// decode_embedding; {} where there are no labels, or cells times neurons are more than 2e7 (of Gaussian activity 1e7).
//   Cells   40 bins of each continuous label (the train rows' range) and circular one (once round), times all
//           categories.
//   Fields  mean counts of the train rows in a cell, at least 1 % of the neuron's mean; counts and visits are each
//           smoothed by a Gaussian of s bins along continuous and circular labels first, so that a cell that was never
//           visited has its neighbours' (none where there are none).
//   Decoded is the middle of the cell that maximises sum (x log f - f) + log visits, the first of equals.
// Activity that is not whole numbers of at least 0 (fluorescence, for example) is Gaussian, of a mean f and a variance
// v in each cell: decoded is the middle of the cell that maximises -sum ((x - f)^2 / v + log v) / 2 + log visits. The
// sums of squares are smoothed as the others; a variance is at least a quarter of the neuron's mean variance within
// cells, and 1e-6 of its variance over the train rows. A neuron whose standard deviation there is at most 1e-6 of its
// mean is left out.
// decoded: where it is given, gets the labels of the test rows, [row x label].
nlohmann::json decode_by_place_fields(const Embedding& activity, const Recording& recording, const Split& split,
                                      const DecodingOptions& options, ThreadPool& pool,
                                      std::vector<double>* decoded = nullptr);

}  // namespace idem
