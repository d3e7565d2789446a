// recording_fixture.h - a small recording in a file of its own, and the splits that a study asks for by default.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "host/formats/npz.h"
#include "host/recordings/read_recording.h"
#include "tests/support/temporary_folder.h"

namespace idem {

using nlohmann::json;

inline const json kDefaultSplits = {
    {"kind", "auto"}, {"folds", {0, 1, 2}}, {"trial_label", "direction"}, {"fractions", {0.6, 0.2, 0.2}}};

inline NumpyArray matrix(std::int64_t rows, const std::vector<double>& values) {
  return NumpyArray::of({rows, static_cast<std::int64_t>(values.size()) / rows}, values);
}

// Six bins of three neurons, position and side; written into one .npz.
struct Fixture {
  std::vector<double> spikes = {0, 1, 0, 2, 0, 0, 0, 0, 1, 0, 3, 0, 1, 1, 0, 0, 0, 4};
  std::vector<double> position = {0.1, 1, 0, 0.2, 1, 0, 0.3, 1, 0, 0.4, 0, 1, 0.5, 0, 1, 0.6, 0, 1};
  TemporaryFolder folder;

  Fixture& write(const std::string& name = "rat.npz") {
    write_npz(folder / name, {{"spikes", matrix(6, spikes)}, {"position", matrix(6, position)}});
    return *this;
  }
  Recording load(const json& section) const { return load_recording(section, folder.path()); }
};

}  // namespace idem
