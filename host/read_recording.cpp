#include "host/read_recording.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <optional>

#include "host/data_file.h"
#include "host/errors.h"
#include "host/one_line.h"
#include "host/recording_npz.h"
#include "host/simulators.h"
#include "host/spike_times.h"
#include "host/utf8.h"

namespace idem {
namespace {

using Json = nlohmann::json;

template <class T>
std::optional<T> option(const Json& section, const char* key, const std::string& path) {
  const auto found = section.find(key);
  if (found == section.end() || found->is_null()) return std::nullopt;
  try {
    return found->get<T>();
  } catch (const Json::exception&) {
    throw ConfigError(fmt::format("{}.{}: has a value of the wrong type, {}", path, key, one_line(found->dump())));
  }
}

// Where one array or column comes from.
struct Source {
  std::string path;  // key in the configuration, for messages
  std::string file, array;
  std::optional<Json> column;  // number or name
  std::vector<Json> columns;
  bool transpose = false;
};

struct Column {
  std::vector<double> numbers;
  std::vector<std::string> texts;  // a column of text; numbers is empty then
  std::string where;               // "x.npz: array position, column 0"
  std::size_t size() const { return texts.empty() ? numbers.size() : texts.size(); }
};

std::string name_without_endings(const std::filesystem::path& path) {
  std::string name = path.filename().string();
  name = name.substr(0, name.find('.', 1));
  for (char& letter : name)
    if (!std::isalnum(static_cast<unsigned char>(letter)) && letter != '_' && letter != '-') letter = '_';
  return name;
}

void require_numbers(const DataFile& file, const NumpyArray& array, const std::string& column_hint) {
  if (array.is_text()) throw DataError(array.where + ": holds text where numbers are needed; name another array");
  if (file.text_columns.empty() || array.shape.size() != 2) return;
  const auto column = file.text_columns.begin()->first;
  throw DataError(fmt::format("{}: column {}{} holds text; {}", file.where, column,
                              file.column_names.empty() ? "" : " (" + one_line(file.column_names[static_cast<std::size_t>(column)]) + ")",
                              column_hint));
}

std::int32_t checked_extent(std::int64_t extent, const std::string& where) {
  if (extent > std::numeric_limits<std::int32_t>::max() / 2)
    throw DataError(fmt::format("{}: an axis of {} is too long; split the recording", where, extent));
  return static_cast<std::int32_t>(extent);
}

// A recording before bins are dropped.
struct Draft {
  Recording recording;
  std::vector<char> keeps;           // [n_times]
  std::vector<char> begins_segment;  // [n_times]

  explicit Draft(Recording full) : recording(std::move(full)) {
    const auto n_times = static_cast<std::size_t>(recording.n_times);
    keeps.assign(n_times, 1);
    begins_segment.assign(n_times, 0);
    for (const auto& segment : recording.segments) begins_segment[static_cast<std::size_t>(segment.begin)] = 1;
  }

  template <class Predicate>
  std::int64_t drop_where(const Predicate& is_dropped) {
    std::int64_t n_dropped = 0;
    for (std::size_t time = 0; time < keeps.size(); ++time)
      if (keeps[time] && is_dropped(time)) {
        keeps[time] = 0;
        ++n_dropped;
      }
    return n_dropped;
  }

