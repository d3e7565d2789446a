#include "host/recordings/read_labels.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numbers>

#include "host/formats/csv.h"
#include "host/recordings/spike_times.h"
#include "host/support/named.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using Json = nlohmann::json;

// Degrees taken for radians run over many turns, radians taken for degrees fill a sliver of one.
void warn_of_period(Recording& recording, const LabelColumn& label, double range) {
  const double turns = range / label.period;
  if (turns > 2.5)
    recording.warnings.push_back(
        fmt::format("circular label {} runs over {:.3g} turns of {:.4g} {}: unless it is an unwrapped angle, set its "
                    "period (degrees: 360)",
                    label.name, turns, label.period, label.unit));
  if (turns > 0 && turns < 0.1)
    recording.warnings.push_back(
        fmt::format("circular label {} fills {:.2g} % of a turn of {:.4g} {}: unless it hardly turned, set its period "
                    "(radians: leave it and unit out)",
                    label.name, 100 * turns, label.period, label.unit));
}

// A state lasts until the next sample: after the last one that is a guess, which is told.
void note_bins_after(Recording& recording, const LabelColumn& label, const SampledLabel& sampled,
                     const std::vector<double>& centres) {
  double last = -std::numeric_limits<double>::infinity();
  for (std::size_t sample = 0; sample < sampled.time_s.size(); ++sample)
    if (!std::isnan(sampled.values[sample])) last = sampled.time_s[sample];
  std::size_t n_after = 0;
  for (std::size_t time = 0; time < centres.size(); ++time)
    n_after += centres[time] > last && !std::isnan(label.values[time]);
  if (n_after > 0)
    recording.notes.push_back(fmt::format(
        "{} bins after the last sample of label {} keep its value (max_gap_s bounds how long)", n_after, label.name));
}

void align(SourceReader& sources, RecordingDraft& draft, LabelColumn& label, const Json& section, const std::string& at,
           const std::string& where) {
  Recording& recording = draft.recording;
  SampledLabel sampled;
  sampled.time_s = sources.read_numbers(sources.source_of(section.at("times"), at + ".times"),
                                        "name the column of times, in seconds");
  sampled.values = label.values;
  sampled.kind = label.kind;
  sampled.period = label.period;
  sampled.max_gap_s =
      option<double>(section, "max_gap_s", at).value_or(label.kind == LabelKind::categorical ? 0.0 : 1.0);
  const auto alignment = option<std::string>(section, "align", at).value_or("previous");
  if (alignment != "previous" && alignment != "nearest") throw ConfigError(at + ".align: must be previous or nearest");
  sampled.choice = alignment == "nearest" ? SampleChoice::nearest : SampleChoice::previous;
  if (sampled.time_s.size() != sampled.values.size())
    throw DataError(fmt::format("{}: label {} has {} values but {} times; both need one row per sample", where,
                                one_line(label.name), sampled.values.size(), sampled.time_s.size()));
  for (std::size_t row = 1; row < sampled.time_s.size(); ++row)
    if (!(sampled.time_s[row] > sampled.time_s[row - 1]))
      throw DataError(
          fmt::format("{}.times: row {} ({}) does not come after row {} ({}); sort the samples and remove repeats", at,
                      row, sampled.time_s[row], row - 1, sampled.time_s[row - 1]));
  std::vector<double> centres(draft.keeps.size());
  for (std::size_t time = 0; time < centres.size(); ++time)
    centres[time] = recording.time_s[time] + recording.bin_width_s / 2;
  label.values = align_label(sampled, centres);
  const std::size_t n_bins = centres.size();
  if (label.kind == LabelKind::categorical && sampled.choice == SampleChoice::previous)
    note_bins_after(recording, label, sampled, centres);
  const auto n_dropped = draft.drop_where([&](std::size_t time) { return std::isnan(label.values[time]); });
  const std::string dropped =
      fmt::format("{} bins outside the samples of label {} (or in gaps between them) dropped", n_dropped, label.name);
  if (to_size(n_dropped) > n_bins / 2)
    recording.warnings.push_back(
        fmt::format("{}, of {}: are its times and those of the counts or spikes of one clock, in seconds "
                    "(spikes.sampling_rate_hz)?",
                    dropped, n_bins));
  else if (n_dropped > 0)
    recording.notes.push_back(dropped);
}

