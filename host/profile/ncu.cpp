#include "host/profile/ncu.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "engine/device/kernel_name.h"
#include "host/formats/csv.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

struct Figure {
  const char *metric, *name;
};
// Of many more that ncu tells: how long, what limits it, how it was started.
constexpr Figure kFigures[] = {
    {"gpu__time_duration.sum", "time"},
    {"sm__throughput.avg.pct_of_peak_sustained_elapsed", "% of compute"},
    {"gpu__compute_memory_throughput.avg.pct_of_peak_sustained_elapsed", "% of memory"},
    {"dram__throughput.avg.pct_of_peak_sustained_elapsed", "% of DRAM"},
    {"lts__t_sector_hit_rate.pct", "% found in L2"},
    {"sm__warps_active.avg.pct_of_peak_sustained_active", "% of warps"},
    {"smsp__issue_active.avg.pct_of_peak_sustained_active", "% of issue slots"},
    {"launch__registers_per_thread", "registers"},
    {"launch__grid_size", "blocks"},
    {"launch__waves_per_multiprocessor", "waves"},
};

std::string cell(const Table& table, std::int64_t row, std::int64_t column) {
  if (const auto text = table.text_columns.find(column); text != table.text_columns.end())
    return text->second[to_size(row)];
  const double number = table.numbers[to_size(row * table.n_columns + column)];
  return std::isnan(number) ? "" : fmt::format("{}", number);
}

}  // namespace

std::vector<NcuKernel> parse_ncu(std::string_view text, const std::string& where) {
  // A line of the table that begins with its names; the programs before it may have printed anything.
  const std::size_t name = text.find("\"Kernel Name\"");
  const std::size_t begin = name == std::string_view::npos ? name : text.rfind('\n', name);
  if (name == std::string_view::npos)
    throw DataError(where + ": holds no table of ncu; make it with ncu --csv --page raw ... > FILE.csv");
  const Table table = parse_csv(text.substr(begin == std::string_view::npos ? 0 : begin + 1), where);
  const auto column_of = [&](const char* column) {
    return std::ranges::find(table.column_names, column) - table.column_names.begin();
  };
  const auto kernel_column = column_of("Kernel Name");
  const auto id_column = column_of("ID");
  const auto has_figure = [&](const Figure& figure) { return column_of(figure.metric) < table.n_columns; };
  if (table.n_rows < 2 || std::ranges::none_of(kFigures, has_figure) ||
      (id_column < table.n_columns && !cell(table, 0, id_column).empty()))
    throw DataError(where +
                    ": is not what ncu --csv --page raw prints, names, units and a row for each kernel; make it anew");
  std::vector<NcuKernel> kernels;
  for (std::int64_t row = 1; row < table.n_rows; ++row) {  // the first holds units
    NcuKernel kernel{.kernel = short_kernel_name(cell(table, row, kernel_column)), .figures = {}};
    for (const auto& [metric, figure] : kFigures)
      if (const auto column = column_of(metric); column < table.n_columns && !cell(table, row, column).empty()) {
        const std::string unit = table.text_columns.contains(column) ? cell(table, 0, column) : "";
        kernel.figures.emplace_back(figure, cell(table, row, column) + (unit.empty() || unit == "%" ? "" : " " + unit));
      }
    kernels.push_back(std::move(kernel));
  }
  return kernels;
}

std::string ncu_json(const std::vector<NcuKernel>& kernels) {
  auto all = nlohmann::ordered_json::array();
  for (const auto& [kernel, figures] : kernels) {
    nlohmann::ordered_json of = {{"kernel", kernel}};
    for (const auto& [name, figure] : figures) of[name] = figure;
    all.push_back(std::move(of));
  }
  return all.dump(2) + "\n";
}

}  // namespace idem