  // What is left; a new segment begins wherever bins went.
  Recording finish() && {
    Recording kept = std::move(recording);
    const auto n_times = static_cast<std::size_t>(kept.n_times);
    const auto n_neurons = static_cast<std::size_t>(kept.n_neurons);
    const auto n_latents = static_cast<std::size_t>(kept.n_true_latents);
    std::vector<std::int32_t> new_time(n_times + 1, 0);
    kept.segments.clear();
    std::size_t to = 0;
    bool broken = true;
    for (std::size_t from = 0; from < n_times; ++from) {
      new_time[from] = static_cast<std::int32_t>(to);
      broken = broken || begins_segment[from];
      if (!keeps[from]) {
        broken = true;
        continue;
      }
      if (broken) kept.segments.push_back({static_cast<std::int32_t>(to), static_cast<std::int32_t>(to)});
      broken = false;
      std::copy_n(kept.counts.begin() + static_cast<std::ptrdiff_t>(from * n_neurons), n_neurons,
                  kept.counts.begin() + static_cast<std::ptrdiff_t>(to * n_neurons));
      kept.time_s[to] = kept.time_s[from];
      for (auto& label : kept.labels) label.values[to] = label.values[from];
      for (auto* latents : {&kept.true_latents, &kept.true_latent_means})
        for (std::size_t latent = 0; latent < n_latents && !latents->empty(); ++latent)
          (*latents)[to * n_latents + latent] = (*latents)[from * n_latents + latent];
      kept.segments.back().end = static_cast<std::int32_t>(++to);
    }
    new_time[n_times] = static_cast<std::int32_t>(to);
    std::vector<Segment> trials;
    for (const auto& trial : kept.trials) {
      const Segment moved{new_time[static_cast<std::size_t>(trial.begin)], new_time[static_cast<std::size_t>(trial.end)]};
      if (moved.end > moved.begin) trials.push_back(moved);
    }
    kept.trials = std::move(trials);
    kept.n_times = static_cast<std::int32_t>(to);
    kept.counts.resize(to * n_neurons);
    kept.time_s.resize(to);
    kept.true_latents.resize(to * n_latents);
    if (!kept.true_latent_means.empty()) kept.true_latent_means.resize(to * n_latents);
    for (auto& label : kept.labels) label.values.resize(to);
    return kept;
  }
};

Recording recording_of_rat_arrays(const DataFile& file, double bin_width_ms) {
  const auto& spikes = file.array("spikes");
  const auto& position = file.array("position");
  if (spikes.shape.size() != 2)
    throw DataError(fmt::format("{}: has shape [{}] and must be [time x neuron]; save it again", spikes.where, fmt::join(spikes.shape, " x ")));
  if (position.shape.size() != 2 || position.shape[1] != 3)
    throw DataError(fmt::format(
        "{}: has shape [{}] and must be [time x 3] (position in m, right, left); describe other layouts in a configuration's recording section",
        position.where, fmt::join(position.shape, " x ")));
  if (spikes.shape[0] != position.shape[0])
    throw DataError(fmt::format("{}: spikes has {} rows and position has {}; both need one row per bin{}", file.where, spikes.shape[0],
                                position.shape[0], spikes.shape[1] == position.shape[0] ? " (spikes looks transposed)" : ""));
  Recording recording;
  recording.n_times = checked_extent(spikes.shape[0], spikes.where);
  recording.n_neurons = checked_extent(spikes.shape[1], spikes.where);
  recording.bin_width_s = bin_width_ms / 1000;
  recording.counts = spikes.as<float>();
  LabelColumn where{.name = "position", .kind = LabelKind::continuous, .unit = "m", .period = 0, .categories = {}, .values = {}};
  LabelColumn direction{.name = "direction", .kind = LabelKind::categorical, .unit = "", .period = 0, .categories = {"right", "left"}, .values = {}};
  const auto values = position.as<double>();
  for (std::int32_t time = 0; time < recording.n_times; ++time) {
    const double* row = values.data() + 3 * static_cast<std::size_t>(time);
    for (int column = 0; column < 3; ++column)
      if (!std::isfinite(row[column]))
        throw DataError(fmt::format("{}, row {}, column {} is {}; remove such bins from both arrays (and declare the jumps in recording.gaps)",
                                    position.where, time, column, row[column]));
    if (!((row[1] == 1 && row[2] == 0) || (row[1] == 0 && row[2] == 1)))
      throw DataError(fmt::format("{}, row {}: right and left are {} and {}; one must be 1 and the other 0", position.where, time, row[1], row[2]));
    where.values.push_back(row[0]);
    direction.values.push_back(row[1] == 1 ? 0 : 1);
    recording.time_s.push_back(static_cast<double>(time) * bin_width_ms / 1000);
  }
  if (recording.n_times > 0) recording.segments = {{0, recording.n_times}};
  recording.labels = {std::move(where), std::move(direction)};
  return recording;
}

bool is_rat_layout(const DataFile& file) { return file.arrays.count("spikes") && file.arrays.count("position"); }

class Loader {
 public:
  Loader(const Json& section, std::filesystem::path base) : section_(section), base_(std::move(base)) {
    default_file_ = option<std::string>(section_, "file", "recording").value_or("");
  }

  Recording load() {
    const bool has_counts = section_.contains("counts"), has_spikes = section_.contains("spikes"), has_simulation = section_.contains("simulate");
    if (has_counts + has_spikes + has_simulation > 1) throw ConfigError("recording: counts, spikes and simulate exclude each other; keep one");
    if (has_simulation) return load_simulation();
    if (!has_counts && !has_spikes && default_file_.empty())
      throw ConfigError("recording: says nothing about where the data are; give file, counts, spikes or simulate");
    Draft draft(has_counts ? read_counts() : has_spikes ? read_spikes() : read_known_file());
    Recording& recording = draft.recording;
    if (const auto subject = option<std::string>(section_, "subject", "recording")) recording.subject = *subject;
    if (recording.subject.empty()) recording.subject = first_file_.empty() ? "" : name_without_endings(first_file_);
    const std::string where = first_file_.empty() ? "recording" : first_file_;
    if (recording.n_times <= 0 || recording.n_neurons <= 0) check_recording(recording, where);  // says so; what follows counts on bins
    if (recording.neuron_ids.empty())
      for (std::int32_t neuron = 0; neuron < recording.n_neurons; ++neuron) recording.neuron_ids.push_back(neuron);
    if (!has_spikes) read_times(draft);
    read_gaps(draft);
    read_trials(draft);
    if (section_.contains("labels")) {
      recording.labels.clear();
      std::size_t index = 0;
      for (const auto& label : section_.at("labels")) read_label(draft, label, fmt::format("recording.labels[{}]", index++));
    }
    cut(draft);
    const std::int32_t n_all = recording.n_times;
    Recording kept = std::move(draft).finish();
    for (const auto& [path, file] : files_)
      if (!file.note.empty()) kept.notes.push_back(fmt::format("{} {}", text_of_path(std::filesystem::path(path).filename()), file.note));
    if (n_all > 0 && kept.n_times == 0)
      throw DataError(fmt::format("{}: all {} bins were dropped: {}; check recording.start_s, stop_s and the label times", where, n_all,
                                  fmt::join(kept.notes, "; ")));
    check_recording(kept, where);
    return kept;
  }

