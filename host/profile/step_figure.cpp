#include "host/profile/step_figure.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <vector>

#include <fmt/format.h>

#include "host/profile/profile_table.h"
#include "host/support/html.h"

namespace idem {
namespace {

constexpr double kWidth = 400, kLeft = 46, kRight = 394, kTop = 12, kBottom = 262;
constexpr double kBarHeight = 22, kBarGap = 16, kLineHeight = 14;
constexpr double kNamedShare = 0.01;  // of the step, from which an operation has a number
constexpr double kAtLeft = 1. / 64;   // FLOPs per byte where operations without arithmetic stand, at most

// Okabe and Ito's colours, which everybody can tell apart.
std::string colour_of(const std::string& part) {
  static const std::map<std::string, std::string> colours = {
      {"layers", "#0072b2"},      {"latent", "#009e73"},   {"objective", "#d55e00"},
      {"contrastive", "#cc79a7"}, {"sampling", "#e69f00"}, {"optimizer", "#56b4e9"},
      {"input", "#b8a800"},       {"decode", "#8a5a2b"},   {"products", "#6b4fa0"}};
  const auto found = colours.find(part);
  return found == colours.end() ? "#808080" : found->second;
}

struct Axes {
  double low_x = 0, high_x = 0, low_y = 0, high_y = 0;  // powers of two and of ten

