// simulate [CASES] - the table of the simulations of host/statistics: what tests ask of 400 cases, of CASES (4000), and
// the power at paired trial deviations of a recording's size, of which nothing is asked. Takes minutes for thousands.
#include <cmath>
#include <cstdlib>

#include <fmt/format.h>

#include "tests/host/statistics/simulated_scores.h"

namespace idem {
namespace {

std::string percent(int count, int n_cases) {
  const double share = static_cast<double>(count) / n_cases;
  return fmt::format("{:.1f} ± {:.1f}", 100 * share, 100 * std::sqrt(share * (1 - share) / n_cases));
}

void print_intervals(int n_cases) {
  fmt::print(
      "| splits | seeds | seed sd | trials | better or worse, % | interval holds the truth, % "
      "|\n|---|---|---|---|---|---|\n");
  for (const int n_splits : {1, 3})
    for (const int n_seeds : {2, 3, 5})
      for (const double seed_sd : {0.0, 0.5, 1.0})
        for (const bool heavy_tails : {false, true}) {
          const auto [n_verdicts, n_covered] = counts_of(
              {.n_splits = n_splits, .n_seeds = n_seeds, .seed_sd = seed_sd, .heavy_tails = heavy_tails}, n_cases);
          fmt::print("| {} | {} | {} | {} | {} | {} |\n", n_splits, n_seeds, seed_sd,
                     heavy_tails ? "heavy-tailed" : "normal", percent(n_verdicts, n_cases),
                     percent(n_covered, n_cases));
        }
}

void print_power(int n_cases) {
  fmt::print("\n| paired trial sd | found, % |\n|---|---|\n");
  for (const double trial_sd : {1.0, 2.0, 3.0})
    fmt::print(
        "| {} | {} |\n", trial_sd,
        percent(counts_of({.seed_sd = 0.3, .trial_sd = trial_sd, .difference = 1}, n_cases).n_verdicts, n_cases));
}

}  // namespace
}  // namespace idem

int main(int argc, char** argv) {
  const int n_cases = argc > 1 ? std::atoi(argv[1]) : 4000;
  idem::print_intervals(n_cases);
  idem::print_power(n_cases);
}