 private:
  // ---- files ----
  const DataFile& open(const std::string& name, const std::string& path) {
    if (name.empty()) throw ConfigError(path + ": names no file; set its file, or recording.file");
    const std::filesystem::path resolved = base_ / path_of_text(name);
    if (first_file_.empty()) first_file_ = resolved.string();
    const auto found = files_.find(resolved.string());
    return found != files_.end() ? found->second : files_.emplace(resolved.string(), read_data_file(resolved)).first->second;
  }

  Source source_of(const Json& value, const std::string& path) const {
    Source source;
    source.path = path;
    source.file = default_file_;
    if (value.is_string()) {
      source.file = value.get<std::string>();
    } else if (value.is_object()) {
      if (const auto file = option<std::string>(value, "file", path)) source.file = *file;
      source.array = option<std::string>(value, "array", path).value_or("");
      if (value.contains("column")) source.column = value.at("column");
      source.columns = option<std::vector<Json>>(value, "columns", path).value_or(std::vector<Json>{});
      source.transpose = option<bool>(value, "transpose", path).value_or(false);
    } else {
      throw ConfigError(path + ": must be a file name or an object with file, array and column");
    }
    return source;
  }

  static std::int64_t column_number(const DataFile& file, const NumpyArray& array, const Json& column, const std::string& path) {
    const std::int64_t n_columns = array.shape.size() == 2 ? array.shape[1] : 1;
    if (column.is_number_integer()) {
      const auto number = column.get<std::int64_t>();
      if (number >= 0 && number < n_columns) return number;
      throw DataError(fmt::format("{}: has no column {} ({} asks for it); columns there: 0 to {}", array.where, number, path, n_columns - 1));
    }
    if (!column.is_string()) throw ConfigError(path + ": a column is a number from 0 or a header name");
    const auto name = column.get<std::string>();
    const auto found = std::find(file.column_names.begin(), file.column_names.end(), name);
    if (found != file.column_names.end()) return found - file.column_names.begin();
    throw DataError(
        fmt::format("{}: has no column \"{}\" ({} asks for it); columns there: {}", array.where, one_line(name), path,
                    file.column_names.empty() ? "unnamed, use numbers" : one_line(fmt::format("{}", fmt::join(file.column_names, ", ")))));
  }

  Column read_column(const Source& source) {
    const DataFile& file = open(source.file, source.path);
    const NumpyArray& array = file.array(source.array);
    if (array.shape.empty() || array.shape.size() > 2)
      throw DataError(fmt::format("{}: has shape [{}] where {} needs one value per row", array.where, fmt::join(array.shape, " x "), source.path));
    Column column;
    column.where = array.where;
    if (array.shape.size() == 1) {
      if (source.column && *source.column != 0) throw DataError(fmt::format("{}: has one axis only; remove {}.column", array.where, source.path));
      if (array.is_text())
        column.texts = array.texts();
      else
        column.numbers = array.as<double>();
      return column;
    }
    if (!source.column && array.shape[1] != 1)
      throw ConfigError(fmt::format("{}: say which of the {} columns of {} with \"column\"", source.path, array.shape[1], array.where));
    const std::int64_t number = source.column ? column_number(file, array, *source.column, source.path) : 0;
    column.where += fmt::format(", column {}", number);
    const auto text = file.text_columns.find(number);
    if (text != file.text_columns.end()) {
      column.texts = text->second;
      return column;
    }
    const auto take = [&](const auto& values) {
      for (std::int64_t row = 0; row < array.shape[0]; ++row) column_append(column, values[static_cast<std::size_t>(row * array.shape[1] + number)]);
    };
    if (array.is_text())
      take(array.texts());
    else
      take(array.as<double>());
    return column;
  }
  static void column_append(Column& column, double value) { column.numbers.push_back(value); }
  static void column_append(Column& column, const std::string& value) { column.texts.push_back(value); }

  std::vector<double> read_numbers(const Source& source) {
    Column column = read_column(source);
    if (!column.texts.empty()) throw DataError(column.where + ": holds text where numbers are needed");
    return std::move(column.numbers);
  }

  double bin_width_ms() const {
    const auto width = option<double>(section_, "bin_width_ms", "recording");
    if (!width) throw ConfigError("recording.bin_width_ms: is missing; give the width of a bin in ms");
    if (!(*width > 0)) throw ConfigError(fmt::format("recording.bin_width_ms: {} must be above 0", *width));
    return *width;
  }

