#include "host/report/profile_page.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "host/profile/compare_profiles.h"
#include "host/profile/profile_table.h"
#include "host/profile/step_figure.h"
#include "host/report/page.h"
#include "host/support/files.h"
#include "host/support/html.h"

namespace idem {
namespace {

constexpr std::size_t kMostFigures = 12;

constexpr const char* kSources =
    "<li>Roofline: Williams, Waterman, Patterson. Roofline: an insightful visual performance model for multicore "
    "architectures. Communications of the ACM 52(4), 65–76 (2009). doi 10.1145/1498765.1498785</li>\n";

std::string phases_html(const Profile& profile) {
  if (profile.phases.empty()) return {};
  const double all_s = seconds_of(profile.phases);
  std::string html =
      "<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th "
      "class=\"name\">phase</th><th>time</th><th>share</th>"
      "<th>peak memory</th><th class=\"word\"></th></tr></thead><tbody>\n";
  for (const auto& phase : profile.phases) {
    const double share = all_s > 0 ? 100 * phase.seconds / all_s : 0;
    html += fmt::format(
        "<tr><th class=\"name\">{}</th><td>{}</td><td>{:.1f}\u00a0%</td><td>{}</td><td class=\"word\"><span "
        "class=\"share\" style=\"width:{:.1f}%\"></span></td></tr>\n",
        escape_html(phase.name), seconds_text(phase.seconds), share,
        phase.peak_mib > 0 ? fmt::format("{:.0f}\u00a0MiB", phase.peak_mib) : "", share);
  }
  html += "</tbody></table></div>\n";
  if (profile.device_peak_mib > 0)
    html += fmt::format("<p class=\"note\">Arrays of the models on the device: {:.0f} MiB at most.</p>\n",
                        profile.device_peak_mib);
  return html;
}

std::string step_html(const StepProfile& step, const Roofs& roofs) {
  return fmt::format(
      "<h3 class=\"as-is\">{}</h3>\n<div class=\"profile\">{}</div>\n<details><summary>as a "
      "table</summary><pre>{}</pre></details>\n",
      escape_html(step.name), step_figure(step, roofs), escape_html(step_table(step, roofs)));
}

constexpr const char* kHowToRead =
    "<p class=\"note\">Each circle is an operation, its area the share of the step. FLOPs are additions and "
    "multiplications."
    " The slanted lines are what copies "
    "reach, the level ones what arithmetic reaches: an operation far below both waits for neither, but for its start, "
    "for other threads, or for something that it does badly. Circles at the left end do no arithmetic. The bar below "
    "is the step: parts, and the operations they consist of; its grey end is the host's own work between them. Where a "
    "GPU runs operations side by side, it is longer "
    "than the step.</p>\n";

void write_page(const std::filesystem::path& file, const std::string& title, const std::string& facts,
                const std::string& body) {
  write_file_bytes(
      file, page_of({.title = title, .facts = facts, .body = body, .sources = kSources}, built_in_report_assets()));
}

}  // namespace

std::string profile_section(const Profile& profile) {
  std::string html = phases_html(profile);
  const auto& steps = profile.steps;
  if (!steps.empty()) html += kHowToRead;
  for (std::size_t i = 0; i < std::min(steps.size(), kMostFigures); ++i) html += step_html(steps[i], profile.roofs);
  if (steps.size() > kMostFigures)
    html += fmt::format("<p class=\"note\">{} more steps, which took less time, are in profile.json.</p>\n",
                        steps.size() - kMostFigures);
  return html + fmt::format("<p class=\"note\">Timed by {}.</p>\n", escape_html(profile.method));
}

void write_profile_page(const std::filesystem::path& file, const Profile& profile) {
  write_page(file, "Profile", fmt::format("{} · idem {}", profile.device, profile.version),
             page_section("profile", "Where the time goes", profile_section(profile)));
}

void write_comparison_page(const std::filesystem::path& file, const ComparedRuns& runs, const Comparison& comparison) {
  const Profile &before = runs.before, &after = runs.after;
  std::string html = kHowToRead;
  html +=
      "<p class=\"note\">Rings and the first bar: before. Discs and the second bar: after. A line leads from one "
      "to the other.</p>\n";
  for (const auto& step : after.steps)
    if (const auto earlier = std::ranges::find(before.steps, step.name, &StepProfile::name);
        earlier != before.steps.end())
      html += fmt::format("<h3 class=\"as-is\">{}</h3>\n<p>{}</p>\n<div class=\"profile\">{}</div>\n",
                          escape_html(step.name), escape_html(verdicts_text(runs, comparison, step.name)),
                          step_figure(*earlier, step, after.roofs));
  html += fmt::format("<pre>{}</pre>\n", escape_html(changes_text(runs, comparison)));
  write_page(file, "Before and after",
             fmt::format("before: idem {} on {} · after: idem {} on {}", before.version, before.device, after.version,
                         after.device),
             page_section("profile", "What changed", html));
}

}  // namespace idem
