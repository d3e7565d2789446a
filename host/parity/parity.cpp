#include "host/parity/parity.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/support/errors.h"
#include "host/support/one_line.h"

namespace idem {
namespace {

using Arrays = std::map<std::string, NumpyArray>;

const CaseKind& case_of(const std::vector<CaseKind>& cases, const std::string& name) {
  std::vector<std::string> known;
  for (const auto& golden : cases) {
    if (golden.name == name) return golden;
    known.push_back(golden.name);
  }
  throw std::invalid_argument(
      fmt::format("meta.case \"{}\" is not known; known: {}", one_line(name), fmt::join(known, ", ")));
}

}  // namespace

Arrays run_parity(Device& device, const std::vector<CaseKind>& cases, const Arrays& golden, Precision precision,
                  const std::string& where) {
  if (precision == Precision::fp64 && device.execution().cuda)
    throw ConfigError("--precision fp64 is the CPU's oracle; use --device cpu with it");
  const ParityCase checked(golden, where);
  try {
    if (checked.meta().has("indeterminate"))
      checked.meta().texts("indeterminate");  // which only the comparison reads, after all the work
    const CaseKind& named = case_of(cases, checked.meta().text("case"));
    auto computed = (precision == Precision::fp64 ? named.run_fp64 : named.run_fp32)(device, checked);
    for (const auto& [name, array] : computed)
      if (checked.has(name)) checked.array(name, array.shape);
    return computed;
  } catch (const std::invalid_argument& error) {  // a number of the meta, or a model that cannot be
    checked.fail(error.what());
  }
}

}  // namespace idem
