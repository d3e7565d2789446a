#include "host/formats/pickle_values.h"

#include <array>

namespace idem::pickle {

namespace {

struct CallableName {
  std::string_view module, name;
  Callable callable;
};
constexpr std::array<CallableName, 15> allowed_callables = {{
    {"numpy", "dtype", Callable::dtype},
    {"numpy", "ndarray", Callable::ndarray},
    {"numpy.core.multiarray", "_reconstruct", Callable::reconstruct},
    {"numpy._core.multiarray", "_reconstruct", Callable::reconstruct},
    {"numpy.core.multiarray", "scalar", Callable::scalar},
    {"numpy._core.multiarray", "scalar", Callable::scalar},
    {"numpy.core.numeric", "_frombuffer", Callable::frombuffer},
    {"numpy._core.numeric", "_frombuffer", Callable::frombuffer},
    {"_codecs", "encode", Callable::encode},
    {"builtins", "bytes", Callable::bytes},
    {"__builtin__", "bytes", Callable::bytes},
    {"collections", "OrderedDict", Callable::ordered_dict},
    {"joblib.numpy_pickle", "NumpyArrayWrapper", Callable::joblib_wrapper},
    {"sklearn.externals.joblib.numpy_pickle", "NumpyArrayWrapper", Callable::joblib_wrapper},
    {"numpy.core", "ndarray", Callable::ndarray},
}};

}  // namespace

std::optional<Callable> allowed_callable(std::string_view module, std::string_view name) {
  for (const auto& allowed : allowed_callables)
    if (allowed.module == module && allowed.name == name) return allowed.callable;
  return std::nullopt;
}

const char* name_of(Kind kind) {
  switch (kind) {
    case Kind::none: return "None";
    case Kind::boolean: return "a boolean";
    case Kind::integer: return "an integer";
    case Kind::real: return "a number";
    case Kind::text: return "text";
    case Kind::bytes: return "bytes";
    case Kind::list: return "a list";
    case Kind::tuple: return "a tuple";
    case Kind::dict: return "a dictionary";
    case Kind::array: return "an array";
    case Kind::callable: return "a class";
    case Kind::dtype: return "an element type";
    case Kind::unfilled_array: return "an unfinished array";
    case Kind::wrapper: return "an unfinished joblib array";
  }
  return "?";
}

}  // namespace idem::pickle
