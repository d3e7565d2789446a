// families.h - the families of models there are.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/families/family.h"

namespace idem {

const std::vector<const Family*>& families();

// Null where there is none of that name.
const Family* find_family(const std::string& name);
// That of objective.name; every objective of the schema is of one.
const Family& family_of_objective(const std::string& objective);

// Calls change(value) for every file that a model section names.
void for_each_named_file(nlohmann::json& model, const std::function<void(nlohmann::json& value)>& change);

// What `idem parity` knows and what `idem bench` times, of all families.
std::vector<CaseKind> golden_cases();
std::vector<StepBench> step_benches();

}  // namespace idem