  // ---- where the counts come from ----
  Recording load_simulation() {
    for (const char* key : {"file", "labels", "times", "gaps", "gaps_s", "trials", "bin_width_ms", "start_s", "stop_s", "trials_are_segments"})
      if (section_.contains(key)) throw ConfigError(fmt::format("recording.{}: has no meaning beside recording.simulate; remove it", key));
    Recording recording = simulate_recording(section_.at("simulate"));
    if (const auto subject = option<std::string>(section_, "subject", "recording")) recording.subject = *subject;
    check_recording(recording, "recording.simulate");
    return recording;
  }

  Recording read_known_file() {
    const DataFile& file = open(default_file_, "recording");
    const auto width_ms = option<double>(section_, "bin_width_ms", "recording");
    if (is_recording_npz(file.arrays)) {
      Recording recording = recording_of_npz(file.arrays, file.where);
      if (width_ms && !(std::abs(*width_ms / 1000 - recording.bin_width_s) <= 1e-9))
        throw ConfigError(fmt::format("recording.bin_width_ms: {} contradicts {}, whose bins are {} ms wide; remove the key", *width_ms, file.where,
                                      recording.bin_width_s * 1000));
      return recording;
    }
    if (is_rat_layout(file)) return recording_of_rat_arrays(file, width_ms ? bin_width_ms() : 25);
    throw DataError(fmt::format(
        "{}: holds {}, which is no known layout (arrays spikes and position, or a file of idem simulate); describe it in a configuration: "
        "recording.counts, bin_width_ms and labels",
        file.where, file.contents()));
  }

  Recording read_counts() {
    const Source source = source_of(section_.at("counts"), "recording.counts");
    const double width_ms = bin_width_ms();
    const DataFile& file = open(source.file, source.path);
    const NumpyArray& array = file.array(source.array);
    if (array.shape.size() != 2)
      throw DataError(fmt::format("{}: has shape [{}] and counts must be [time x neuron]; name another array in recording.counts", array.where,
                                  fmt::join(array.shape, " x ")));
    std::vector<std::int64_t> columns;
    for (const auto& column : source.columns) columns.push_back(column_number(file, array, column, "recording.counts.columns"));
    if (columns.empty()) require_numbers(file, array, "list the neurons' columns in recording.counts.columns");
    for (const auto column : columns)
      if (file.text_columns.count(column)) throw DataError(fmt::format("{}: column {} holds text where counts are needed", array.where, column));
    const std::int64_t n_rows = checked_extent(array.shape[0], array.where), n_all = checked_extent(array.shape[1], array.where);
    if (n_rows == 0 || n_all == 0)
      throw DataError(fmt::format("{}: has shape [{} x {}] and holds no counts; save it again", array.where, n_rows, n_all));
    if (source.transpose && !columns.empty()) throw ConfigError("recording.counts: columns and transpose exclude each other; keep one");
    if (columns.empty() && !source.transpose)
      for (std::int64_t column = 0; column < n_all; ++column) columns.push_back(column);
    Recording recording;
    recording.n_times = checked_extent(source.transpose ? n_all : n_rows, array.where);
    recording.n_neurons = checked_extent(source.transpose ? n_rows : static_cast<std::int64_t>(columns.size()), array.where);
    recording.bin_width_s = width_ms / 1000;
    const auto all = array.as<float>();
    recording.counts.reserve(static_cast<std::size_t>(recording.n_times) * static_cast<std::size_t>(recording.n_neurons));
    if (source.transpose) {
      for (std::int64_t time = 0; time < n_all; ++time)
        for (std::int64_t neuron = 0; neuron < n_rows; ++neuron) recording.counts.push_back(all[static_cast<std::size_t>(neuron * n_all + time)]);
    } else {
      for (std::int64_t row = 0; row < n_rows; ++row)
        for (const auto column : columns) recording.counts.push_back(all[static_cast<std::size_t>(row * n_all + column)]);
      recording.neuron_ids = columns;
    }
    require_counts(recording, array.where, columns, source.transpose);
    for (std::int32_t time = 0; time < recording.n_times; ++time) recording.time_s.push_back(static_cast<double>(time) * width_ms / 1000);
    if (recording.n_times > 0) recording.segments = {{0, recording.n_times}};
    return recording;
  }

  // Says where in the file the fault is; check_recording would say where in the recording.
  static void require_counts(const Recording& recording, const std::string& where, const std::vector<std::int64_t>& columns, bool transposed) {
    for (std::size_t i = 0; i < recording.counts.size(); ++i) {
      const float count = recording.counts[i];
      if (std::isfinite(count) && count >= 0) continue;
      const auto n_neurons = static_cast<std::size_t>(recording.n_neurons);
      const auto time = static_cast<std::int64_t>(i / n_neurons), neuron = static_cast<std::int64_t>(i % n_neurons);
      throw DataError(fmt::format("{}: row {}, column {} is {}; {}", where, transposed ? neuron : time,
                                  transposed ? time : columns[static_cast<std::size_t>(neuron)], count,
                                  count < 0 ? "spike counts cannot be negative: give raw counts, not z-scores"
                                            : "remove the bin or fill it (and declare the jump in recording.gaps)"));
    }
  }

