// latents_figures.h - the figures of latents: of one run by split, and of all runs of a model side by side.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "host/report/gnuplot.h"
#include "host/report/results.h"
#include "host/report/view.h"

namespace idem {

std::string value_label(const Colouring& colouring);  // with its unit

Figure latents_figure(gnuplot::Script& script, const RunResult& run, const RunView& view);
Figure seeds_figure(gnuplot::Script& script, const std::vector<std::pair<const RunResult*, const RunView*>>& runs);

}  // namespace idem
