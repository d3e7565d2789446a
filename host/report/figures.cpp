#include "host/report/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include "host/report/latents_figures.h"
#include "host/report/loss_parts.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using namespace gnuplot;

Figure loss_figure(Script& script, const std::vector<std::pair<const RunResult*, const RunView*>>& runs) {
  const RunResult& first = *runs.front().first;
  Figure figure{Figure::Kind::loss, fmt::format("loss-{}-{}", first.subject, first.model), "", true, 0, 0};
  figure.caption = fmt::format("{}, {}: loss parts per {}; solid: validation, dotted: training; one line per run ({}).",
                               first.subject, first.model, name_of(first.family->unit()), runs.size());
  std::vector<const RunResult*> results;
  for (const auto& [run, view] : runs) results.push_back(run);
  const auto panels = loss_panels(results);
  const int n_columns = panels.size() == 4 ? 2 : std::min<int>(3, static_cast<int>(panels.size()));
  const int n_rows = (static_cast<int>(panels.size()) + n_columns - 1) / n_columns;
  const int width = 70 + 350 * n_columns, height = 50 + 290 * n_rows;
  figure.width = width, figure.height = height;
  std::string body = std::string(look) + "set multiplot\n";
  body += fmt::format("set label 1 {} at screen {:.4f},{:.4f} left font ',14'\n",
                      quoted(first.subject + ", " + first.model), 50.0 / width, 1 - 20.0 / height);
  body += fmt::format(
      "set label 2 'solid: validation, dotted: training' at screen {:.4f},{:.4f} right textcolor rgb '#444444'\n",
      1 - 30.0 / width, 1 - 20.0 / height);
  for (std::size_t p = 0; p < panels.size(); ++p) {
    const LossPanel& panel = panels[p];
    const int column = static_cast<int>(p) % n_columns, row = static_cast<int>(p) / n_columns;
    const double cell_width = (1 - 40.0 / width) / n_columns, cell_height = (1 - 40.0 / height) / n_rows;
    const double left = 40.0 / width + cell_width * column, top = 1 - 40.0 / height - cell_height * row;
    body += screen_box(left + 46.0 / width, left + cell_width - 20.0 / width, top - cell_height + 56.0 / height,
                       top - 54.0 / height);
    body += fmt::format(
        "set label 3 {} at graph 0,1.20 left textcolor rgb '#222222'\nset xlabel {} offset 0,0.4 textcolor rgb "
        "'#444444'\n",
        quoted(panel.title), p + to_size(n_columns) >= panels.size() ? quoted(name_of(first.family->unit())) : "''");
    Range range;
    range.add(panel.low), range.add(panel.high);
    if (panel.logarithmic)
      body += fmt::format("set logscale y\nset format y '%.0e'\nset yrange [{:.6g}:{:.6g}]\n", panel.low / 1.5,
                          panel.high * 1.5);
    else
      body += "unset logscale y\nset format y '%g'\nset yrange " + range.text() + "\n";
    body +=
        "set xrange [*:*]\nset key at graph 0,1.09 left Left reverse horizontal samplen 1.2 textcolor rgb '#444444'\n";
    std::string plots;
    for (std::size_t part = 0; part < panel.parts.size(); ++part) {
      for (const bool valid : {false, true}) {
        const std::string block = script.data_block();
        std::vector<std::vector<double>> rows;
        for (const auto& [run, view] : runs) {
          for (const LoggedEpoch& record : run->epochs)
            rows.push_back({static_cast<double>(record.epoch),
                            loss_part(valid ? record.valid : record.train, panel.parts[part].key)});
          rows.push_back({});
        }
        script.add_rows(block, rows);
        const bool titled = panel.parts.size() > 1 && valid;
        plots += fmt::format("{}{} using 1:2 with lines lw {} dt {} lc rgb '#{:06x}' {}",
                             plots.empty() ? "plot " : ", ", block, valid ? 1.1 : 0.9, valid ? "1" : "(2,4)",
                             panel.parts[part].colour, titled ? "title " + quoted(panel.parts[part].name) : "notitle");
      }
    }
    body += plots + "\nunset label\n";
  }
  script.add_figure(figure, body);
  return figure;
}