  Recording read_spikes() {
    const Json& section = section_.at("spikes");
    SpikeTimes spikes;
    const auto times_source = spike_source(section, "times", "time_s");
    const auto ids_source = spike_source(section, "ids", "unit");
    spikes.sampling_rate_hz = option<double>(section, "sampling_rate_hz", "recording.spikes").value_or(0);
    const DataFile& file = open(times_source.file, times_source.path);
    if (spikes.sampling_rate_hz == 0 && file.array(times_source.array).type.kind != 'f')
      throw ConfigError(fmt::format(
          "recording.spikes.sampling_rate_hz: is missing, and the times in {} are whole numbers (samples); give the rate of the recording",
          file.where));
    spikes.times = read_numbers(times_source);
    const auto ids = read_numbers(ids_source);
    spikes.where = file.where;
    for (std::size_t row = 0; row < ids.size(); ++row) {
      if (!(std::abs(ids[row]) < 1e15) || ids[row] != std::floor(ids[row]))
        throw DataError(fmt::format("{}: row {} has the unit id {}; ids are whole numbers", ids_source.file, row, ids[row]));
      spikes.units.push_back(static_cast<std::int64_t>(ids[row]));
    }
    Binning binning;
    binning.bin_width_ms = bin_width_ms();
    binning.start_s = option<double>(section_, "start_s", "recording").value_or(0);
    binning.stop_s = option<double>(section_, "stop_s", "recording");
    binning.units = option<std::vector<std::int64_t>>(section, "units", "recording.spikes").value_or(std::vector<std::int64_t>{});
    BinnedSpikes binned = bin_spikes(spikes, binning);
    Recording recording;
    recording.n_times = binned.n_bins;
    recording.n_neurons = static_cast<std::int32_t>(binned.units.size());
    recording.bin_width_s = binning.bin_width_ms / 1000;
    recording.counts = std::move(binned.counts);
    recording.time_s = std::move(binned.time_s);
    recording.neuron_ids = std::move(binned.units);
    recording.segments = {{0, recording.n_times}};
    if (binned.n_outside > 0) recording.notes.push_back(fmt::format("{} spikes outside start_s and stop_s left out", binned.n_outside));
    if (binned.n_other_units > 0) recording.notes.push_back(fmt::format("{} spikes of other units left out", binned.n_other_units));
    return recording;
  }

  // Without a description: the named column of the spike table, or its first (times) and second (ids) column when it has no header.
  Source spike_source(const Json& section, const char* key, const char* default_column) {
    const std::string path = std::string("recording.spikes.") + key;
    if (section.contains(key)) return source_of(section.at(key), path);
    Source source;
    source.path = path;
    source.file = default_file_;
    const DataFile& file = open(source.file, path);
    if (file.arrays.count(default_column))
      source.array = default_column;
    else if (file.column_names.empty())
      source.column = std::string(key) == "times" ? 0 : 1;
    else
      source.column = default_column;
    return source;
  }

  // ---- time ----
  void read_times(Draft& draft) {
    if (!section_.contains("times")) return;
    Recording& recording = draft.recording;
    const Source source = source_of(section_.at("times"), "recording.times");
    recording.time_s = read_numbers(source);
    if (recording.time_s.size() != draft.keeps.size())
      throw DataError(fmt::format("recording.times: {} times for {} bins; give one per bin", recording.time_s.size(), draft.keeps.size()));
    for (std::size_t time = 1; time < draft.keeps.size(); ++time) {
      const double step = recording.time_s[time] - recording.time_s[time - 1];
      if (!(step > 0)) throw DataError(fmt::format("recording.times: row {} does not come after row {}; sort the bins", time, time - 1));
      if (step < 0.5 * recording.bin_width_s)
        throw DataError(fmt::format(
            "recording.times: rows {} and {} are {:.6g} s apart, less than a bin of {:.6g} s; check bin_width_ms, and that times are in seconds",
            time - 1, time, step, recording.bin_width_s));
      if (step > 1.5 * recording.bin_width_s) draft.begins_segment[time] = 1;
    }
  }

  std::vector<std::size_t> changes_of(const Draft& draft, const Json& value, const std::string& path) {
    const Column column = read_column(source_of(value, path));
    if (column.size() != draft.keeps.size())
      throw DataError(fmt::format("{}: {} has {} rows for {} bins; give one value per bin", path, column.where, column.size(), draft.keeps.size()));
    std::vector<std::size_t> changes;
    for (std::size_t time = 1; time < column.size(); ++time)
      if (column.texts.empty() ? column.numbers[time] != column.numbers[time - 1] : column.texts[time] != column.texts[time - 1])
        changes.push_back(time);
    return changes;
  }

  static std::size_t bin_of(const Draft& draft, const Json& value, const std::string& path, std::size_t limit) {
    if (!value.is_number_integer() || value.get<std::int64_t>() < 0 || static_cast<std::size_t>(value.get<std::int64_t>()) > limit)
      throw ConfigError(fmt::format("{}: {} is no bin of this recording; bins are whole numbers from 0 to {}", path, one_line(value.dump()),
                                    draft.keeps.size() - 1));
    return static_cast<std::size_t>(value.get<std::int64_t>());
  }

