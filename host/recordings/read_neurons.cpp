#include "host/recordings/read_neurons.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/recordings/plausibility.h"
#include "host/recordings/recording_npz.h"
#include "host/recordings/spike_times.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using Json = nlohmann::json;

std::int32_t checked_extent(std::int64_t extent, const std::string& where) {
  if (extent > std::numeric_limits<std::int32_t>::max() / 2)
    throw DataError(fmt::format("{}: an axis of {} is too long; split the recording", where, extent));
  return static_cast<std::int32_t>(extent);
}

Recording recording_of_rat_arrays(const DataFile& file, double bin_width_ms) {
  const auto& spikes = file.array("spikes");
  const auto& position = file.array("position");
  if (spikes.shape.size() != 2)
    throw DataError(fmt::format("{}: has shape [{}] and must be [time x neuron]; save it again", spikes.where,
                                fmt::join(spikes.shape, " x ")));
  if (position.shape.size() != 2 || position.shape[1] != 3)
    throw DataError(
        fmt::format("{}: has shape [{}] and must be [time x 3] (position in m, right, left); describe other layouts in "
                    "a configuration's recording section",
                    position.where, fmt::join(position.shape, " x ")));
  if (spikes.shape[0] != position.shape[0])
    throw DataError(fmt::format("{}: spikes has {} rows and position has {}; both need one row per bin{}", file.where,
                                spikes.shape[0], position.shape[0],
                                spikes.shape[1] == position.shape[0] ? " (spikes looks transposed)" : ""));
  Recording recording;
  recording.n_times = checked_extent(spikes.shape[0], spikes.where);
  recording.n_neurons = checked_extent(spikes.shape[1], spikes.where);
  recording.bin_width_s = bin_width_ms / 1000;
  recording.counts = spikes.as<float>();
  LabelColumn where{
      .name = "position", .kind = LabelKind::continuous, .unit = "m", .period = 0, .categories = {}, .values = {}};
  LabelColumn direction{.name = "direction",
                        .kind = LabelKind::categorical,
                        .unit = "",
                        .period = 0,
                        .categories = {"right", "left"},
                        .values = {}};
  const auto values = position.as<double>();
  for (std::int32_t time = 0; time < recording.n_times; ++time) {
    const double* row = values.data() + 3 * to_size(time);
    for (int column = 0; column < 3; ++column)
      if (!std::isfinite(row[column]))
        throw DataError(fmt::format(
            "{}, row {}, column {} is {}; remove such bins from both arrays (and declare the jumps in recording.gaps)",
            position.where, time, column, row[column]));
    if (!((row[1] == 1 && row[2] == 0) || (row[1] == 0 && row[2] == 1)))
      throw DataError(fmt::format("{}, row {}: right and left are {} and {}; one must be 1 and the other 0",
                                  position.where, time, row[1], row[2]));
    where.values.push_back(row[0]);
    direction.values.push_back(row[1] == 1 ? 0 : 1);
    recording.time_s.push_back(static_cast<double>(time) * bin_width_ms / 1000);
  }
  if (recording.n_times > 0) recording.segments = {{0, recording.n_times}};
  recording.labels = {std::move(where), std::move(direction)};
  return recording;
}

bool is_rat_layout(const DataFile& file) { return file.arrays.count("spikes") && file.arrays.count("position"); }

// ---- counts ----
std::string name_of_column(const DataFile& file, std::int64_t column) {
  return file.column_names.empty() ? std::to_string(column)
                                   : fmt::format("{} ({})", column, one_line(file.column_names[to_size(column)]));
}

