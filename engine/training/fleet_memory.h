// fleet_memory.h - what a fleet says when it finds no memory.
#pragma once

#include <memory>
#include <string>

#include "engine/device/device.h"

namespace idem {

// A fleet's state, State(device, arguments...), built on the device. Where that has too little memory: throws the
// device's DeviceError with what all n_members runs together need.
template <class State, class... Arguments>
std::unique_ptr<State> make_fleet_state(std::size_t n_members, Device& device, const Arguments&... arguments) {
  try {
    return std::make_unique<State>(device, arguments...);
  } catch (const DeviceError& error) {
    const std::size_t needed = measure_memory([&](Device& counting) { State(counting, arguments...); });
    throw DeviceError(std::string(error.what()) + " (this fleet of " + std::to_string(n_members) + " runs needs " +
                      std::to_string((needed >> 20) + 1) + " MiB in all)");
  }
}

}  // namespace idem