  void read_gaps(Draft& draft) {
    if (section_.contains("gaps")) {
      const Json& gaps = section_.at("gaps");
      if (gaps.is_array())
        for (const auto& gap : gaps) draft.begins_segment[bin_of(draft, gap, "recording.gaps", draft.keeps.size() - 1)] = 1;
      else
        for (const auto time : changes_of(draft, gaps, "recording.gaps")) draft.begins_segment[time] = 1;
    }
    const auto stretches = option<std::vector<std::array<double, 2>>>(section_, "gaps_s", "recording").value_or(std::vector<std::array<double, 2>>{});
    std::int64_t n_dropped = 0;
    for (const auto& [from, to] : stretches) {
      if (!(from < to)) throw ConfigError(fmt::format("recording.gaps_s: [{}, {}] does not go forward in time", from, to));
      const Recording& recording = draft.recording;
      // A bin whose edge is the end of the gap does not touch it, whatever the last digit of a sum says.
      const double slack = 1e-6 * recording.bin_width_s;
      for (std::size_t time = 0; time < draft.keeps.size(); ++time)
        if (draft.keeps[time] && recording.time_s[time] + recording.bin_width_s > from + slack && recording.time_s[time] < to - slack) {
          draft.keeps[time] = 0;
          ++n_dropped;
        }
      for (std::size_t time = 1; time < draft.keeps.size(); ++time)  // a gap that falls between two bins
        if (recording.time_s[time - 1] < from && recording.time_s[time] >= to - slack && draft.keeps[time - 1]) {
          draft.begins_segment[time] = 1;
          break;
        }
    }
    if (n_dropped > 0) draft.recording.notes.push_back(fmt::format("{} bins inside recording.gaps_s dropped", n_dropped));
  }

  void read_trials(Draft& draft) {
    Recording& recording = draft.recording;
    const auto n_times = draft.keeps.size();
    if (section_.contains("trials")) {
      const Json& trials = section_.at("trials");
      recording.trials.clear();
      const auto add = [&](std::size_t begin, std::size_t end) {
        if (begin >= end || (!recording.trials.empty() && static_cast<std::int64_t>(begin) < recording.trials.back().end))
          throw ConfigError(
              fmt::format("recording.trials: the trial from bin {} to {} is empty or overlaps the one before; list them in order", begin, end));
        recording.trials.push_back({static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end)});
      };
      if (!trials.is_array()) {
        std::size_t begin = 0;
        for (const auto change : changes_of(draft, trials, "recording.trials")) {
          add(begin, change);
          begin = change;
        }
        add(begin, n_times);
      } else {
        for (std::size_t trial = 0; trial < trials.size(); ++trial) {
          if (trials[trial].is_array() && trials[trial].size() == 2) {
            add(bin_of(draft, trials[trial][0], "recording.trials", n_times - 1), bin_of(draft, trials[trial][1], "recording.trials", n_times));
          } else {
            const auto begin = bin_of(draft, trials[trial], "recording.trials", n_times - 1);
            add(begin, trial + 1 < trials.size() ? bin_of(draft, trials[trial + 1], "recording.trials", n_times - 1) : n_times);
          }
        }
      }
    }
    if (!option<bool>(section_, "trials_are_segments", "recording").value_or(false)) return;
    if (recording.trials.empty()) throw ConfigError("recording.trials_are_segments: there are no trials; declare them in recording.trials");
    for (const auto& trial : recording.trials) {
      draft.begins_segment[static_cast<std::size_t>(trial.begin)] = 1;
      if (static_cast<std::size_t>(trial.end) < n_times) draft.begins_segment[static_cast<std::size_t>(trial.end)] = 1;
    }
  }

  void cut(Draft& draft) {
    Recording& recording = draft.recording;
    const double slack = 1e-6 * recording.bin_width_s;
    const auto start = option<double>(section_, "start_s", "recording"), stop = option<double>(section_, "stop_s", "recording");
    const auto n_dropped = draft.drop_where([&](std::size_t time) {
      return (start && recording.time_s[time] < *start - slack) || (stop && recording.time_s[time] + recording.bin_width_s > *stop + slack);
    });
    if (n_dropped > 0) recording.notes.push_back(fmt::format("{} bins outside start_s and stop_s dropped", n_dropped));
  }

