// golden_objective.h - golden cases of CI-iVAE's objective alone.
#pragma once

#include <map>
#include <string>

#include "engine/device/device.h"
#include "host/parity/golden_case.h"

namespace idem::parity {

template <class Real>
std::map<std::string, NumpyArray> published_objective(Device& device, const ParityCase& golden);
template <class Real>
std::map<std::string, NumpyArray> paper_objective(Device& device, const ParityCase& golden);

}  // namespace idem::parity
