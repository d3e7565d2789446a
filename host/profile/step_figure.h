// step_figure.h - a training step as one picture: its operations under the device's roofs, and where its time goes.
//
// Roofline (Williams, Waterman, Patterson 2009, doi 10.1145/1498765.1498785): across, FLOPs per byte that an operation
// has to move; up, FLOP/s that it reached. The roofs are what the device reached when they were measured. A circle's
// area is the operation's share of the step, from 0.8 % on; below, circles are as large as there, to be seen at all.
// What does no arithmetic stands at the left end, as far below the roof as its bytes per second are below those of a
// copy.
#pragma once

#include <string>

#include "host/profile/profile.h"

namespace idem {

// An SVG of its own, readable from 320 pixels on; it takes the colour of the text around it.
std::string step_figure(const StepProfile& step, const Roofs& roofs);

// The same step in two profiles: `before` as rings, `after` as discs. Roofs are those of `after`.
std::string step_figure(const StepProfile& before, const StepProfile& after, const Roofs& roofs);

}  // namespace idem
