// read_recording.h - from a configuration's "recording" section, or from one file of a known layout, to a Recording.
//
// Where the data are: exactly one of file alone, counts, spikes, simulate. Paths are relative to the folder of the
// configuration.
//   file              string            recording file (.jl, .npz, .npy, .csv, plain or gzipped, told apart by
//   content). Alone: a known layout, see
//                                       load_recording_file; beside counts, spikes or labels: their file where they
//                                       name none.
//   counts            SOURCE            binned counts [time x neuron]; without columns all of the array but those that
//   are named as labels, times, trials
//                                       or gaps. A column that is listed here and named there is an error
//   spikes            object            spike times, binned here:
//     times           SOURCE            spike times; default: column time_s of file
//     ids             SOURCE            unit id of each spike; default: column unit of file
//     sampling_rate_hz number           times are sample numbers at this rate (Kilosort, Phy); without it they are
//     seconds units           list of integers  units to keep, in this order; default: all, ascending
//   simulate          object            a built-in simulator, see host/recordings/simulators.h
// What they mean:
//   subject           string            animal id, [A-Za-z0-9_-][A-Za-z0-9_.-]*; default: name of the data file without
//   its endings bin_width_ms      number > 0        width of a bin; needed for counts and spikes; default 25 for the
//   CEBRA rat layout start_s, stop_s   number            bins outside [start_s, stop_s) are dropped; spikes: the first
//   edge is start_s (default 0, or where
//                                       the first spike and label sample are more than 10 bins after it, or one before
//                                       it, the multiple of the bin width that holds the earliest) and only whole bins
//                                       before stop_s (default: up to the last spike) are made
//   times             SOURCE            start of each bin in seconds (default: bin number * bin width); a step of more
//   than 1.5 bins is a gap gaps              list of integers  bins at which a new segment begins; or a SOURCE: a
//   column that changes where a new segment begins;
//                                       its missing values are the bins between epochs, segments of their own
//   gaps_s            list of [from, to] stretches in seconds without recording; bins that touch one are dropped
//   trials            list of integers  first bin of each trial; or a list of [begin, end) bin pairs; or a SOURCE: a
//   column with one value per bin
//                                       that differs from trial to trial: each run of one value is a trial, bins whose
//                                       value is missing are in none
//   trials_are_segments boolean         false; true: no window crosses a trial
//   missing_values    list              numbers and texts that mean a missing value, in labels, trials and gaps; NaN,
//   empty cells and csv.h's words
//                                       always do (but where a categorical label lists one in values)
//   accept            list of strings   checks of plausibility.h that the recording fails and is right all the same:
//   low-rate labels            list of objects   what was measured beside the neurons:
//     name            string            needed
//     kind            string            continuous (default), circular or categorical
//     unit            string            "m", "deg", ...; default: none (circular: "rad")
//     period          number > 0        circular: one turn, in unit; default 360 where unit is deg or degrees, else 2
//     pi file, array     string            as in SOURCE column          integer or string as in SOURCE columns list
//     categorical as one-hot: one column per category values          list of strings   categorical: names of the codes
//     0, 1, 2, ... or of the one-hot columns; for a column of text the order of
//                                       the categories. Default: every value that occurs, ascending
//     times           SOURCE            sample times in seconds; the label is then interpolated at the bin centres
//     (categorical: see align), and bins outside
//                                       its samples are dropped. Default: one value per bin
//     align           string            categorical with times: previous (default), the last sample at or before the
//     bin centre, also after the last
//                                       sample (noted); nearest, ties to the earlier
//     max_gap_s       number >= 0       bins between samples farther apart are dropped (previous: and that long after
//     the last); default 1, categorical 0
//                                       (no limit)
//     missing         string            error (default) or drop: what to do with bins (or samples) whose value is
//     missing
// SOURCE: a file name, or an object of
//   file              string            default: recording.file
//   array             string            name inside .npz and .jl; default: the only one
//   column            integer or string number from 0, or header name, of a two-dimensional array or CSV; default: its
//   only column columns           list              counts only: the neurons' columns; default: all transpose boolean
//   counts only, false; true: the array is [neuron x time]
// A byte of a file's name that is not UTF-8 is written \xE4 (utf8.h); the text in the files is UTF-8, or a CSV's
// Windows-1252 (csv.h). Unknown keys are the schema's business and are ignored here. Bins are numbered before anything
// is dropped.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "host/recordings/recording.h"

namespace idem {

// Throws ConfigError for contradictory keys, DataError (file, array, row, column) for what the files hold.
Recording load_recording(const nlohmann::json& section, const std::filesystem::path& base);

// A file that needs no description: an .npz that write_recording_npz wrote, or CEBRA's rat layout in any format: arrays
// `spikes` [n_times x n_neurons] in bins of 25 ms and `position` [n_times x 3] = position in m, right, left. Labels
// there: position (continuous, m) and direction (right, left).
Recording load_recording_file(const std::filesystem::path& path);

}  // namespace idem