  double x(double intensity) const {
    const double inside = std::clamp(intensity, low_x, high_x);
    return kLeft + (kRight - kLeft) * std::log(inside / low_x) / std::log(high_x / low_x);
  }
  double y(double rate) const {
    const double inside = std::clamp(rate, low_y, high_y);
    return kBottom - (kBottom - kTop) * std::log(inside / low_y) / std::log(high_y / low_y);
  }
};

struct Point {
  double intensity = 0, rate = 0;  // at the left end for what does no arithmetic
};
Point point_of(const OperationProfile& of, double left) {
  const double seconds = of.median_s(), own = of.work.bytes > 0 ? of.work.flops / of.work.bytes : left;
  const double intensity = std::max(own, left);
  return {intensity, intensity * of.work.bytes / seconds};
}
bool is_drawn(const OperationProfile& of) { return of.median_s() > 0 && of.work.bytes > 0; }

Axes axes_for(const std::vector<const StepProfile*>& steps, const Roofs& roofs) {
  Axes axes{.low_x = kAtLeft, .high_x = 64, .low_y = 1e9, .high_y = 1e9};
  for (const double rate : {roofs.fp32_flops_per_s(), roofs.tf32_flops_per_s, roofs.bf16_flops_per_s})
    axes.high_y = std::max(axes.high_y, rate);
  axes.low_y = axes.high_y / 100;
  for (const auto* step : steps)
    for (const auto& operation : step->operations) {
      if (!is_drawn(operation) || operation.median_s() < kNamedShare * step->operations_s()) continue;
      const Point point = point_of(operation, axes.low_x);
      axes.high_x = std::max(axes.high_x, point.intensity);
      axes.low_y = std::min(axes.low_y, point.rate);
      axes.high_y = std::max(axes.high_y, point.rate);
    }
  axes.high_x = std::exp2(std::ceil(std::log2(axes.high_x) / 2) * 2);
  axes.low_y = std::pow(10, std::floor(std::log10(axes.low_y) - 0.1));
  axes.high_y *= 1.8;
  return axes;
}

std::string rate_text(double flops_per_s) {
  if (flops_per_s >= 1e12) return fmt::format("{:g}T", flops_per_s / 1e12);
  return flops_per_s >= 1e9 ? fmt::format("{:g}G", flops_per_s / 1e9) : fmt::format("{:g}M", flops_per_s / 1e6);
}

std::string line(double x1, double y1, double x2, double y2, const char* style) {
  return fmt::format("<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" {}/>\n", x1, y1, x2, y2, style);
}
std::string label(double x, double y, const char* anchor, const std::string& text, const char* style = "") {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" {}>{}</text>\n", x, y, anchor, style,
                     escape_html(text));
}

std::string grid(const Axes& axes) {
  std::string svg;
  constexpr const char* kFaint = "stroke=\"currentColor\" stroke-opacity=\".15\"";
  for (double x = axes.low_x; x <= axes.high_x * 1.001; x *= 4) {
    svg += line(axes.x(x), kTop, axes.x(x), kBottom, kFaint);
    const bool is_last = 4 * x > axes.high_x * 1.001;  // it would leave the picture
    svg += label(axes.x(x), kBottom + 12, is_last ? "end" : "middle",
                 x < 1 ? fmt::format("1/{:g}", 1 / x) : fmt::format("{:g}", x));
  }
  for (double y = axes.low_y; y <= axes.high_y; y *= 10) {
    svg += line(kLeft, axes.y(y), kRight, axes.y(y), kFaint);
    svg += label(kLeft - 4, axes.y(y) + 3.5, "end", rate_text(y));
  }
  svg += label((kLeft + kRight) / 2, kBottom + 26, "middle", "FLOPs per byte");
  return svg +
         fmt::format("<text transform=\"translate(10 {:.0f}) rotate(-90)\" text-anchor=\"middle\">FLOP/s</text>\n",
                     (kTop + kBottom) / 2);
}

// Memory's roofs rise to the highest of the others.
std::string roof_lines(const Axes& axes, const Roofs& roofs) {
  std::string svg;
  constexpr const char* kSolid = "stroke=\"currentColor\" stroke-opacity=\".7\"";
  constexpr const char* kDashed = "stroke=\"currentColor\" stroke-opacity=\".5\" stroke-dasharray=\"4 3\"";
  const double top = std::max({roofs.fp32_flops_per_s(), roofs.tf32_flops_per_s, roofs.bf16_flops_per_s});
  const auto memory = [&](double bytes_per_s, const char* name, const char* style) {
    if (!(bytes_per_s > 0)) return;
    const double from = std::max(axes.low_x, axes.low_y / bytes_per_s), to = std::min(axes.high_x, top / bytes_per_s);
    if (!(from < to)) return;
    svg += line(axes.x(from), axes.y(from * bytes_per_s), axes.x(to), axes.y(to * bytes_per_s), style);
    const double angle = std::atan2(axes.y(to * bytes_per_s) - axes.y(from * bytes_per_s), axes.x(to) - axes.x(from));
    svg += fmt::format("<text transform=\"translate({:.1f} {:.1f}) rotate({:.1f})\" font-size=\"9\">{}</text>\n",
                       axes.x(from) + 6, axes.y(from * bytes_per_s) - 8, angle * 57.2958,
                       escape_html(fmt::format("{} {:.0f} GB/s", name, bytes_per_s / 1e9)));
  };
  memory(roofs.copy_bytes_per_s, "copy", kSolid);
  memory(roofs.cache_bytes_per_s, "copy in cache", kDashed);
  const double highest_bandwidth = std::max(roofs.copy_bytes_per_s, roofs.cache_bytes_per_s);
  const auto compute = [&](double flops_per_s, const char* name, const char* style, double label_y = -3) {
    if (!(flops_per_s > 0)) return;
    const double from = highest_bandwidth > 0 ? flops_per_s / highest_bandwidth : axes.low_x;
    svg += line(axes.x(from), axes.y(flops_per_s), kRight, axes.y(flops_per_s), style);
    svg += label(kRight, axes.y(flops_per_s) + label_y, "end",
                 fmt::format("{} {}", name, rate_text(std::round(flops_per_s / 1e9) * 1e9)), "font-size=\"9\"");
  };
  // Of two lines a hair apart one is drawn.
  const bool is_one = std::abs(std::log(roofs.product_flops_per_s / roofs.multiply_add_flops_per_s)) < 0.12;
  compute(roofs.fp32_flops_per_s(),
          is_one                                                       ? "fp32 and product"
          : roofs.product_flops_per_s > roofs.multiply_add_flops_per_s ? "product"
                                                                       : "multiply-add",
          kSolid);
  if (!is_one)
    compute(std::min(roofs.product_flops_per_s, roofs.multiply_add_flops_per_s),
            roofs.product_flops_per_s > roofs.multiply_add_flops_per_s ? "multiply-add" : "product", kDashed, 10);
  compute(roofs.tf32_flops_per_s, "tf32", kDashed);
  compute(roofs.bf16_flops_per_s, "bf16", kDashed);
  return svg;
}

double radius(double share) { return std::max(1.5, 17 * std::sqrt(share)); }

// Numbers by the order of the step that comes last.
std::map<std::string, int> numbers_of(const StepProfile& step) {
  std::map<std::string, int> numbers;
  for (const auto& operation : step.operations)
    if (operation.median_s() >= kNamedShare * step.operations_s())
      numbers.emplace(operation.name, static_cast<int>(numbers.size()) + 1);
  return numbers;
}

std::string circles(const StepProfile& step, const Axes& axes, const std::map<std::string, int>& numbers, bool filled) {
  std::string svg;
  for (const auto& operation : step.operations) {
    if (!is_drawn(operation)) continue;
    const Point point = point_of(operation, axes.low_x);
    const double x = axes.x(point.intensity), y = axes.y(point.rate),
                 r = radius(operation.median_s() / step.operations_s());
    const std::string colour = colour_of(operation.part);
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"{:.1f}\" fill=\"{}\" fill-opacity=\".55\" stroke=\"{}\"{}/>\n", x, y,
        r, filled ? colour : "none", colour, filled ? "" : " stroke-dasharray=\"2 2\"");
    if (const auto number = numbers.find(operation.name); filled && number != numbers.end())
      svg += label(x, r > 7 ? y + 3.3 : y - r - 2, "middle", std::to_string(number->second),
                   "font-size=\"9\" font-weight=\"600\"");
  }
  return svg;
}

// From where an operation was to where it is.
std::string moves(const StepProfile& before, const StepProfile& after, const Axes& axes) {
  std::string svg;
  for (const auto& operation : after.operations) {
    const auto earlier = std::ranges::find(before.operations, operation.name, &OperationProfile::name);
    if (earlier == before.operations.end() || !is_drawn(*earlier) || !is_drawn(operation)) continue;
    const Point from = point_of(*earlier, axes.low_x), to = point_of(operation, axes.low_x);
    svg += line(axes.x(from.intensity), axes.y(from.rate), axes.x(to.intensity), axes.y(to.rate),
                "stroke=\"currentColor\" stroke-opacity=\".6\"");
  }
  return svg;
}

std::string segment(double x, double y, double width, double height, const std::string& colour, const std::string& text,
                    const std::string& title) {
  std::string svg = fmt::format(
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.2f}\" height=\"{:.0f}\" fill=\"{}\" fill-opacity=\".55\" "
      "stroke=\"{}\" "
      "stroke-width=\".5\"><title>{}</title></rect>\n",
      x, y, width, height, colour, colour, escape_html(title));
  if (width > 5.6 * static_cast<double>(text.size()) + 2)
    svg += label(x + width / 2, y + height / 2 + 3.5, "middle", text, "font-size=\"9\"");
  return svg;
}