// A column of numbers with a stray word in it is no column of names.
void require_categories(const Column& column, const std::string& name) {
  std::size_t n_numbers = 0, n_words = 0;
  double ignored;
  for (const auto& text : column.texts)
    if (!text.empty()) ++(parse_number(text, ignored) || parse_decimal_comma(text, ignored) ? n_numbers : n_words);
  if (n_numbers > 10 * n_words)
    throw DataError(fmt::format("{}: {}, or list every category of label {} in values", column.where,
                                describe_words(column.texts, ""), one_line(name)));
}

void require_few_categories(std::size_t n_categories, const std::string& where, const std::string& name) {
  if (n_categories > 1000)
    throw DataError(
        fmt::format("{}: has {} different values, too many for a categorical label; set kind of label {} to continuous",
                    where, n_categories, one_line(name)));
}

std::vector<double> read_label_values(SourceReader& sources, const Source& source, LabelColumn& label,
                                      const std::vector<std::string>& names, std::string& where) {
  Column column = sources.read_column(source, names);
  where = column.where;
  if (label.kind != LabelKind::categorical) {
    if (!column.texts.empty())
      throw DataError(fmt::format(
          "{}: {}", where,
          describe_words(column.texts, fmt::format("set kind of label {} to categorical", one_line(label.name)))));
    return std::move(column.numbers);
  }
  std::vector<double> codes;
  label.categories = names;
  if (!column.texts.empty()) {
    if (names.empty()) {
      require_categories(column, label.name);
      label.categories = column.texts;
      std::sort(label.categories.begin(), label.categories.end());
      label.categories.erase(std::unique(label.categories.begin(), label.categories.end()), label.categories.end());
      std::erase(label.categories, "");
    }
    require_few_categories(label.categories.size(), where, label.name);
    for (std::size_t row = 0; row < column.texts.size(); ++row) {
      const auto found = std::find(label.categories.begin(), label.categories.end(), column.texts[row]);
      if (found == label.categories.end() && column.texts[row].empty()) {  // missing: the NaN of a text column
        codes.push_back(std::numeric_limits<double>::quiet_NaN());
        continue;
      }
      if (found == label.categories.end())
        throw DataError(fmt::format("{}: row {} is \"{}\", which is not among the values of label {}; add it there",
                                    where, row, one_line(column.texts[row]), one_line(label.name)));
      codes.push_back(static_cast<double>(found - label.categories.begin()));
    }
  } else if (!names.empty()) {
    codes = column.numbers;
    for (std::size_t row = 0; row < codes.size(); ++row)
      if (!std::isnan(codes[row]) &&
          !(codes[row] >= 0 && codes[row] < static_cast<double>(names.size()) && codes[row] == std::floor(codes[row])))
        throw DataError(
            fmt::format("{}: row {} is {}, but label {} names the codes 0 to {}; recode it or leave values out", where,
                        row, codes[row], one_line(label.name), names.size() - 1));
  } else {
    std::map<double, double> code_of;
    for (const double value : column.numbers)
      if (!std::isnan(value)) code_of.emplace(value, 0);
    require_few_categories(code_of.size(), where, label.name);
    for (auto& [value, code] : code_of) {
      code = static_cast<double>(label.categories.size());
      label.categories.push_back(fmt::format("{:g}", value));
    }
    for (const double value : column.numbers) codes.push_back(std::isnan(value) ? value : code_of.at(value));
  }
  return codes;
}

std::vector<double> read_one_hot(SourceReader& sources, const Source& source, LabelColumn& label,
                                 const std::vector<std::string>& names, std::string& where) {
  if (label.kind != LabelKind::categorical)
    throw ConfigError(source.path + ".columns: several columns make a categorical label; set kind to categorical");
  const DataFile& file = sources.open(source.file, source.path);
  const NumpyArray& array = file.array(source.array);
  where = array.where;
  if (array.shape.size() != 2)
    throw DataError(
        fmt::format("{}: has shape [{}] and must be [time x category]", where, fmt::join(array.shape, " x ")));
  std::vector<std::int64_t> columns;
  for (const auto& column : source.columns)
    columns.push_back(SourceReader::column_number(file, array, column, source.path + ".columns"));
  label.categories = names;
  if (names.empty())
    for (const auto& column : source.columns)
      label.categories.push_back(column.is_string() ? column.get<std::string>() : column.dump());
  if (label.categories.size() != columns.size())
    throw ConfigError(fmt::format("{}: {} values for {} columns; give one name per column", source.path,
                                  label.categories.size(), columns.size()));
  const auto all = array.as<double>();
  std::vector<double> codes;
  for (std::int64_t row = 0; row < array.shape[0]; ++row) {
    double code = -1, sum = 0;
    for (std::size_t category = 0; category < columns.size(); ++category) {
      double value = all[to_size(row * array.shape[1] + columns[category])];
      if (sources.is_missing_code(value)) value = std::numeric_limits<double>::quiet_NaN();
      sum += value;
      if (value == 1)
        code = static_cast<double>(category);
      else if (value != 0 && !std::isnan(value))
        code = -2;
      if (code == -2) break;
    }
    if (code != -2 && std::isnan(sum))
      code = std::numeric_limits<double>::quiet_NaN();
    else if (code < 0 || sum != 1)
      throw DataError(
          fmt::format("{}: row {} is not one-hot in the columns of label {}: exactly one must be 1, the others 0",
                      where, row, one_line(label.name)));
    codes.push_back(code);
  }
  return codes;
}

}  // namespace

