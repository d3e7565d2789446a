// model_match.h - whether a recording is of the neurons and labels that a saved model knows.
#pragma once

#include <string>
#include <vector>

#include "host/families/model_file.h"
#include "host/recordings/recording.h"

namespace idem {

// Keeps with the model what a later recording is compared with: the unit ids, and kind and unit of the labels it knows.
void remember_recording(SavedModel& model, const Recording& recording);

// The recording as the model knows it: neurons in the model's order, labels in its units (m, cm, mm; s, ms; deg, rad).
// `said` gets one sentence for each change and doubt. Where a table has a header its columns' names are the ids; ids
// that are only places in an array are the same for every recording: then the number of neurons is compared. Throws
// DataError where the neurons are others (naming them) or a label differs in kind, unit or period.
Recording matched_to_model(const SavedModel& model, const std::string& model_name, Recording recording,
                           std::vector<std::string>& said);

}  // namespace idem
