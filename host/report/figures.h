// figures.h - the static figures of a study, SVG and PNG, drawn by gnuplot (its svg and pngcairo terminals) as a child
// process.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/report/gnuplot.h"
#include "host/report/results.h"
#include "host/report/view.h"

namespace idem {

// Draws, in this order, with views[i] belonging to study.runs[i]:
//   latents-<run>              label-free and with-label latents of train, valid and test bins;
//                              of the first seed of each model x split
//   seeds-<subject>-<model>    test bins, label-free, every seed x split; where a model has two runs or more
//   loss-<subject>-<model>     loss parts per epoch, every seed x split; where the log has epochs
//   decoding-<run>             decoded and true position over the test bins;
//                              of the first seed of each model x split, where decoded
// Returns what was drawn. Without a working gnuplot nothing is drawn and `warning` becomes one line that says why and
// how to mend it.
std::vector<Figure> write_figures(const StudyResult& study, const std::vector<RunView>& views,
                                  const std::string& gnuplot_program, std::string& warning);

}  // namespace idem
