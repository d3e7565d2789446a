#include "host/families/families.h"

#include <algorithm>
#include <stdexcept>

#include "host/families/cebra/cebra_family.h"
#include "host/families/gcl/gcl_family.h"
#include "host/families/vae/vae_family.h"
#include "host/support/json_fields.h"

namespace idem {

const std::vector<const Family*>& families() {
  static const std::vector<const Family*> all{&vae_family(), &cebra_family(), &gcl_family()};
  return all;
}

const Family* find_family(const std::string& name) {
  const auto found =
      std::find_if(families().begin(), families().end(), [&](const Family* family) { return family->name() == name; });
  return found == families().end() ? nullptr : *found;
}

const Family& family_of_objective(const std::string& objective) {
  for (const auto* family : families())
    if (family->maximises(objective)) return *family;
  throw std::invalid_argument("no family maximises " + objective);
}

void for_each_named_file(nlohmann::json& model, const std::function<void(nlohmann::json& value)>& change) {
  for (const auto* family : families())
    for (const auto& key : family->file_keys())
      if (const auto at = pointer_to(key); model.contains(at) && !model.at(at).is_null()) change(model.at(at));
}

std::vector<CaseKind> golden_cases() {
  std::vector<CaseKind> cases;
  for (const auto* family : families())
    for (auto& golden : family->golden_cases()) cases.push_back(std::move(golden));
  return cases;
}

std::vector<StepBench> step_benches() {
  std::vector<StepBench> benches;
  for (const auto* family : families())
    for (auto& bench : family->step_benches()) benches.push_back(std::move(bench));
  return benches;
}

}  // namespace idem