  // ---- labels ----
  void read_label(Draft& draft, const Json& section, const std::string& path) {
    LabelColumn label;
    label.name = option<std::string>(section, "name", path).value_or("");
    if (label.name.empty()) throw ConfigError(path + ".name: is missing; give the label a name");
    const std::string at = fmt::format("{} ({})", path, one_line(label.name));
    label.kind = label_kind_of(option<std::string>(section, "kind", path).value_or("continuous"));
    const bool is_circular = label.kind == LabelKind::circular, is_categorical = label.kind == LabelKind::categorical;
    label.unit = option<std::string>(section, "unit", path).value_or(is_circular ? "rad" : "");
    const bool in_degrees = label.unit == "deg" || label.unit == "degrees";
    if (is_circular) label.period = option<double>(section, "period", path).value_or(in_degrees ? 360 : 2 * std::numbers::pi);
    if (is_circular && !(label.period > 0)) throw ConfigError(at + ".period: must be above 0");
    const auto names = option<std::vector<std::string>>(section, "values", path).value_or(std::vector<std::string>{});
    if (!is_categorical && !names.empty()) throw ConfigError(at + ".values: only categorical labels have named values; set kind to categorical");
    const auto missing = option<std::string>(section, "missing", path).value_or("error");
    if (missing != "error" && missing != "drop") throw ConfigError(at + ".missing: must be error or drop");

    const Source source = source_of(section, at);
    std::string where;
    label.values = source.columns.empty() ? read_label_values(source, label, names, where) : read_one_hot(source, label, names, where);
    std::size_t n_missing = 0;
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (std::size_t row = 0; row < label.values.size(); ++row) {
      const double value = label.values[row];
      if (std::isinf(value)) throw DataError(fmt::format("{}: row {} is {}; correct it", where, row, value));
      if (std::isnan(value) && missing == "error")
        throw DataError(fmt::format("{}: row {} is NaN or empty (label {}); fill it, or set \"missing\": \"drop\" for that label", where, row,
                                    one_line(label.name)));
      n_missing += std::isnan(value);
      low = std::fmin(low, value);
      high = std::fmax(high, value);
      if (is_circular && !std::isnan(value)) label.values[row] = wrap_to_period(value, label.period);
    }
    Recording& recording = draft.recording;
    if (is_circular) warn_of_period(recording, label, high - low);
    if (section.contains("times")) {
      align(draft, label, section, at, where);
    } else {
      if (label.values.size() != draft.keeps.size())
        throw DataError(fmt::format("{}: label {} has {} values for {} bins{}; give one per bin, or the label's own \"times\"", where,
                                    one_line(label.name), label.values.size(), draft.keeps.size(),
                                    label.values.size() == static_cast<std::size_t>(recording.n_neurons)
                                        ? " and as many neurons: if the counts are [neuron x time], set recording.counts.transpose"
                                        : ""));
      const auto n_dropped = draft.drop_where([&](std::size_t time) { return std::isnan(label.values[time]); });
      if (n_dropped > 0) recording.notes.push_back(fmt::format("{} bins without a value of label {} dropped", n_dropped, label.name));
    }
    recording.labels.push_back(std::move(label));
  }

  // Degrees taken for radians run over many turns, radians taken for degrees fill a sliver of one.
  static void warn_of_period(Recording& recording, const LabelColumn& label, double range) {
    const double turns = range / label.period;
    if (turns > 2.5)
      recording.warnings.push_back(
          fmt::format("circular label {} runs over {:.3g} turns of {:.4g} {}: unless it is an unwrapped angle, set its period (degrees: 360)",
                      label.name, turns, label.period, label.unit));
    if (turns > 0 && turns < 0.1)
      recording.warnings.push_back(fmt::format("circular label {} fills {:.2g} % of a turn of {:.4g} {}: unless it hardly turned, set its period "
                                               "(radians: leave it and unit out)",
                                               label.name, 100 * turns, label.period, label.unit));
  }

  void align(Draft& draft, LabelColumn& label, const Json& section, const std::string& at, const std::string& where) {
    Recording& recording = draft.recording;
    SampledLabel sampled;
    sampled.time_s = read_numbers(source_of(section.at("times"), at + ".times"));
    sampled.values = label.values;
    sampled.kind = label.kind;
    sampled.period = label.period;
    sampled.max_gap_s = option<double>(section, "max_gap_s", at).value_or(label.kind == LabelKind::categorical ? 0.0 : 1.0);
    if (sampled.time_s.size() != sampled.values.size())
      throw DataError(fmt::format("{}: label {} has {} values but {} times; both need one row per sample", where, one_line(label.name),
                                  sampled.values.size(), sampled.time_s.size()));
    for (std::size_t row = 1; row < sampled.time_s.size(); ++row)
      if (!(sampled.time_s[row] > sampled.time_s[row - 1]))
        throw DataError(fmt::format("{}.times: row {} ({}) does not come after row {} ({}); sort the samples and remove repeats", at, row,
                                    sampled.time_s[row], row - 1, sampled.time_s[row - 1]));
    std::vector<double> centres(draft.keeps.size());
    for (std::size_t time = 0; time < centres.size(); ++time) centres[time] = recording.time_s[time] + recording.bin_width_s / 2;
    label.values = align_label(sampled, centres);
    const std::size_t n_bins = centres.size();
    const auto n_dropped = draft.drop_where([&](std::size_t time) { return std::isnan(label.values[time]); });
    const std::string dropped = fmt::format("{} bins outside the samples of label {} (or in gaps between them) dropped", n_dropped, label.name);
    if (static_cast<std::size_t>(n_dropped) > n_bins / 2)
      recording.warnings.push_back(
          fmt::format("{}, of {}: are its times and those of the counts or spikes of one clock, in seconds (spikes.sampling_rate_hz)?", dropped, n_bins));
    else if (n_dropped > 0)
      recording.notes.push_back(dropped);
  }