Figure decoding_figure(Script& script, const RunResult& run, const RunView& view) {
  Figure figure{Figure::Kind::decoding, "decoding-" + run.name, "", true, 1080, 320};
  figure.caption =
      fmt::format("{}: {} decoded from label-free latents (dots) and measured (line) over the test bins, gaps cut out.",
                  run.name, view.colouring.value_name);
  std::vector<std::vector<double>> rows;
  const ViewTrack& track = view.track;
  for (std::size_t i = 0; i < track.time_s.size(); ++i) {
    if (std::isfinite(track.decoded_position[i]))
      rows.push_back({track.joined_s[i], track.true_position[i], track.decoded_position[i]});
    else
      rows.push_back({});
  }
  const std::string block = script.data_block();
  script.add_rows(block, rows);
  std::string body = std::string(look) + screen_box(0.07, 0.985, 0.20, 0.86);
  body += fmt::format(
      "set label 1 {} at screen 0.07,0.94 left font ',14'\nset xlabel 'test time (s), gaps cut out' textcolor rgb "
      "'#444444'\n",
      quoted(run.name));
  body += fmt::format(
      "set ylabel {} offset 1,0 textcolor rgb '#444444'\nset key at graph 1,1.16 right horizontal samplen 1.5 "
      "textcolor rgb '#444444'\nset xrange "
      "[*:*] noextend\n",
      quoted(value_label(view.colouring)));
  body += fmt::format(
      "plot {0} using 1:3 with points pt 7 ps 0.28 lc rgb '#d55e00' title 'decoded', {0} using 1:2 with lines lw 1.3 "
      "lc rgb '#222222' title "
      "'measured'\n",
      block);
  script.add_figure(figure, body);
  return figure;
}

}  // namespace

std::vector<Figure> write_figures(const StudyResult& study, const std::vector<RunView>& views,
                                  const std::string& gnuplot_program, std::string& warning) {
  std::vector<Figure> figures;
  if (study.runs.empty()) return figures;
  const std::filesystem::path folder = study.directory / "figures";
  std::error_code failure;
  std::filesystem::create_directories(folder, failure);
  if (failure)
    throw DataError(
        fmt::format("{}: cannot be made ({}); free the name or the permission", folder.string(), failure.message()));

  // Models in the order of the runs; of each split the run with the lowest seed.
  std::vector<std::pair<std::string, std::string>> models;
  std::map<std::pair<std::string, std::string>, std::vector<std::pair<const RunResult*, const RunView*>>> runs;
  for (std::size_t i = 0; i < study.runs.size(); ++i) {
    const std::pair key{study.runs[i].subject, study.runs[i].model};
    if (!runs.count(key)) models.push_back(key);
    runs[key].emplace_back(&study.runs[i], &views[i]);
  }
  std::vector<std::pair<const RunResult*, const RunView*>> first_seeds;
  std::set<const RunResult*> first_splits;
  for (const auto& model : models) {
    std::map<int, std::pair<const RunResult*, const RunView*>> of_split;
    for (const auto& run : runs[model])
      if (const auto found = of_split.find(run.first->split);
          found == of_split.end() || run.first->seed < found->second.first->seed)
        of_split[run.first->split] = run;
    first_splits.insert(of_split.begin()->second.first);
    for (const auto& [split, run] : of_split) first_seeds.push_back(run);
  }

  Script script(folder);
  for (const auto& [run, view] : first_seeds) {
    figures.push_back(latents_figure(script, *run, *view));
    figures.back().first_split = first_splits.count(run) > 0;
  }
  for (const auto& model : models)
    if (runs[model].size() > 1) figures.push_back(seeds_figure(script, runs[model]));
  for (const auto& model : models)
    if (std::any_of(runs[model].begin(), runs[model].end(), [](const auto& run) { return !run.first->epochs.empty(); }))
      figures.push_back(loss_figure(script, runs[model]));
  for (const auto& [run, view] : first_seeds) {
    if (view->track.time_s.empty()) continue;
    figures.push_back(decoding_figure(script, *run, *view));
    figures.back().first_split = first_splits.count(run) > 0;
  }

  const auto script_path = folder / ".figures.gp", said_path = folder / ".figures.log";
  write_file_bytes(script_path, script.text());
  const std::string fault = run_gnuplot(gnuplot_program, script_path, said_path);
  std::filesystem::remove(script_path, failure);
  std::filesystem::remove(said_path, failure);
  if (!fault.empty()) {
    warning = fmt::format("no static figures: {} ({}); install gnuplot-nox and run idem report {}", gnuplot_program,
                          fault, study.directory.string());
    figures.clear();
    std::filesystem::remove(folder, failure);  // only when empty
  }
  return figures;
}

}  // namespace idem
