// read_labels.h - one entry of a recording's labels.
#pragma once

#include <string>

#include "host/recordings/read_sources.h"
#include "host/recordings/recording_draft.h"

namespace idem {

// Reads the label that `section` describes (host/recordings/read_recording.h) and adds it to the draft's recording;
// drops the bins that it lacks. `path` is the key, for messages. Throws ConfigError and DataError.
void read_label(SourceReader& sources, RecordingDraft& draft, const nlohmann::json& section, const std::string& path);

}  // namespace idem
