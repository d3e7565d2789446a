// contrastive_data.h - a prepared recording as CEBRA trains on it: which bins may meet, by time, by labels or by class.
#pragma once

#include "engine/families/cebra/cebra_fleet.h"
#include "host/families/cebra/model.h"
#include "host/preparation/prepare.h"

namespace idem {

// Sets of one split: 0 its training rows (all rows of a model that fits the session, which has nothing to validate on)
// and 1, where can_validate, its validation rows.
struct ContrastiveData {
  CebraData data;
  CebraPlan plan;             // the model's, with the numbers of label columns
  bool can_validate = false;  // the validation rows have all that positives are drawn from
};

// Of the labels continuous and circular ones are columns that distances are measured in, in their units (or
// standardised, as the preparation says). Categorical ones are columns too (one-hot), but for positives that share a
// class, where every combination of their values is one. Circular ones come last, as sine and cosine, and change by
// angles. prepared: of `model`'s preparation and this one split (recording_for). true_labels: those of every row of
// `prepared` that the validation rows are compared by, where the training labels are shuffled; null: prepared's. Throws
// ConfigError, naming the key, where positives have nothing to be drawn from or the model to adapt from does not fit,
// and DataError where it cannot be read.
ContrastiveData contrastive_data(const ModelConfig& model, const Recording& recording, const PreparedData& prepared,
                                 const std::vector<float>* true_labels = nullptr);

// Several recordings of a joint model as one: rows one recording after the other, of as many neurons as the largest has
// (the rest are zeros), sets of the first, then of the second ... each with its validation rows where all can validate.
ContrastiveData joined_data(const std::vector<const ContrastiveData*>& recordings,
                            const std::vector<std::int32_t>& n_neurons);

// The rows to be embedded alone, without sets.
CebraData embedding_data(const PreparedData& prepared);

}  // namespace idem
