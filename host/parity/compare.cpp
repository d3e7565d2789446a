#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "host/support/json_fields.h"
#include "host/parity/parity.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

// What a case is given; the rest of a golden file is what it must come to.
bool is_input(const std::string& name) {
  static const std::set<std::string> of_objective{"z_mean",         "z_log_var",      "lam_mean", "lam_log_var",
                                                  "loglik_post",    "loglik_encoded", "eps",      "alphas",
                                                  "paper_sum_beta", "paper_mean_beta"};
  return name == "meta" || name.starts_with("param0.") || name.find(".in.") != std::string::npos ||
         of_objective.contains(name);
}

// Takes the mean of the rows off each.
void centre_columns(std::vector<double>& values, std::size_t n_columns) {
  for (std::size_t column = 0; column < n_columns; ++column) {
    double sum = 0;
    for (std::size_t i = column; i < values.size(); i += n_columns) sum += values[i];
    const double mean_of_rows = sum / static_cast<double>(values.size() / n_columns);
    for (std::size_t i = column; i < values.size(); i += n_columns) values[i] -= mean_of_rows;
  }
}

// What the case says is not determined; nothing where it says nothing.
std::vector<std::string> indeterminate(const std::map<std::string, NumpyArray>& golden) {
  const auto meta = golden.find("meta");
  if (meta == golden.end()) return {};
  try {
    const nlohmann::json text = parse_json_text(meta->second.text());
    const JsonFields fields(text, "meta");
    return fields.has("indeterminate") ? fields.texts("indeterminate") : std::vector<std::string>();
  } catch (const std::invalid_argument& error) {
    throw DataError(std::string("golden case: its meta cannot be used: ") + error.what());
  }
}

}  // namespace

std::vector<ParityDifference> compare_parity(const std::map<std::string, NumpyArray>& golden,
                                             const std::map<std::string, NumpyArray>& computed) {
  const std::vector<std::string> skipped = indeterminate(golden);
  std::vector<ParityDifference> differences;
  for (const auto& [name, array] : golden) {
    // Listed as an array of the file, or as a parameter, whose gradient is rounding noise and which Adam moves by a
    // whole step all the same.
    const auto is_skipped = [&](const std::string& listed) {
      return name == listed || name == "grad." + listed || name == "param_after." + listed;
    };
    if (is_input(name) || std::any_of(skipped.begin(), skipped.end(), is_skipped)) continue;
    const auto found = computed.find(name);
    if (found == computed.end() || found->second.shape != array.shape) {
      differences.push_back({name, std::numeric_limits<double>::infinity()});
      continue;
    }
    auto want = array.as<double>(), got = found->second.as<double>();
    // An embedding's last bias is such a parameter where only distances count: later embeddings are known but for a
    // shift.
    const auto is_bias = [](const std::string& listed) {
      return listed.starts_with("encoder.") && listed.ends_with(".bias");
    };
    const bool is_shifted = array.shape.size() == 2 && name.find(".out.") != std::string::npos &&
                            !name.starts_with("step0.") && std::any_of(skipped.begin(), skipped.end(), is_bias);
    if (is_shifted && array.shape[1] > 0) {
      for (auto* values : {&want, &got}) centre_columns(*values, to_size(array.shape[1]));
    }
    double difference = 0, norm = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      difference += (got[i] - want[i]) * (got[i] - want[i]);
      norm += want[i] * want[i];
    }
    differences.push_back({name, norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference)});
  }
  return differences;
}

}  // namespace idem
