#include "host/recordings/read_recording.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "host/recordings/plausibility.h"
#include "host/recordings/read_labels.h"
#include "host/recordings/read_neurons.h"
#include "host/recordings/read_sources.h"
#include "host/recordings/recording_draft.h"
#include "host/recordings/simulators.h"
#include "host/support/utf8.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using Json = nlohmann::json;

std::string name_without_endings(const std::filesystem::path& path) {
  std::string name = path.filename().string();
  name = name.substr(0, name.find('.', 1));
  for (char& letter : name)
    if (!std::isalnum(static_cast<unsigned char>(letter)) && letter != '_' && letter != '-') letter = '_';
  return name;
}

Recording load_simulation(const Json& section) {
  for (const char* key : {"file", "labels", "times", "gaps", "gaps_s", "trials", "bin_width_ms", "start_s", "stop_s",
                          "trials_are_segments", "missing_values", "accept"})
    if (section.contains(key))
      throw ConfigError(fmt::format("recording.{}: has no meaning beside recording.simulate; remove it", key));
  Recording recording = simulate_recording(section.at("simulate"));
  if (const auto subject = option<std::string>(section, "subject", "recording")) recording.subject = *subject;
  check_recording(recording, "recording.simulate");
  return recording;
}

void read_times(SourceReader& sources, RecordingDraft& draft) {
  if (!sources.section().contains("times")) return;
  Recording& recording = draft.recording;
  const Source source = sources.source_of(sources.section().at("times"), "recording.times");
  recording.time_s = sources.read_numbers(source, "name the column of the bins' times, in seconds");
  if (recording.time_s.size() != draft.keeps.size())
    throw DataError(fmt::format("recording.times: {} times for {} bins; give one per bin", recording.time_s.size(),
                                draft.keeps.size()));
  for (std::size_t time = 1; time < draft.keeps.size(); ++time) {
    const double step = recording.time_s[time] - recording.time_s[time - 1];
    if (!(step > 0))
      throw DataError(fmt::format("recording.times: row {} does not come after row {}; sort the bins", time, time - 1));
    if (step < 0.5 * recording.bin_width_s)
      throw DataError(
          fmt::format("recording.times: rows {} and {} are {:.6g} s apart, less than a bin of {:.6g} s; check "
                      "bin_width_ms, and that times are in seconds",
                      time - 1, time, step, recording.bin_width_s));
    if (step > 1.5 * recording.bin_width_s) draft.begins_segment[time] = 1;
  }
}

// Bins [begin, end) of one value, or without a value.
struct ValueRun {
  std::size_t begin = 0, end = 0;
  bool is_missing = false;
  std::string value;
};

std::vector<ValueRun> runs_of(SourceReader& sources, const RecordingDraft& draft, const Json& value,
                              const std::string& path) {
  const Column column = sources.read_column(sources.source_of(value, path));
  if (column.size() != draft.keeps.size())
    throw DataError(fmt::format("{}: {} has {} rows for {} bins; give one value per bin", path, column.where,
                                column.size(), draft.keeps.size()));
  std::vector<ValueRun> runs;
  for (std::size_t time = 0; time < column.size(); ++time) {
    if (time == 0 || !column.is_equal(time, time - 1))
      runs.push_back({time, time, column.is_missing(time),
                      column.texts.empty() ? fmt::format("{:g}", column.numbers[time]) : column.texts[time]});
    runs.back().end = time + 1;
  }
  return runs;
}

