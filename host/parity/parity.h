// parity.h - runs a golden case: the steps a file describes, from its weights, inputs and noise, so that another
// program's numbers can be compared.
//
// A case is an .npz whose `meta` (JSON text) names it; what each name means, its family says (golden.h of each). Sizes
// are read from the arrays. Results carry the case's own names.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "engine/device/device.h"
#include "host/formats/npz.h"
#include "host/parity/golden_case.h"

namespace idem {

enum class Precision { fp32, fp64 };

// A kind of case: its name (meta.case), and what runs it. Throws std::invalid_argument for a number of the meta that
// makes no sense, DataError for arrays.
struct CaseKind {
  using Run = std::map<std::string, NumpyArray> (*)(Device& device, const ParityCase& golden);
  std::string name;
  Run run_fp32, run_fp64;
};

// cases: the known kinds. Throws DataError, before anything is computed with it, for a file that is no golden case,
// lacks an array, or whose arrays and numbers do not fit each other (golden_case.h); ConfigError for fp64 on a GPU.
// where: the file, for messages.
std::map<std::string, NumpyArray> run_parity(Device& device, const std::vector<CaseKind>& cases,
                                             const std::map<std::string, NumpyArray>& golden, Precision precision,
                                             const std::string& where = "golden case");

// `golden` and `computed` side by side: per tensor the norm of the difference over the norm of the golden tensor. Every
// golden tensor is compared but the inputs of a case and those that its meta lists as "indeterminate" (or whose
// parameter it lists; where that is the encoder's bias, the rows of later steps' embeddings are compared less their
// mean); what is computed beyond them is not looked at.
struct ParityDifference {
  std::string name;
  double relative =
      0;  // NaN where a value is not finite; infinite where shapes differ or nothing was computed under the name
};
std::vector<ParityDifference> compare_parity(const std::map<std::string, NumpyArray>& golden,
                                             const std::map<std::string, NumpyArray>& computed);

}  // namespace idem
