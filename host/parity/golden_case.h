// golden_case.h - a golden case, looked at before it is used: every array has the shape that its use needs, every
// number of its meta its range.
//
// All that is wrong is a DataError of one line that begins with the file: the array, its shape and the one needed.
// Sizes are bounded, so that whoever takes them from here may multiply two of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "host/support/json_fields.h"
#include "host/formats/npz.h"

namespace idem {

class ParityCase {
 public:
  // where: what messages begin with. Keeps a reference.
  ParityCase(const std::map<std::string, NumpyArray>& arrays, std::string where);

  bool has(const std::string& name) const { return arrays_.contains(name); }
  // The shape of an array of numbers of so many axes, none of them empty.
  const std::vector<std::int64_t>& shape(const std::string& name, std::size_t n_axes) const;
  std::int32_t extent(const std::string& name, std::size_t n_axes, std::size_t axis) const {
    return static_cast<std::int32_t>(shape(name, n_axes)[axis]);
  }
  // An array of numbers of that very shape.
  const NumpyArray& array(const std::string& name, const std::vector<std::int64_t>& shape) const;
  std::vector<double> values(const std::string& name, const std::vector<std::int64_t>& shape) const {
    return array(name, shape).as<double>();
  }
  double scalar(const std::string& name) const;  // 0-d and finite
  // A grid of alphas: at least one, in [0, 1].
  std::vector<double> alphas(const std::string& name) const;

  const JsonFields& meta() const { return *meta_; }
  std::vector<double> meta_numbers(const char* key, std::size_t n, double low, double high) const;  // n: how many
  // The weights of the case and what became of them are those of a model with these tensors, and no others.
  void require_parameters(const std::set<std::string>& names) const;
  void require_memory(std::size_t bytes) const;  // what a case of these sizes would take
  [[noreturn]] void fail(const std::string& what) const;

 private:
  const NumpyArray& find(const std::string& name) const;

  const std::map<std::string, NumpyArray>& arrays_;
  std::string where_;
  nlohmann::json meta_text_;
  std::optional<JsonFields> meta_;
};

}  // namespace idem