// The columns of the counts' array that the section names as something else, with what they are.
std::map<std::int64_t, std::string> columns_of_others(SourceReader& sources, const Source& counts) {
  std::map<std::int64_t, std::string> others;
  const DataFile& file = sources.open(counts.file, counts.path);
  const NumpyArray& array = file.array(counts.array);
  const auto add = [&](const Json& value, const std::string& path, const std::string& what) {
    const Source source = sources.source_of(value, path);
    if (!sources.are_of_one_array(counts, source)) return;
    std::vector<Json> named = source.columns;
    if (source.column) named.push_back(*source.column);
    for (const auto& column : named) others.emplace(SourceReader::column_number(file, array, column, path), what);
  };
  const Json& section = sources.section();
  for (const char* key : {"times", "trials", "gaps"})
    if (section.contains(key) && !section.at(key).is_array())
      add(section.at(key), fmt::format("recording.{}", key), fmt::format("recording.{}", key));
  if (!section.contains("labels")) return others;
  for (std::size_t index = 0; index < section.at("labels").size(); ++index) {
    const Json& label = section.at("labels").at(index);
    const std::string path = fmt::format("recording.labels[{}]", index),
                      name = one_line(option<std::string>(label, "name", path).value_or(""));
    add(label, path, "label " + name);
    if (label.contains("times")) add(label.at("times"), path + ".times", "the times of label " + name);
  }
  return others;
}

// All columns but those of labels, times, trials and gaps; says what was left out.
std::vector<std::int64_t> columns_of_neurons(SourceReader& sources, const Source& source, const DataFile& file,
                                             const NumpyArray& array, std::vector<std::string>& notes) {
  const auto others = columns_of_others(sources, source);
  std::vector<std::int64_t> columns;
  for (const auto& named : source.columns) {
    columns.push_back(SourceReader::column_number(file, array, named, "recording.counts.columns"));
    if (const auto other = others.find(columns.back()); other != others.end())
      throw ConfigError(fmt::format(
          "recording.counts.columns: column {} of {} is {} too, and cannot be a neuron; take it from one of the two",
          name_of_column(file, columns.back()), array.where, other->second));
  }
  if (!columns.empty()) return columns;
  for (std::int64_t column = 0; column < array.shape[1]; ++column)
    if (!others.count(column)) columns.push_back(column);
  if (columns.empty() && array.shape[1] > 0)
    throw ConfigError(
        fmt::format("recording.counts: every column of {} is named as a label, times, trials or gaps, so no neuron is "
                    "left; name another array",
                    array.where));
  std::vector<std::string> left_out;
  for (const auto& [column, what] : others)
    left_out.push_back(fmt::format("{}: {}", name_of_column(file, column), what));
  if (!left_out.empty())
    notes.push_back(fmt::format("column{} of {} left out of the counts ({})", left_out.size() == 1 ? "" : "s",
                                file.where, fmt::join(left_out, ", ")));
  return columns;
}

void require_numbers(const DataFile& file, const NumpyArray& array, const std::vector<std::int64_t>& columns,
                     bool are_listed) {
  if (array.is_text()) throw DataError(array.where + ": holds text where numbers are needed; name another array");
  for (const auto column : columns)
    if (const auto text = file.text_columns.find(column); text != file.text_columns.end())
      throw DataError(fmt::format(
          "{}: column {} of the counts {}{}", array.where, name_of_column(file, column),
          describe_words(text->second, are_listed ? "name a column of counts"
                                                  : "list the neurons' columns in recording.counts.columns"),
          are_listed ? "" : " (or list the neurons' columns in recording.counts.columns)"));
}

// Says where in the file the fault is; check_recording would say where in the recording.
void require_counts(const Recording& recording, const std::string& where, const std::vector<std::int64_t>& columns,
                    bool transposed) {
  for (std::size_t i = 0; i < recording.counts.size(); ++i) {
    const float count = recording.counts[i];
    if (std::isfinite(count) && count >= 0) continue;
    const auto n_neurons = to_size(recording.n_neurons);
    const auto time = static_cast<std::int64_t>(i / n_neurons), neuron = static_cast<std::int64_t>(i % n_neurons);
    throw DataError(fmt::format("{}: row {}, column {} is {}; {}", where, transposed ? neuron : time,
                                transposed ? time : columns[to_size(neuron)], count,
                                count < 0 ? "spike counts cannot be negative: give raw counts, not z-scores"
                                          : "remove the bin or fill it (and declare the jump in recording.gaps)"));
  }
}

