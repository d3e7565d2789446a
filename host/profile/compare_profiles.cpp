#include "host/profile/compare_profiles.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/evaluation/scores.h"
#include "host/profile/profile_table.h"
#include "host/support/errors.h"
#include "host/support/numpy_random.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

constexpr double kLeastChange = 0.05, kLeastShare = 0.01;
constexpr std::size_t kRunsOfAVerdict = 3;
constexpr std::size_t kRunsOfAllSplits = 5, kDrawnSplits = 200;  // 125 others of five runs each, 461 of six

struct NamedRoof {
  double Roofs::* rate;
  const char* name;
};
constexpr NamedRoof kRoofs[] = {{&Roofs::copy_bytes_per_s, "copy"},
                                {&Roofs::cache_bytes_per_s, "copy in cache"},
                                {&Roofs::multiply_add_flops_per_s, "multiply-adds"},
                                {&Roofs::product_flops_per_s, "products"},
                                {&Roofs::tf32_flops_per_s, "tf32"},
                                {&Roofs::bf16_flops_per_s, "bf16"}};

using Runs = std::vector<const Profile*>;

TimeChange change_of(const std::vector<double>& before, const std::vector<double>& after) {
  TimeChange change{.before_s = median(before), .after_s = median(after)};
  if (before.empty() || after.empty() || !(change.before_s > 0) || !(change.after_s > 0)) return change;
  const auto [least_before, most_before] = std::ranges::minmax(before);
  const auto [least_after, most_after] = std::ranges::minmax(after);
  change.ratio = change.after_s / change.before_s;
  change.low = most_before > 0 ? least_after / most_before : 0;
  change.high = least_before > 0 ? most_after / least_before : 0;
  const double spread = std::max(most_before - least_before, most_after - least_after);
  if (!(std::abs(change.after_s - change.before_s) > spread)) return change;
  if (change.low > 1 && change.ratio > 1 + kLeastChange) change.change = Change::slower;
  if (change.high < 1 && change.ratio < 1 / (1 + kLeastChange)) change.change = Change::faster;
  return change;
}

// n_each: runs, each with one time.
void compare_step(const StepProfile& before, const StepProfile& after, std::size_t n_each,
                  std::vector<TimeChange>& changes) {
  const auto add = [&](TimeChange change, const std::string& operation) {
    change.step = after.name;
    change.operation = operation;
    changes.push_back(std::move(change));
  };
  const auto is_in_all_runs = [&](const OperationProfile& of) { return n_each == 1 || of.seconds.size() == n_each; };
  add(change_of(before.seconds, after.seconds), "step");
  const double least = kLeastShare * std::min(before.operations_s(), after.operations_s());
  for (const auto& operation : after.operations) {
    const auto earlier = std::ranges::find(before.operations, operation.name, &OperationProfile::name);
    TimeChange change;
    if (earlier == before.operations.end()) {
      change = {.after_s = operation.median_s(),
                .work_after = operation.work,
                .change = Change::added,
                .is_in_all_runs = is_in_all_runs(operation)};
    } else {
      change = change_of(earlier->seconds, operation.seconds);
      change.work_before = earlier->work;
      change.work_after = operation.work;
      change.is_in_all_runs = is_in_all_runs(*earlier) && is_in_all_runs(operation);
      if (!change.is_in_all_runs || std::max(change.before_s, change.after_s) < least) change.change = Change::none;
    }
    add(std::move(change), operation.name);
  }
  for (const auto& operation : before.operations)
    if (std::ranges::find(after.operations, operation.name, &OperationProfile::name) == after.operations.end())
      add({.before_s = operation.median_s(),
           .work_before = operation.work,
           .change = Change::removed,
           .is_in_all_runs = is_in_all_runs(operation)},
          operation.name);
}

std::vector<TimeChange> changes_of(const Profile& before, const Profile& after, std::size_t n_each) {
  std::vector<TimeChange> changes;
  for (const auto& step : after.steps)
    if (const auto earlier = std::ranges::find(before.steps, step.name, &StepProfile::name);
        earlier != before.steps.end())
      compare_step(*earlier, step, n_each, changes);
  return changes;
}

bool is_verdict(const TimeChange& of) { return of.change == Change::slower || of.change == Change::faster; }

// Adds a run's medians to what `of` and its operations hold of the runs before.
void add_run(StepProfile& of, const StepProfile& run) {
  of.seconds.push_back(run.median_s());
  of.profiled_seconds.push_back(run.profiled_median_s());
  for (const auto& operation : run.operations) {
    auto found = std::ranges::find(of.operations, operation.name, &OperationProfile::name);
    if (found == of.operations.end()) {
      found = of.operations.insert(of.operations.end(), operation);
      found->seconds.clear();
    }
    found->seconds.push_back(operation.median_s());
  }
}