// One value that comes back between trials which each have their own is hardly a trial.
void warn_of_code_between_trials(Recording& recording, const std::vector<ValueRun>& runs) {
  std::map<std::string, std::size_t> n_runs;
  for (const auto& run : runs)
    if (!run.is_missing) ++n_runs[run.value];
  const auto most =
      std::max_element(n_runs.begin(), n_runs.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
  const std::size_t n_others = n_runs.size() - 1;
  const bool others_are_single = std::all_of(n_runs.begin(), n_runs.end(),
                                             [&](const auto& of) { return of.first == most->first || of.second == 1; });
  if (n_others >= 3 && most->second + 1 >= n_others && others_are_single)
    recording.warnings.push_back(
        fmt::format("the trials' value {0} comes back {1} times between {2} others: if it means no trial, add it to "
                    "recording.missing_values",
                    one_line(most->first), most->second, n_others));
}

std::size_t bin_of(const RecordingDraft& draft, const Json& value, const std::string& path, std::size_t limit) {
  if (!value.is_number_integer() || value.get<std::int64_t>() < 0 || to_size(value.get<std::int64_t>()) > limit)
    throw ConfigError(fmt::format("{}: {} is no bin of this recording; bins are whole numbers from 0 to {}", path,
                                  one_line(value.dump()), draft.keeps.size() - 1));
  return to_size(value.get<std::int64_t>());
}

void read_gaps(SourceReader& sources, RecordingDraft& draft) {
  if (sources.section().contains("gaps")) {
    const Json& gaps = sources.section().at("gaps");
    if (gaps.is_array())
      for (const auto& gap : gaps)
        draft.begins_segment[bin_of(draft, gap, "recording.gaps", draft.keeps.size() - 1)] = 1;
    else
      for (const auto& run : runs_of(sources, draft, gaps, "recording.gaps")) draft.begins_segment[run.begin] = 1;
  }
  const auto stretches = option<std::vector<std::array<double, 2>>>(sources.section(), "gaps_s", "recording")
                             .value_or(std::vector<std::array<double, 2>>{});
  std::int64_t n_dropped = 0;
  for (const auto& [from, to] : stretches) {
    if (!(from < to))
      throw ConfigError(fmt::format("recording.gaps_s: [{}, {}] does not go forward in time", from, to));
    const Recording& recording = draft.recording;
    // A bin whose edge is the end of the gap does not touch it, whatever the last digit of a sum says.
    const double slack = 1e-6 * recording.bin_width_s;
    for (std::size_t time = 0; time < draft.keeps.size(); ++time)
      if (draft.keeps[time] && recording.time_s[time] + recording.bin_width_s > from + slack &&
          recording.time_s[time] < to - slack) {
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

void read_trials(SourceReader& sources, RecordingDraft& draft) {
  Recording& recording = draft.recording;
  const auto n_times = draft.keeps.size();
  if (sources.section().contains("trials")) {
    const Json& trials = sources.section().at("trials");
    recording.trials.clear();
    const auto add = [&](std::size_t begin, std::size_t end) {
      if (begin >= end || (!recording.trials.empty() && static_cast<std::int64_t>(begin) < recording.trials.back().end))
        throw ConfigError(fmt::format(
            "recording.trials: the trial from bin {} to {} is empty or overlaps the one before; list them in order",
            begin, end));
      recording.trials.push_back({static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end)});
    };
    if (!trials.is_array()) {
      std::size_t n_between = 0;
      const auto runs = runs_of(sources, draft, trials, "recording.trials");
      for (const auto& run : runs) {
        if (run.is_missing)
          n_between += run.end - run.begin;
        else
          add(run.begin, run.end);
      }
      if (recording.trials.empty())
        throw DataError("recording.trials: the column holds no trial, every value is missing; name another column");
      warn_of_code_between_trials(recording, runs);
      recording.notes.push_back(
          fmt::format("{} trials{}", recording.trials.size(),
                      n_between > 0 ? fmt::format(", {} bins without a trial's value between them", n_between) : ""));
    } else {
      for (std::size_t trial = 0; trial < trials.size(); ++trial) {
        if (trials[trial].is_array() && trials[trial].size() == 2) {
          add(bin_of(draft, trials[trial][0], "recording.trials", n_times - 1),
              bin_of(draft, trials[trial][1], "recording.trials", n_times));
        } else {
          const auto begin = bin_of(draft, trials[trial], "recording.trials", n_times - 1);
          add(begin,
              trial + 1 < trials.size() ? bin_of(draft, trials[trial + 1], "recording.trials", n_times - 1) : n_times);
        }
      }
    }
  }
  if (!option<bool>(sources.section(), "trials_are_segments", "recording").value_or(false)) return;
  if (recording.trials.empty())
    throw ConfigError("recording.trials_are_segments: there are no trials; declare them in recording.trials");
  for (const auto& trial : recording.trials) {
    draft.begins_segment[to_size(trial.begin)] = 1;
    if (to_size(trial.end) < n_times) draft.begins_segment[to_size(trial.end)] = 1;
  }
}

void cut(const Json& section, RecordingDraft& draft) {
  Recording& recording = draft.recording;
  const double slack = 1e-6 * recording.bin_width_s;
  const auto start = option<double>(section, "start_s", "recording"),
             stop = option<double>(section, "stop_s", "recording");
  const auto n_dropped = draft.drop_where([&](std::size_t time) {
    return (start && recording.time_s[time] < *start - slack) ||
           (stop && recording.time_s[time] + recording.bin_width_s > *stop + slack);
  });
  if (n_dropped > 0) recording.notes.push_back(fmt::format("{} bins outside start_s and stop_s dropped", n_dropped));
}

}  // namespace

Recording load_recording(const Json& section, const std::filesystem::path& base) {
  if (!section.is_object()) throw ConfigError("recording: must be an object with file, counts, spikes or simulate");
  const bool has_counts = section.contains("counts"), has_spikes = section.contains("spikes"),
             has_simulation = section.contains("simulate");
  if (has_counts + has_spikes + has_simulation > 1)
    throw ConfigError("recording: counts, spikes and simulate exclude each other; keep one");
  if (has_simulation) return load_simulation(section);
  SourceReader sources(section, base);
  if (!has_counts && !has_spikes && sources.default_file().empty())
    throw ConfigError("recording: says nothing about where the data are; give file, counts, spikes or simulate");
  RecordingDraft draft(has_counts   ? read_counts(sources)
                       : has_spikes ? read_spikes(sources)
                                    : read_known_file(sources));
  Recording& recording = draft.recording;
  const std::string& file = sources.first_file();
  if (const auto subject = option<std::string>(section, "subject", "recording")) recording.subject = *subject;
  if (recording.subject.empty()) recording.subject = file.empty() ? "" : name_without_endings(file);
  const std::string where = file.empty() ? "recording" : file;
  if (recording.n_times <= 0 || recording.n_neurons <= 0)
    check_recording(recording, where);  // says so; what follows counts on bins
  if (!has_spikes && !is_accepted(section, "low-rate")) require_plausible_counts(recording, where);
  if (recording.neuron_ids.empty())
    for (std::int32_t neuron = 0; neuron < recording.n_neurons; ++neuron) recording.neuron_ids.push_back(neuron);
  if (!has_spikes) read_times(sources, draft);
  read_gaps(sources, draft);
  read_trials(sources, draft);
  if (section.contains("labels")) {
    recording.labels.clear();
    std::size_t index = 0;
    for (const auto& label : section.at("labels"))
      read_label(sources, draft, label, fmt::format("recording.labels[{}]", index++));
  }
  cut(section, draft);
  const auto file_notes = sources.notes();
  recording.notes.insert(recording.notes.begin(), file_notes.begin(), file_notes.end());
  const std::int32_t n_all = recording.n_times;
  Recording kept = std::move(draft).finish();
  if (n_all > 0 && kept.n_times == 0)
    throw DataError(fmt::format("{}: all {} bins were dropped: {}; check recording.start_s, stop_s and the label times",
                                where, n_all, fmt::join(kept.notes, "; ")));
  check_recording(kept, where);
  return kept;
}

Recording load_recording_file(const std::filesystem::path& path) {
  return load_recording(Json::object({{"file", text_of_path(path)}}), {});
}

}  // namespace idem
