// report.h - figures and the report page of a finished (or interrupted) run.
#pragma once

#include <filesystem>
#include <string>

#include "host/report/assets.h"

namespace idem {

// Reads DIR/config.json, metrics.json, log.jsonl and runs/<run>/latents.npz; writes DIR/figures/*.svg and *.png and
// DIR/report.html, one file that opens without a network. Where gnuplot is missing the figures are left out, damaged
// lines of the log are passed over, and one warning line on stderr says so. Throws DataError for a missing or damaged
// file. The same folder gives the same page, byte for byte.
void write_report(const std::filesystem::path& run_directory);

// The same with given page pieces (an empty Plotly script: still pictures instead of plots) and another gnuplot;
// returns the warning, or nothing.
std::string write_report(const std::filesystem::path& run_directory, const ReportAssets& assets,
                         const std::string& gnuplot_program);

}  // namespace idem