Profile together(const Runs& runs) {
  Profile all = *runs.front();
  if (runs.size() == 1) return all;
  for (const auto& [rate, name] : kRoofs) {
    std::vector<double> rates;
    for (const auto* run : runs) rates.push_back(run->roofs.*rate);
    all.roofs.*rate = median(rates);
  }
  std::erase_if(all.steps, [&](StepProfile& step) {
    step.seconds.clear();
    step.profiled_seconds.clear();
    step.operations.clear();
    for (const auto* run : runs)
      if (const auto found = std::ranges::find(run->steps, step.name, &StepProfile::name); found != run->steps.end())
        add_run(step, *found);
    std::ranges::stable_sort(step.operations, std::greater{}, &OperationProfile::median_s);
    return step.seconds.size() < runs.size();
  });
  return all;
}

void require_one_program(const std::vector<Profile>& runs, std::size_t begin, std::size_t end, const char* side) {
  for (std::size_t i = begin + 1; i < end; ++i)
    if (runs[i].version != runs[begin].version || runs[i].device != runs[begin].device)
      throw DataError(
          fmt::format("runs 1 and {} {} the change are of idem {} on {} and of idem {} on {}; name runs of one program "
                      "on one device",
                      i - begin + 1, side, runs[begin].version, runs[begin].device, runs[i].version, runs[i].device));
}

// Which runs are before, in every way to part them into two halves but theirs: the first always is, as it matters to no
// count which half is called before. Of many such ways some, always the same.
std::vector<std::vector<bool>> other_splits(std::size_t n_each) {
  std::vector<bool> as_they_are(2 * n_each);
  std::fill_n(as_they_are.begin(), n_each, true);
  std::vector<std::vector<bool>> splits;
  if (n_each <= kRunsOfAllSplits) {
    for (auto split = as_they_are; std::prev_permutation(split.begin(), split.end()) && split.front();)
      splits.push_back(split);
    return splits;
  }
  auto exchanged = as_they_are;
  exchanged.flip();
  NumpyRandom random(0);
  while (splits.size() < kDrawnSplits) {
    const auto order = random.permutation(static_cast<std::int32_t>(2 * n_each));
    std::vector<bool> split(2 * n_each);
    for (std::size_t i = 0; i < n_each; ++i) split[to_size(order[i])] = true;
    if (split != as_they_are && split != exchanged) splits.push_back(std::move(split));
  }
  return splits;
}

double verdicts_by_chance(const std::vector<Profile>& runs) {
  const auto splits = other_splits(runs.size() / 2);
  double n_verdicts = 0;
  for (const auto& is_before : splits) {
    Runs before, after;
    for (std::size_t i = 0; i < runs.size(); ++i) (is_before[i] ? before : after).push_back(&runs[i]);
    n_verdicts += static_cast<double>(
        std::ranges::count_if(changes_of(together(before), together(after), before.size()), is_verdict));
  }
  return n_verdicts / static_cast<double>(splits.size());
}

std::string verdict(const TimeChange& change, std::size_t n_each) {
  const std::string doubt = n_each < kRunsOfAVerdict ? "?" : "", some = change.is_in_all_runs ? "" : "in some runs";
  switch (change.change) {
    case Change::none: return some;
    case Change::slower: return "SLOWER" + doubt;
    case Change::faster: return "faster" + doubt;
    case Change::added: return "new" + (some.empty() ? some : ", " + some);
    case Change::removed: return "gone" + (some.empty() ? some : ", before " + some);
  }
  return "";
}

// Work that has changed is why a time has.
std::string work_text(const TimeChange& change) {
  std::string text;
  const auto add = [&](double before, double after, const char* what) {
    if (before > 0 && after > 0 && std::max(after / before, before / after) > 1.01)
      text += fmt::format(", {:.2f} x the {}", after / before, what);
  };
  add(change.work_before.bytes, change.work_after.bytes, "bytes");
  add(change.work_before.flops, change.work_after.flops, "FLOPs");
  return text;
}

std::string roofs_text(const Roofs& before, const Roofs& after) {
  std::string text;
  for (const auto& [rate, name] : kRoofs)
    if (before.*rate > 0 && after.*rate > 0)
      text += fmt::format("{}{} x {:.2f}", text.empty() ? "" : ", ", name, after.*rate / before.*rate);
  return text.empty() ? "" : "roofs of the device, after against before: " + text + "\n";
}