// Parts of the step above the operations that they consist of. scale: pixels per second.
std::string bar(const StepProfile& step, double y, double scale, const std::map<std::string, int>& numbers) {
  std::vector<std::pair<std::string, double>> parts;
  for (const auto& operation : step.operations) {
    const auto found = std::ranges::find(parts, operation.part, &std::pair<std::string, double>::first);
    (found == parts.end() ? parts.emplace_back(operation.part, 0.0) : *found).second += operation.median_s();
  }
  std::ranges::stable_sort(parts, std::greater{}, &std::pair<std::string, double>::second);
  std::string svg;
  double x = 4;
  for (const auto& [part, seconds] : parts) {
    svg += segment(x, y, seconds * scale, kBarHeight, colour_of(part), part,
                   fmt::format("{}: {}", part, seconds_text(seconds)));
    for (const auto& operation : step.operations) {
      if (operation.part != part) continue;
      const double width = operation.median_s() * scale;
      const auto number = numbers.find(operation.name);
      svg += segment(x, y + kBarHeight, width, kBarHeight, colour_of(part),
                     number == numbers.end() ? "" : std::to_string(number->second),
                     fmt::format("{}: {}", operation.name, seconds_text(operation.median_s())));
      x += width;
    }
  }
  const double rest = step.profiled_median_s() - step.operations_s();
  if (rest > 0)
    svg += segment(x, y, rest * scale, 2 * kBarHeight, "#808080", "",
                   fmt::format("between operations: {}", seconds_text(rest)));
  return svg;
}

