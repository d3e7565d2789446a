#include "host/parity/golden_case.h"

#include <cmath>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/support/one_line.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

constexpr std::int64_t kMostExtent = 1 << 20, kMostElements = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMostAlphas = 4096;

bool is_usable(const NumpyArray& array) {
  for (const auto extent : array.shape)
    if (extent < 1 || extent > kMostExtent) return false;
  return array.size() <= kMostElements;
}

}  // namespace

ParityCase::ParityCase(const std::map<std::string, NumpyArray>& arrays, std::string where)
    : arrays_(arrays), where_(std::move(where)) {
  const NumpyArray& meta = find("meta");
  if (!meta.is_text() || meta.size() != 1) fail("array \"meta\" is not one text");
  try {
    meta_text_ = parse_json_text(meta.text());
    meta_.emplace(meta_text_, "meta");
  } catch (const std::invalid_argument& error) {
    fail(fmt::format("its meta cannot be used: {}", error.what()));
  }
}

void ParityCase::fail(const std::string& what) const {
  throw DataError(fmt::format("{}: {}; write the case again, as tests/golden holds them", where_, what));
}

const NumpyArray& ParityCase::find(const std::string& name) const {
  const auto found = arrays_.find(name);
  if (found == arrays_.end()) fail(fmt::format("array \"{}\" is missing", one_line(name)));
  return found->second;
}

const std::vector<std::int64_t>& ParityCase::shape(const std::string& name, std::size_t n_axes) const {
  const NumpyArray& found = find(name);
  if (found.is_text()) fail(fmt::format("array \"{}\" holds text where numbers are needed", one_line(name)));
  if (found.shape.size() != n_axes || !is_usable(found))
    fail(fmt::format("array \"{}\" has shape [{}], {} axes of 1 to {} are needed", one_line(name),
                     fmt::join(found.shape, " x "), n_axes, kMostExtent));
  return found.shape;
}

const NumpyArray& ParityCase::array(const std::string& name, const std::vector<std::int64_t>& shape) const {
  const NumpyArray& found = find(name);
  if (found.is_text()) fail(fmt::format("array \"{}\" holds text where numbers are needed", one_line(name)));
  if (found.shape != shape || !is_usable(found))
    fail(fmt::format("array \"{}\" has shape [{}], [{}] is needed", one_line(name), fmt::join(found.shape, " x "),
                     fmt::join(shape, " x ")));
  return found;
}

double ParityCase::scalar(const std::string& name) const {
  const double value = values(name, {}).front();
  if (!std::isfinite(value)) fail(fmt::format("array \"{}\" is {}, a finite number is needed", one_line(name), value));
  return value;
}

std::vector<double> ParityCase::alphas(const std::string& name) const {
  const auto n = to_size(extent(name, 1, 0));
  auto grid = values(name, {static_cast<std::int64_t>(n)});
  if (n > kMostAlphas)
    fail(fmt::format("array \"{}\" has {} values, at most {} are possible", one_line(name), n, kMostAlphas));
  for (const double alpha : grid)
    if (!(alpha >= 0 && alpha <= 1))
      fail(fmt::format("array \"{}\" holds {:g}, numbers from 0 to 1 are needed", one_line(name), alpha));
  return grid;
}

std::vector<double> ParityCase::meta_numbers(const char* key, std::size_t n, double low, double high) const {
  auto values = meta().numbers(key, low, high);
  if (values.size() != n) fail(fmt::format("meta.{} has {} numbers, {} are needed", key, values.size(), n));
  return values;
}

void ParityCase::require_parameters(const std::set<std::string>& names) const {
  for (const auto& [name, array] : arrays_)
    for (const std::string_view prefix : {"param0.", "grad.", "param_after."})
      if (name.starts_with(prefix) && !names.contains(name.substr(prefix.size())))
        fail(fmt::format("array \"{}\" is of no weight that the case's model has", one_line(name)));
}

void ParityCase::require_memory(std::size_t bytes) const {
  constexpr std::size_t most = std::size_t{8} << 30;
  if (bytes > most)
    fail(fmt::format("takes {:.0f} GiB of memory, at most {} are possible", static_cast<double>(bytes) / 0x1p30,
                     most >> 30));
}

}  // namespace idem
