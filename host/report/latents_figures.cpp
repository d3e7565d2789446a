#include "host/report/latents_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <numbers>
#include <set>

#include "kernels/common/to_size.h"

namespace idem {
namespace {

using namespace gnuplot;

constexpr const char* split_titles[] = {"train", "valid", "test"};

std::string bins_title(std::size_t split, const ViewPoints& points) {
  const bool all = points.size() == to_size(points.n_of);
  return all ? fmt::format("{}, {} bins", split_titles[split], points.n_of)
             : fmt::format("{}, {} of {} bins", split_titles[split], points.size(), points.n_of);
}

// Vertical colour bars (or plain swatches) in a column of the page, drawn with the next plot. Screen coordinates.
std::string colour_key(const Colouring& colouring, const Figure& figure, double left, double bottom, double top) {
  std::string text;
  const double bar_width = 15.0 / figure.width, bar_step = 32.0 / figure.width, gap = 7.0 / figure.width;
  if (colouring.groups[0].stops.size() == 1) {
    double y = top;
    for (const auto& group : colouring.groups) {
      if (group.name.empty()) continue;
      text += fmt::format(
          "set object rect from screen {:.4f},{:.4f} to screen {:.4f},{:.4f} fc rgb '#{:06x}' fs solid noborder\n",
          left, y - 18.0 / figure.height, left + bar_width, y, group.stops[0]);
      text += fmt::format("set label {} at screen {:.4f},{:.4f} left\n", quoted(group.name), left + bar_width + gap,
                          y - 9.0 / figure.height);
      y -= 28.0 / figure.height;
    }
    return text;
  }
  constexpr int n_steps = 64;
  for (std::size_t g = 0; g < colouring.groups.size(); ++g) {
    const double x = left + static_cast<double>(g) * bar_step;
    for (int step = 0; step < n_steps; ++step) {
      const double low = bottom + (top - bottom) * step / n_steps,
                   high = std::min(top, bottom + (top - bottom) * (step + 1.5) / n_steps);
      const double value = colouring.low + (colouring.high - colouring.low) * (step + 0.5) / n_steps;
      text += fmt::format(
          "set object rect from screen {:.4f},{:.4f} to screen {:.4f},{:.4f} fc rgb '#{:06x}' fs solid noborder\n", x,
          low, x + bar_width, high, colouring.colour(g, value));
    }
    if (!colouring.groups[g].name.empty())
      text += fmt::format("set label {} at screen {:.4f},{:.4f} left rotate by 45\n", quoted(colouring.groups[g].name),
                          x, top + 14.0 / figure.height);
  }
  const double right = left + static_cast<double>(colouring.groups.size() - 1) * bar_step + bar_width + gap;
  for (const double share : {0.0, 0.5, 1.0})
    text +=
        fmt::format("set label '{:.3g}' at screen {:.4f},{:.4f} left\n",
                    colouring.low + (colouring.high - colouring.low) * share, right, bottom + (top - bottom) * share);
  text += fmt::format("set label {} at screen {:.4f},{:.4f} left\n", quoted(value_label(colouring)), left,
                      bottom - 30.0 / figure.height);
  return text;
}

// What one panel of latents shows: with one latent it runs against the colour's value, with more than three the first
// three are drawn.
struct LatentPanel {
  std::size_t n_axes = 2;
  std::vector<std::array<double, 3>> points;
  std::vector<Rgb> colours;
};

LatentPanel latent_panel(const RunView& view, std::size_t split, bool with_labels, std::size_t max_points) {
  const ViewPoints& source = view.splits[split];
  const auto& means = with_labels || !view.has_encoder ? source.posterior_mean : source.encoder_mean;
  const auto n_latents = to_size(view.n_latents);
  LatentPanel panel;
  panel.n_axes = n_latents >= 3 ? 3 : 2;
  for (const std::size_t i : evenly_thinned(source.size(), max_points)) {
    std::array<double, 3> point{};
    if (n_latents == 1)
      point = {means[i], source.value[i], 0};
    else
      for (std::size_t axis = 0; axis < panel.n_axes; ++axis) point[axis] = means[i * n_latents + axis];
    bool finite = true;
    for (std::size_t axis = 0; axis < panel.n_axes; ++axis) finite = finite && std::isfinite(point[axis]);
    if (!finite) continue;
    panel.points.push_back(point);
    panel.colours.push_back(view.colouring.colour(source.group[i], source.value[i]));
  }
  return panel;
}

// Three latents are seen from above the corner where latents 1 and 2 are lowest, without perspective. A latent's scale
// is arbitrary: the box has no numbers. gnuplot's own splot keeps neither to margins nor to a row of panels.
constexpr double azimuth = 35 * std::numbers::pi / 180, elevation = 25 * std::numbers::pi / 180;

std::array<double, 3> projected(const std::array<double, 3>& p) {  // across, up, towards the eye
  const double across = p[0] * std::cos(azimuth) - p[1] * std::sin(azimuth),
               away = p[0] * std::sin(azimuth) + p[1] * std::cos(azimuth);
  return {across, p[2] * std::cos(elevation) + away * std::sin(elevation),
          p[2] * std::sin(elevation) - away * std::cos(elevation)};
}

// Makes the panels' common axes; three latents become places on the page, the farthest first.
std::string panel_axes(const std::vector<LatentPanel*>& panels) {
  std::array<Range, 3> ranges;
  for (const LatentPanel* panel : panels)
    for (const auto& point : panel->points)
      for (std::size_t axis = 0; axis < panel->n_axes; ++axis) ranges[axis].add(point[axis]);
  if (panels.front()->n_axes < 3) return "set xrange " + ranges[0].text() + "\nset yrange " + ranges[1].text() + "\n";
  for (LatentPanel* panel : panels) {
    std::vector<std::pair<std::array<double, 3>, Rgb>> placed;
    for (std::size_t i = 0; i < panel->points.size(); ++i) {
      std::array<double, 3> unit{};
      for (std::size_t axis = 0; axis < 3; ++axis)
        unit[axis] = ranges[axis].high > ranges[axis].low
                         ? 2 * (panel->points[i][axis] - ranges[axis].low) / (ranges[axis].high - ranges[axis].low) - 1
                         : 0;
      placed.emplace_back(projected(unit), panel->colours[i]);
    }
    std::stable_sort(placed.begin(), placed.end(),
                     [](const auto& a, const auto& b) { return a.first[2] < b.first[2]; });
    for (std::size_t i = 0; i < placed.size(); ++i)
      panel->points[i] = placed[i].first, panel->colours[i] = placed[i].second;
  }
  return "set xrange [-1.62:1.62]\nset yrange [-1.75:1.62]\nunset border\nunset tics\n";
}

// The box around three latents: all edges but the three that meet in the corner next to the eye.
std::string add_box(Script& script) {
  const std::string block = script.data_block();
  std::vector<std::vector<double>> rows;
  for (int axis = 0; axis < 3; ++axis)
    for (int corner = 0; corner < 4; ++corner) {
      std::array<double, 3> from{}, nearest{-1, -1, 1};
      from[to_size((axis + 1) % 3)] = corner & 1 ? 1 : -1;
      from[to_size((axis + 2) % 3)] = corner & 2 ? 1 : -1;
      from[to_size(axis)] = nearest[to_size(axis)];
      if (from == nearest) continue;
      std::array<double, 3> to = from;
      to[to_size(axis)] = -from[to_size(axis)];
      for (const auto& end : {projected(from), projected(to)}) rows.push_back({end[0], end[1]});
      rows.push_back({});
    }
  script.add_rows(block, rows);
  return block;
}

// Names along the two lowest edges and the left one.
std::string box_labels() {
  const auto name = [](int number, const std::array<double, 3>& middle, const char* offset) {
    const auto place = projected(middle);
    return fmt::format("set label {} 'latent {}' at {:.4f},{:.4f} {} textcolor rgb '#444444'\n", 10 + number, number,
                       place[0], place[1], offset);
  };
  return name(1, {0, -1, -1}, "left offset 0.5,-0.7") + name(2, {-1, 0, -1}, "right offset -0.5,-0.7") +
         name(3, {-1, 1, 0}, "center rotate by 90 offset -1,0");
}

std::string panel_plot(const std::string& block, const LatentPanel& panel, const std::string& box_block,
                       double point_size) {
  std::string plots;
  if (!box_block.empty()) plots += box_block + " using 1:2 with lines lw 0.5 lc rgb '#bbbbbb'";
  if (!panel.points.empty())
    plots += fmt::format("{}{} using 1:2:3 with points pt 7 ps {} lc rgb variable", plots.empty() ? "" : ", ", block,
                         point_size);
  return plots.empty() ? "plot 1/0\n" : "plot " + plots + "\n";
}

}  // namespace

std::string value_label(const Colouring& colouring) {
  return colouring.value_name + (colouring.unit.empty() ? "" : fmt::format(" ({})", colouring.unit));
}

Figure latents_figure(Script& script, const RunResult& run, const RunView& view) {
  const bool two_rows = view.has_encoder && view.has_posterior;
  Figure figure{Figure::Kind::latents, "latents-" + run.name, "", true, 1080, two_rows ? 700 : 360};
  const bool three = view.n_latents >= 3;
  const std::string box = three ? add_box(script) : "";
  const char* which = !view.has_posterior ? "label-free latents"
                      : !view.has_encoder
                          ? "with-label latents (posterior mean)"
                          : "label-free latents (top, encoder mean) and with-label latents (bottom, posterior mean)";
  figure.caption = fmt::format("{}: {} of train, valid and test bins{}.", run.name, which,
                               view.n_latents > 3 ? ", the first three of " + std::to_string(view.n_latents) : "");
  std::string body = std::string(look) + "set multiplot\n";
  for (int row = 0; row < 2; ++row) {
    if (!(row == 0 ? view.has_encoder : view.has_posterior)) continue;
    std::vector<LatentPanel> panels;
    for (std::size_t split = 0; split < 3; ++split)
      panels.push_back(latent_panel(view, split, row == 1, max_view_points));
    body += panel_axes({&panels[0], &panels[1], &panels[2]});
    for (std::size_t split = 0; split < 3; ++split) {
      const std::string block = script.data_block();
      if (!panels[split].points.empty()) script.add_points(block, panels[split].points, panels[split].colours);
      const double left = 0.065 + 0.28 * static_cast<double>(split), bottom = !two_rows  ? 0.14
                                                                              : row == 0 ? 0.555
                                                                                         : 0.075;
      const double top = bottom + (two_rows ? 0.36 : 0.68);
      body += screen_box(left, left + 0.245, bottom, top);
      body += fmt::format("set title {} textcolor rgb '#222222' offset 0,-0.4\n",
                          quoted(bins_title(split, view.splits[split])));
      body += fmt::format("set xlabel {} offset 0,0.4 textcolor rgb '#444444'\n",
                          (row == 1 || !view.has_posterior) && !three ? "'latent 1'" : "''");
      const std::string second = view.n_latents == 1 ? value_label(view.colouring) : "latent 2";
      body += fmt::format("set ylabel {} offset 1,0 textcolor rgb '#444444'\n",
                          split == 0 && !three ? quoted(second) : "''");
      if (split == 0) {
        body +=
            fmt::format("set label 99 {} at screen 0.065,{:.3f} left font ',14'\n",
                        row == 0 ? "'Label-free'" : "'With labels: posterior mean'", top + (two_rows ? 0.06 : 0.12));
        if (row == 0 || !two_rows)
          body +=
              colour_key(view.colouring, figure, 0.91, bottom + (top - bottom) * 0.18, bottom + (top - bottom) * 0.9);
      }
      if (three) body += box_labels();
      body += panel_plot(block, panels[split], box, three ? 0.28 : 0.32);
      body += "unset label\nunset object\n";
    }
  }
  script.add_figure(figure, body);
  return figure;
}

Figure seeds_figure(Script& script, const std::vector<std::pair<const RunResult*, const RunView*>>& runs) {
  const RunResult& first = *runs.front().first;
  Figure figure{Figure::Kind::seeds, fmt::format("seeds-{}-{}", first.subject, first.model), "", true, 0, 0};
  std::set<std::uint64_t> seed_set;
  std::set<int> split_set;
  for (const auto& [run, view] : runs) seed_set.insert(run->seed), split_set.insert(run->split);
  constexpr std::size_t max_cells = 8;
  std::vector<std::uint64_t> seeds(seed_set.begin(), seed_set.end());
  std::vector<int> splits(split_set.begin(), split_set.end());
  const bool all = seeds.size() <= max_cells && splits.size() <= max_cells;
  seeds.resize(std::min(seeds.size(), max_cells)), splits.resize(std::min(splits.size(), max_cells));
  const std::string kind = runs.front().second->has_encoder ? "label-free" : "with-label";
  figure.caption =
      fmt::format("{}, {}: {} latents of the test bins, one panel per run (columns: seeds, rows: splits{}).",
                  first.subject, first.model, kind, all ? "" : "; the first eight of each");
  const double n_columns = static_cast<double>(seeds.size()), n_rows = static_cast<double>(splits.size());
  const int width = 110 + 190 * static_cast<int>(seeds.size()) + 110,
            height = 80 + 180 * static_cast<int>(splits.size());
  figure.width = width, figure.height = height;
  const double left0 = 60.0 / width, right0 = 1 - 130.0 / width, bottom0 = 20.0 / height, top0 = 1 - 50.0 / height;
  std::string body = std::string(look) + "set multiplot\nset format x ''\nset format y ''\nset tics scale 0.3\n";
  body += fmt::format("set label 1 {} at screen {:.4f},{:.4f} left font ',14'\n",
                      quoted(first.subject + ", " + first.model + ": test bins, " + kind), left0, 1 - 14.0 / height);
  body += colour_key(runs.front().second->colouring, figure, right0 + 30.0 / width,
                     top0 - 190.0 / height > bottom0 ? top0 - 150.0 / height : bottom0 + 40.0 / height,
                     top0 - 40.0 / height);
  const bool three = std::any_of(runs.begin(), runs.end(), [](const auto& run) { return run.second->n_latents >= 3; });
  const std::string box = three ? add_box(script) : "";
  bool decorated = false;
  for (const auto& [run, view] : runs) {
    const auto column = std::find(seeds.begin(), seeds.end(), run->seed);
    const auto row = std::find(splits.begin(), splits.end(), run->split);
    if (column == seeds.end() || row == splits.end()) continue;
    LatentPanel panel = latent_panel(*view, 2, false, 700);
    const std::string axes = panel_axes({&panel});
    const std::string block = script.data_block();
    if (!panel.points.empty()) script.add_points(block, panel.points, panel.colours);
    const double cell_width = (right0 - left0) / n_columns, cell_height = (top0 - bottom0) / n_rows;
    const double left = left0 + cell_width * static_cast<double>(column - seeds.begin()),
                 top = top0 - cell_height * static_cast<double>(row - splits.begin());
    body +=
        screen_box(left + 0.04 * cell_width, left + 0.96 * cell_width, top - 0.93 * cell_height, top - 22.0 / height);
    body += fmt::format("set title 'seed {}, split {}' offset 0,-0.7 textcolor rgb '#222222'\n", run->seed, run->split);
    body += axes + panel_plot(block, panel, view->n_latents >= 3 ? box : "", 0.22);
    if (!decorated) body += "unset label\nunset object\n";
    decorated = true;
  }
  script.add_figure(figure, body);
  return figure;
}

}  // namespace idem