std::string legend(const StepProfile* before, const StepProfile& step, const std::map<std::string, int>& numbers,
                   const Roofs& roofs, double y) {
  std::string svg;
  constexpr double kColourX = 4;
  for (const auto& operation : step.operations) {
    const auto number = numbers.find(operation.name);
    if (number == numbers.end()) continue;
    const double seconds = operation.median_s(), share = seconds / step.operations_s();
    y += kLineHeight;
    svg += fmt::format("<rect x=\"{:.0f}\" y=\"{:.1f}\" width=\"9\" height=\"9\" fill=\"{}\" fill-opacity=\".7\"/>\n",
                       kColourX, y - 8, colour_of(operation.part));
    svg += label(32, y, "end", std::to_string(number->second));
    svg += label(38, y, "start", operation.name);
    svg += label(254, y, "end", seconds_text(seconds));
    svg += label(302, y, "end", fmt::format("{:.1f} %", 100 * share));
    std::string last = fmt::format("{:.0f} % of roof", 100 * roofs.seconds(operation.work) / seconds);
    if (before) {
      const auto earlier = std::ranges::find(before->operations, operation.name, &OperationProfile::name);
      last = earlier == before->operations.end() || earlier->median_s() <= 0
                 ? "new"
                 : fmt::format("x {:.2f} of before", seconds / earlier->median_s());
    }
    svg += label(kRight, y, "end", last);
  }
  return svg;
}

std::string figure(const StepProfile* before, const StepProfile& after, const Roofs& roofs) {
  std::vector<const StepProfile*> steps;
  if (before) steps.push_back(before);
  steps.push_back(&after);
  const Axes axes = axes_for(steps, roofs);
  const auto numbers = numbers_of(after);
  std::string svg = grid(axes) + roof_lines(axes, roofs);
  if (before) svg += moves(*before, after, axes) + circles(*before, axes, numbers, false);
  svg += circles(after, axes, numbers, true);
  double y = kBottom + 40, longest = 0;
  for (const auto* step : steps) longest = std::max({longest, step->profiled_median_s(), step->operations_s()});
  for (const auto* step : steps) {
    const std::string which = !before ? "" : step == before ? "before: " : "after: ";
    svg += label(4, y + 8, "start", fmt::format("{}a step takes {}", which, seconds_text(step->median_s())));
    svg += bar(*step, y + 14, longest > 0 ? (kWidth - 8) / longest : 0, numbers);
    y += 14 + 2 * kBarHeight + kBarGap;
  }
  svg += legend(before, after, numbers, roofs, y);
  y += kLineHeight * static_cast<double>(numbers.size()) + 10;
  return fmt::format(
             "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"step\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
             "font-family=\"system-ui, sans-serif\" font-size=\"10\" fill=\"currentColor\">\n<title>{}</title>\n",
             kWidth, y, escape_html(after.name)) +
         svg + "</svg>\n";
}

}  // namespace

std::string step_figure(const StepProfile& step, const Roofs& roofs) { return figure(nullptr, step, roofs); }
std::string step_figure(const StepProfile& before, const StepProfile& after, const Roofs& roofs) {
  return figure(&before, after, roofs);
}

}  // namespace idem