  std::vector<double> read_label_values(const Source& source, LabelColumn& label, const std::vector<std::string>& names, std::string& where) {
    Column column = read_column(source);
    where = column.where;
    if (label.kind != LabelKind::categorical) {
      if (!column.texts.empty()) throw DataError(fmt::format("{}: holds text; set kind of label {} to categorical", where, one_line(label.name)));
      return std::move(column.numbers);
    }
    std::vector<double> codes;
    label.categories = names;
    if (!column.texts.empty()) {
      if (names.empty()) {
        label.categories = column.texts;
        std::sort(label.categories.begin(), label.categories.end());
        label.categories.erase(std::unique(label.categories.begin(), label.categories.end()), label.categories.end());
        std::erase(label.categories, "");
      }
      for (std::size_t row = 0; row < column.texts.size(); ++row) {
        const auto found = std::find(label.categories.begin(), label.categories.end(), column.texts[row]);
        if (found == label.categories.end() && column.texts[row].empty()) {  // missing: the NaN of a text column
          codes.push_back(std::numeric_limits<double>::quiet_NaN());
          continue;
        }
        if (found == label.categories.end())
          throw DataError(fmt::format("{}: row {} is \"{}\", which is not among the values of label {}; add it there", where, row,
                                      one_line(column.texts[row]), one_line(label.name)));
        codes.push_back(static_cast<double>(found - label.categories.begin()));
      }
    } else if (!names.empty()) {
      codes = column.numbers;
      for (std::size_t row = 0; row < codes.size(); ++row)
        if (!std::isnan(codes[row]) && !(codes[row] >= 0 && codes[row] < static_cast<double>(names.size()) && codes[row] == std::floor(codes[row])))
          throw DataError(fmt::format("{}: row {} is {}, but label {} names the codes 0 to {}; recode it or leave values out", where, row, codes[row],
                                      one_line(label.name), names.size() - 1));
    } else {
      std::map<double, double> code_of;
      for (const double value : column.numbers)
        if (!std::isnan(value)) code_of.emplace(value, 0);
      if (code_of.size() > 1000)
        throw DataError(fmt::format("{}: has {} different values, too many for a categorical label; set kind of label {} to continuous", where,
                                    code_of.size(), one_line(label.name)));
      for (auto& [value, code] : code_of) {
        code = static_cast<double>(label.categories.size());
        label.categories.push_back(fmt::format("{:g}", value));
      }
      for (const double value : column.numbers) codes.push_back(std::isnan(value) ? value : code_of.at(value));
    }
    return codes;
  }

  std::vector<double> read_one_hot(const Source& source, LabelColumn& label, const std::vector<std::string>& names, std::string& where) {
    if (label.kind != LabelKind::categorical)
      throw ConfigError(source.path + ".columns: several columns make a categorical label; set kind to categorical");
    const DataFile& file = open(source.file, source.path);
    const NumpyArray& array = file.array(source.array);
    where = array.where;
    if (array.shape.size() != 2)
      throw DataError(fmt::format("{}: has shape [{}] and must be [time x category]", where, fmt::join(array.shape, " x ")));
    std::vector<std::int64_t> columns;
    for (const auto& column : source.columns) columns.push_back(column_number(file, array, column, source.path + ".columns"));
    label.categories = names;
    if (names.empty())
      for (const auto& column : source.columns) label.categories.push_back(column.is_string() ? column.get<std::string>() : column.dump());
    if (label.categories.size() != columns.size())
      throw ConfigError(fmt::format("{}: {} values for {} columns; give one name per column", source.path, label.categories.size(), columns.size()));
    const auto all = array.as<double>();
    std::vector<double> codes;
    for (std::int64_t row = 0; row < array.shape[0]; ++row) {
      double code = -1, sum = 0;
      for (std::size_t category = 0; category < columns.size(); ++category) {
        const double value = all[static_cast<std::size_t>(row * array.shape[1] + columns[category])];
        sum += value;
        if (value == 1)
          code = static_cast<double>(category);
        else if (value != 0 && !std::isnan(value))
          code = -2;
        if (code == -2) break;
      }
      if (std::isnan(sum))
        code = std::numeric_limits<double>::quiet_NaN();
      else if (code < 0 || sum != 1)
        throw DataError(fmt::format("{}: row {} is not one-hot in the columns of label {}: exactly one must be 1, the others 0", where, row,
                                    one_line(label.name)));
      codes.push_back(code);
    }
    return codes;
  }

  const Json& section_;
  std::filesystem::path base_;
  std::string default_file_, first_file_;
  std::map<std::string, DataFile> files_;
};

}  // namespace

Recording load_recording(const Json& section, const std::filesystem::path& base) {
  if (!section.is_object()) throw ConfigError("recording: must be an object with file, counts, spikes or simulate");
  return Loader(section, base).load();
}

Recording load_recording_file(const std::filesystem::path& path) { return load_recording(Json::object({{"file", text_of_path(path)}}), {}); }

}  // namespace idem
