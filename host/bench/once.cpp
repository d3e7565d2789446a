#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "host/bench/bench.h"
#include "host/support/errors.h"

namespace idem {
namespace {

// How many characters have to be put in, taken out or exchanged to make the text of a name, or of any part of it.
std::size_t distance_between(const std::string& text, const std::string& name, bool of_a_part) {
  std::vector<std::size_t> row(name.size() + 1);
  if (!of_a_part) std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < text.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < name.size(); ++j) {
      const std::size_t exchanged = diagonal + (text[i] != name[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({exchanged, row[j] + 1, row[j + 1] + 1});
    }
  }
  return of_a_part ? *std::min_element(row.begin(), row.end()) : row.back();
}

BenchCase case_named(const std::string& name, const std::vector<StepBench>& steps, bool on_gpu) {
  if (auto step = step_case_named(steps, name)) return *step;
  for (auto& bench : operation_cases(on_gpu))
    if (bench.name == name) return bench;
  const auto near = cases_near(name, steps, on_gpu);
  throw ConfigError(
      fmt::format("--once {}: there is no such case; near it are {}, {} and {}; steps take any number of members, as "
                  "step/pi-vae-60/7",
                  name, near[0], near[1], near[2]));
}

}  // namespace

std::vector<std::string> cases_near(const std::string& text, const std::vector<StepBench>& steps, bool on_gpu) {
  std::vector<std::string> names;
  for (const auto& cases : {operation_cases(on_gpu), step_cases(steps, on_gpu)})
    for (const auto& bench : cases) names.push_back(bench.name);
  const auto rank = [&](const std::string& name) {
    return std::make_pair(distance_between(text, name, true), distance_between(text, name, false));
  };
  std::stable_sort(names.begin(), names.end(),
                   [&](const std::string& a, const std::string& b) { return rank(a) < rank(b); });
  return names;
}

void check_memory(const Device& device, const std::vector<StepBench>& steps, const std::string& name,
                  const std::string& option) {
  const double bytes = bytes_of_step(steps, name), free = static_cast<double>(device.free_bytes());
  if (free == 0 || bytes <= free) return;
  const std::string n_members = name.substr(name.rfind('/') + 1);
  throw DeviceError(fmt::format("{}: {} about {:.1f} GiB of {:.1f} that are free; {}", option,
                                n_members == "1" ? "needs" : n_members + " members need", bytes / 0x1p30, free / 0x1p30,
                                n_members == "1" ? "choose another case" : "take fewer"));
}

std::string run_once(const BenchArguments& arguments) {
  const auto device = make_device(arguments.device, arguments.n_threads, arguments.precision, arguments.convolutions);
  BenchCase bench = case_named(arguments.once, arguments.steps, device->execution().cuda);
  check_memory(*device, arguments.steps, bench.name, "--once " + arguments.once);
  bench.count.emplace();  // no floor is told
  const PreparedBench prepared = bench.prepare(*device, {}, bench);
  const auto reset = [&] {
    if (prepared.reset) prepared.reset();
  };
  reset();
  prepared.sequence->run(1);
  reset();
  device->profiled([&] { prepared.sequence->run(1); });
  return fmt::format("{} ran once on {}\n", bench.name, device->name());
}

}  // namespace idem