// ---- spikes ----
// Without a description: the named column of the spike table, or its first (times) and second (ids) column when it has
// no header.
Source spike_source(SourceReader& sources, const Json& section, const char* key, const char* default_column) {
  const std::string path = std::string("recording.spikes.") + key;
  if (section.contains(key)) return sources.source_of(section.at(key), path);
  Source source;
  source.path = path;
  source.file = sources.default_file();
  const DataFile& file = sources.open(source.file, path);
  if (file.arrays.count(default_column))
    source.array = default_column;
  else if (file.column_names.empty())
    source.column = std::string(key) == "times" ? 0 : 1;
  else
    source.column = default_column;
  return source;
}

// The first sample of the labels that have their own times.
std::optional<double> first_label_sample_s(SourceReader& sources) {
  std::optional<double> first;
  if (!sources.section().contains("labels")) return first;
  for (const auto& label : sources.section().at("labels")) {
    if (!label.contains("times")) continue;
    for (const double time : sources.read_numbers(sources.source_of(label.at("times"), "recording.labels.times"),
                                                  "name the column of times"))
      if (std::isfinite(time) && !(first && *first <= time)) first = time;
  }
  return first;
}

// Whether the section counts bins from 0 s, which then have to begin there.
bool counts_bins(const Json& section) {
  if (section.contains("trials") || section.contains("gaps")) return true;
  if (!section.contains("labels")) return false;
  return std::any_of(section.at("labels").begin(), section.at("labels").end(),
                     [](const Json& label) { return !label.contains("times"); });
}

}  // namespace

Recording read_known_file(SourceReader& sources) {
  const DataFile& file = sources.open(sources.default_file(), "recording");
  const auto width_ms = option<double>(sources.section(), "bin_width_ms", "recording");
  if (is_recording_npz(file.arrays)) {
    Recording recording = recording_of_npz(file.arrays, file.where);
    if (width_ms && !(std::abs(*width_ms / 1000 - recording.bin_width_s) <= 1e-9))
      throw ConfigError(
          fmt::format("recording.bin_width_ms: {} contradicts {}, whose bins are {} ms wide; remove the key", *width_ms,
                      file.where, recording.bin_width_s * 1000));
    for (std::size_t neuron = 0; neuron < recording.neuron_ids.size(); ++neuron)
      recording.has_unit_ids =
          recording.has_unit_ids || recording.neuron_ids[neuron] != static_cast<std::int64_t>(neuron);
    return recording;
  }
  if (is_rat_layout(file)) return recording_of_rat_arrays(file, width_ms ? sources.bin_width_ms() : 25);
  throw DataError(
      fmt::format("{}: holds {}, which is no known layout (arrays spikes and position, or a file of idem simulate); "
                  "describe it in a configuration: "
                  "recording.counts, bin_width_ms and labels",
                  file.where, file.contents()));
}

Recording read_counts(SourceReader& sources) {
  const Source source = sources.source_of(sources.section().at("counts"), "recording.counts");
  const double width_ms = sources.bin_width_ms();
  const DataFile& file = sources.open(source.file, source.path);
  const NumpyArray& array = file.array(source.array);
  if (array.shape.size() != 2)
    throw DataError(
        fmt::format("{}: has shape [{}] and counts must be [time x neuron]; name another array in recording.counts",
                    array.where, fmt::join(array.shape, " x ")));
  const std::int64_t n_rows = checked_extent(array.shape[0], array.where),
                     n_all = checked_extent(array.shape[1], array.where);
  if (n_rows == 0 || n_all == 0)
    throw DataError(
        fmt::format("{}: has shape [{} x {}] and holds no counts; save it again", array.where, n_rows, n_all));
  if (source.transpose && !source.columns.empty())
    throw ConfigError("recording.counts: columns and transpose exclude each other; keep one");
  Recording recording;
  std::vector<std::int64_t> columns;
  if (source.transpose)
    for (std::int64_t column = 0; column < n_all; ++column) columns.push_back(column);
  else
    columns = columns_of_neurons(sources, source, file, array, recording.notes);
  require_numbers(file, array, columns, !source.columns.empty());
  recording.n_times = checked_extent(source.transpose ? n_all : n_rows, array.where);
  recording.n_neurons =
      checked_extent(source.transpose ? n_rows : static_cast<std::int64_t>(columns.size()), array.where);
  recording.bin_width_s = width_ms / 1000;
  const auto all = array.as<float>();
  recording.counts.reserve(to_size(recording.n_times) * to_size(recording.n_neurons));
  if (source.transpose) {
    for (std::int64_t time = 0; time < n_all; ++time)
      for (std::int64_t neuron = 0; neuron < n_rows; ++neuron)
        recording.counts.push_back(all[to_size(neuron * n_all + time)]);
  } else {
    for (std::int64_t row = 0; row < n_rows; ++row)
      for (const auto column : columns) recording.counts.push_back(all[to_size(row * n_all + column)]);
    recording.neuron_ids = columns;  // places in this file, which tell nothing of another; names do
    if (!file.column_names.empty())
      for (const auto column : columns) recording.unit_names.push_back(file.column_names[to_size(column)]);
  }
  require_counts(recording, array.where, columns, source.transpose);
  for (std::int32_t time = 0; time < recording.n_times; ++time)
    recording.time_s.push_back(static_cast<double>(time) * width_ms / 1000);
  if (recording.n_times > 0) recording.segments = {{0, recording.n_times}};
  return recording;
}

