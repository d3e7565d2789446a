#include "host/profile/profile_table.h"

#include <algorithm>
#include <numeric>
#include <set>
#include <string_view>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace idem {
namespace {

std::string operation_line(const OperationProfile& of, double all_s, const Roofs& roofs) {
  const double seconds = of.median_s(), roof_s = roofs.seconds(of.work);
  return fmt::format("  {:32} {:>10} {:5.1f} % {:6.4g} {:>8} {:>9} {:>6}\n", of.name, seconds_text(seconds),
                     all_s > 0 ? 100 * seconds / all_s : 0, of.calls,
                     seconds > 0 ? giga_text(of.work.bytes / seconds) : "",
                     seconds > 0 ? giga_text(of.work.flops / seconds) : "",
                     seconds > 0 && roof_s > 0 ? fmt::format("{:.0f}", 100 * roof_s / seconds) : "");
}

std::string kernel_line(const KernelProfile& of) {
  std::string line = fmt::format("    {:30} {:>10} {:7} {:6.4g}", of.kernel, seconds_text(of.seconds), "", of.calls);
  if (of.launch.blocks > 0)
    line += fmt::format("   {} blocks of {} threads, {:.2g} waves, {} registers, {:.0f} % of warps", of.launch.blocks,
                        of.launch.threads, of.launch.waves, of.launch.registers, 100 * of.launch.occupancy);
  return line + "\n";
}

// ncu writes "(int)4" where other demanglers write "4".
std::string without_int_casts(std::string name) {
  constexpr std::string_view kCast = "(int)";
  for (std::size_t at = name.find(kCast); at != std::string::npos; at = name.find(kCast)) name.erase(at, kCast.size());
  return name;
}
// ncu shows templates without their arguments or with them, as it is told.
std::string without_template_arguments(const std::string& name) { return name.substr(0, name.find('<')); }

std::string ncu_lines(const std::string& kernel, const std::vector<NcuKernel>& of_ncu) {
  const auto first = [&](const auto& form) {
    return std::ranges::find_if(of_ncu, [&](const NcuKernel& of) { return form(of.kernel) == form(kernel); });
  };
  auto found = first(without_int_casts);
  if (found == of_ncu.end()) found = first(without_template_arguments);
  if (found == of_ncu.end()) return {};
  std::string line = "      ncu:";
  for (const auto& [name, figure] : found->figures)
    line += fmt::format(" {}{} {}", line.ends_with(':') ? "" : "| ", name, figure);
  return line + "\n";
}

// Of ncu's kernels those that no operation of the step started.
std::string strangers_line(const StepProfile& step, const std::vector<NcuKernel>& of_ncu) {
  std::set<std::string> names;
  for (const auto& of : of_ncu) names.insert(without_template_arguments(of.kernel));
  for (const auto& operation : step.operations) {
    for (const auto& kernel : operation.kernels) names.erase(without_template_arguments(kernel.kernel));
    if (operation.kernels.empty()) names.erase(operation.name + "_kernel");
  }
  return names.empty() ? "" : fmt::format("  ncu: not of this step's operations: {}\n", fmt::join(names, ", "));
}

}  // namespace

std::string giga_text(double per_s) { return per_s > 0 ? fmt::format("{:.1f}", per_s / 1e9) : std::string(); }

std::string seconds_text(double seconds) {
  if (seconds <= 0) return "";
  if (seconds < 1e-3) return fmt::format("{:.2f} us", 1e6 * seconds);
  return seconds < 1 ? fmt::format("{:.2f} ms", 1e3 * seconds) : fmt::format("{:.2f} s", seconds);
}

std::string step_table(const StepProfile& step, const Roofs& roofs, const std::vector<NcuKernel>& of_ncu) {
  const double all_s = step.operations_s(), profiled_s = step.profiled_median_s();
  std::string table = fmt::format("\n{}\n  {:32} {:>10} {:>7} {:>6} {:>8} {:>9} {:>6}\n", step.name, "", "time", "",
                                  "calls", "GB/s", "GFLOP/s", "% roof");
  for (const auto& operation : step.operations) {
    table += operation_line(operation, all_s, roofs);
    for (const auto& kernel : operation.kernels) table += kernel_line(kernel) + ncu_lines(kernel.kernel, of_ncu);
    if (operation.kernels.empty()) table += ncu_lines(operation.name + "_kernel", of_ncu);
  }
  table +=
      fmt::format("  {:32} {:>10}   {:.1f} % of the {} that a step takes while it is looked at", "operations together",
                  seconds_text(all_s), profiled_s > 0 ? 100 * all_s / profiled_s : 0, seconds_text(profiled_s));
  if (step.seconds != step.profiled_seconds) table += fmt::format(", and {} otherwise", seconds_text(step.median_s()));
  if (step.seconds == step.profiled_seconds)  // of a study
    table += fmt::format("; {} ran, about {} in all", step.n_run, seconds_text(step.all_s()));
  return table + "\n" + strangers_line(step, of_ncu);
}

std::string phases_table(const std::vector<StudyPhase>& phases) {
  if (phases.empty()) return {};
  const double all_s = seconds_of(phases);
  std::string table =
      fmt::format("\nphases of the study\n  {:32} {:>10} {:>7} {:>12}\n", "", "time", "", "peak memory");
  for (const auto& phase : phases)
    table += fmt::format("  {:32} {:>10} {:5.1f} % {:>12}\n", phase.name, seconds_text(phase.seconds),
                         all_s > 0 ? 100 * phase.seconds / all_s : 0,
                         phase.peak_mib > 0 ? fmt::format("{:.0f} MiB", phase.peak_mib) : "");
  return table + fmt::format("  {:32} {:>10}\n", "together", seconds_text(all_s));
}

std::string profile_text(const Profile& profile, const std::vector<NcuKernel>& of_ncu) {
  std::string text = fmt::format("idem {} on {}\ntimed by {}\n", profile.version, profile.device, profile.method);
  const Roofs& roofs = profile.roofs;
  text += fmt::format("roofs: copy {} GB/s, in cache {} GB/s; multiply-adds {} GFLOP/s, products {} GFLOP/s",
                      giga_text(roofs.copy_bytes_per_s), giga_text(roofs.cache_bytes_per_s),
                      giga_text(roofs.multiply_add_flops_per_s), giga_text(roofs.product_flops_per_s));
  if (roofs.tf32_flops_per_s > 0)
    text += fmt::format(", tf32 {}, bf16 {}", giga_text(roofs.tf32_flops_per_s), giga_text(roofs.bf16_flops_per_s));
  text += "\n% roof: above 100 from caches";
  if (!of_ncu.empty()) text += "\nncu: figures of a kernel's first launch";
  text += "\n" + phases_table(profile.phases);
  if (profile.device_peak_mib > 0)
    text += fmt::format("  arrays on the device, at most         {:.0f} MiB\n", profile.device_peak_mib);
  for (const auto& step : profile.steps) text += step_table(step, roofs, of_ncu);
  return text;
}

}  // namespace idem