void read_label(SourceReader& sources, RecordingDraft& draft, const Json& section, const std::string& path) {
  LabelColumn label;
  label.name = option<std::string>(section, "name", path).value_or("");
  if (label.name.empty()) throw ConfigError(path + ".name: is missing; give the label a name");
  const std::string at = fmt::format("{} ({})", path, one_line(label.name));
  label.kind = named<LabelKind>(option<std::string>(section, "kind", path).value_or("continuous"));
  const bool is_circular = label.kind == LabelKind::circular, is_categorical = label.kind == LabelKind::categorical;
  label.unit = option<std::string>(section, "unit", path).value_or(is_circular ? "rad" : "");
  const bool in_degrees = label.unit == "deg" || label.unit == "degrees";
  if (is_circular)
    label.period = option<double>(section, "period", path).value_or(in_degrees ? 360 : 2 * std::numbers::pi);
  if (is_circular && !(label.period > 0)) throw ConfigError(at + ".period: must be above 0");
  const auto names = option<std::vector<std::string>>(section, "values", path).value_or(std::vector<std::string>{});
  if (!is_categorical && !names.empty())
    throw ConfigError(at + ".values: only categorical labels have named values; set kind to categorical");
  const auto missing = option<std::string>(section, "missing", path).value_or("error");
  if (missing != "error" && missing != "drop") throw ConfigError(at + ".missing: must be error or drop");

  const Source source = sources.source_of(section, at);
  std::string where;
  if (section.contains("align") && !is_categorical)
    throw ConfigError(at +
                      ".align: only categorical labels are taken from the previous or nearest sample, others are "
                      "interpolated; remove it");
  if (section.contains("align") && !section.contains("times"))
    throw ConfigError(
        at +
        ".align: the label has one value per bin and nothing is to be aligned; remove it, or give the label's times");
  label.values = source.columns.empty() ? read_label_values(sources, source, label, names, where)
                                        : read_one_hot(sources, source, label, names, where);
  std::size_t n_missing = 0;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (std::size_t row = 0; row < label.values.size(); ++row) {
    const double value = label.values[row];
    if (std::isinf(value)) throw DataError(fmt::format("{}: row {} is {}; correct it", where, row, value));
    if (std::isnan(value) && missing == "error")
      throw DataError(
          fmt::format("{}: row {} is NaN or empty (label {}); fill it, or set \"missing\": \"drop\" for that label",
                      where, row, one_line(label.name)));
    n_missing += std::isnan(value);
    low = std::fmin(low, value);
    high = std::fmax(high, value);
    if (is_circular && !std::isnan(value)) label.values[row] = wrap_to_period(value, label.period);
  }
  Recording& recording = draft.recording;
  if (is_circular) warn_of_period(recording, label, high - low);
  if (section.contains("times")) {
    align(sources, draft, label, section, at, where);
  } else {
    if (label.values.size() != draft.keeps.size())
      throw DataError(
          fmt::format("{}: label {} has {} values for {} bins{}; give one per bin, or the label's own \"times\"", where,
                      one_line(label.name), label.values.size(), draft.keeps.size(),
                      label.values.size() == to_size(recording.n_neurons)
                          ? " and as many neurons: if the counts are [neuron x time], set recording.counts.transpose"
                          : ""));
    const auto n_dropped = draft.drop_where([&](std::size_t time) { return std::isnan(label.values[time]); });
    if (n_dropped > 0)
      recording.notes.push_back(fmt::format("{} bins without a value of label {} dropped", n_dropped, label.name));
  }
  recording.labels.push_back(std::move(label));
}

}  // namespace idem