Recording read_spikes(SourceReader& sources) {
  const Json& section = sources.section().at("spikes");
  SpikeTimes spikes;
  const auto times_source = spike_source(sources, section, "times", "time_s");
  const auto ids_source = spike_source(sources, section, "ids", "unit");
  spikes.sampling_rate_hz = option<double>(section, "sampling_rate_hz", "recording.spikes").value_or(0);
  const DataFile& file = sources.open(times_source.file, times_source.path);
  if (spikes.sampling_rate_hz == 0 && file.array(times_source.array).type.kind != 'f')
    throw ConfigError(
        fmt::format("recording.spikes.sampling_rate_hz: is missing, and the times in {} are whole numbers (samples); "
                    "give the rate of the recording",
                    file.where));
  spikes.times = sources.read_numbers(times_source, "name the column of spike times in recording.spikes.times");
  const auto ids = sources.read_numbers(ids_source, "number the units");
  spikes.where = file.where;
  for (std::size_t row = 0; row < ids.size(); ++row) {
    if (!(std::abs(ids[row]) < 1e15) || ids[row] != std::floor(ids[row]))
      throw DataError(
          fmt::format("{}: row {} has the unit id {}; ids are whole numbers", ids_source.file, row, ids[row]));
    spikes.units.push_back(static_cast<std::int64_t>(ids[row]));
  }
  Binning binning;
  binning.bin_width_ms = sources.bin_width_ms();
  binning.start_s = option<double>(sources.section(), "start_s", "recording");
  if (!binning.start_s && counts_bins(sources.section())) binning.start_s = 0;
  binning.stop_s = option<double>(sources.section(), "stop_s", "recording");
  binning.first_sample_s = first_label_sample_s(sources);
  binning.units =
      option<std::vector<std::int64_t>>(section, "units", "recording.spikes").value_or(std::vector<std::int64_t>{});
  if (!is_accepted(sources.section(), "low-rate")) require_plausible_times(spikes, binning);
  BinnedSpikes binned = bin_spikes(spikes, binning);
  Recording recording;
  recording.n_times = binned.n_bins;
  recording.n_neurons = static_cast<std::int32_t>(binned.units.size());
  recording.bin_width_s = binning.bin_width_ms / 1000;
  recording.counts = std::move(binned.counts);
  recording.time_s = std::move(binned.time_s);
  recording.neuron_ids = std::move(binned.units);
  recording.has_unit_ids = true;
  recording.segments = {{0, recording.n_times}};
  if (binned.first_bin != 0)
    recording.notes.push_back(
        fmt::format("the clock does not begin at 0: the first bin begins at {:.10g} s, with the first spike{} (set "
                    "recording.start_s to begin elsewhere)",
                    recording.time_s.front(), binning.first_sample_s ? " or label sample" : ""));
  if (binned.n_outside > 0)
    recording.notes.push_back(fmt::format("{} spikes outside start_s and stop_s left out", binned.n_outside));
  if (binned.n_other_units > 0)
    recording.notes.push_back(fmt::format("{} spikes of other units left out", binned.n_other_units));
  return recording;
}

}  // namespace idem