// What else than the program may have made times differ.
std::string surroundings_text(const ComparedRuns& runs) {
  std::set<std::string> methods[2];
  for (std::size_t i = 0; i < runs.runs.size(); ++i) methods[i / runs.n_each()].insert(runs.runs[i].method);
  std::string text;
  if (runs.before.device != runs.after.device)
    text += "before and after ran on different devices: times differ by that too\n";
  if (methods[0].size() > 1 || methods[0] != methods[1])
    text += fmt::format("before and after were timed differently: {} | {}: short operations differ by that alone\n",
                        fmt::join(methods[0], " or "), fmt::join(methods[1], " or "));
  return text;
}

}  // namespace

ComparedRuns compared_runs(std::vector<Profile> runs, std::vector<std::string> names) {
  const std::size_t n_each = runs.size() / 2;
  for (std::size_t i = names.size(); i < runs.size(); ++i) names.push_back(std::to_string(i + 1));
  require_one_program(runs, 0, n_each, "before");
  require_one_program(runs, n_each, runs.size(), "after");
  Runs before, after;
  for (const auto& run : runs) (before.size() < n_each ? before : after).push_back(&run);
  ComparedRuns compared{.runs = {}, .names = std::move(names), .before = together(before), .after = together(after)};
  compared.runs = std::move(runs);
  return compared;
}

Comparison compare_profiles(const ComparedRuns& runs) {
  Comparison comparison{.changes = changes_of(runs.before, runs.after, runs.n_each()), .by_chance = {}};
  if (comparison.changes.empty())
    throw DataError(fmt::format("the profiles have no step in common: the first holds {}, the second {}",
                                names_of(runs.before.steps), names_of(runs.after.steps)));
  if (runs.n_each() >= kRunsOfAVerdict) comparison.by_chance = verdicts_by_chance(runs.runs);
  return comparison;
}

std::string verdicts_text(const ComparedRuns& runs, const Comparison& comparison, const std::string& step) {
  std::string text;
  for (const auto& change : comparison.changes)
    if (change.step == step && is_verdict(change))
      text += fmt::format("{}{} {} (x {:.2f})", text.empty() ? "" : ", ", change.operation,
                          verdict(change, runs.n_each()), change.ratio);
  return text.empty() ? "nothing is slower or faster beyond noise" : text;
}

std::string changes_text(const ComparedRuns& runs, const Comparison& comparison) {
  const Profile &before = runs.before, &after = runs.after;
  const auto& changes = comparison.changes;
  const std::size_t n_each = runs.n_each();
  const auto half = runs.names.begin() + static_cast<std::ptrdiff_t>(n_each);
  std::string text =
      fmt::format("before: {} (idem {} on {})\nafter:  {} (idem {} on {})\n", fmt::join(runs.names.begin(), half, ", "),
                  before.version, before.device, fmt::join(half, runs.names.end(), ", "), after.version, after.device);
  text += roofs_text(before.roofs, after.roofs) + surroundings_text(runs);
  if (n_each < kRunsOfAVerdict)
    text += fmt::format(
        "{} of each: runs of one program differ too. Make {} or more of each, in turns, to be told without a \"?\".\n",
        n_each == 1 ? "one run" : "two runs", kRunsOfAVerdict);
  for (const auto& change : changes) {
    if (change.operation == "step")
      text += fmt::format("\n{}\n  {:32} {:>10} {:>10} {:>7} {:>15}\n", change.step, "", "before", "after", "ratio",
                          n_each == 1 ? "all repeats" : "all runs");
    const bool has_ratio = change.ratio > 0;
    text += fmt::format("  {:32} {:>10} {:>10} {:>7} {:>15}  {}{}\n", change.operation, seconds_text(change.before_s),
                        seconds_text(change.after_s), has_ratio ? fmt::format("{:.2f}", change.ratio) : "",
                        has_ratio ? fmt::format("{:.2f} to {:.2f}", change.low, change.high) : "",
                        verdict(change, n_each), work_text(change));
  }
  if (comparison.by_chance)
    text += fmt::format(
        "\n{} of {} lines are called SLOWER or faster; had runs been exchanged between before and after, {:.1f} would "
        "be, on "
        "average: so many are chance\n",
        std::ranges::count_if(changes, is_verdict),
        std::ranges::count_if(changes, [](const TimeChange& of) { return of.ratio > 0; }), *comparison.by_chance);
  return text;
}

}  // namespace idem
