// pickle_values.h - what a pickle may hold: plain values, arrays and the names out of a fixed list.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/formats/npz.h"

namespace idem::pickle {

// The functions and classes that a stream may name.
enum class Callable { dtype, ndarray, reconstruct, scalar, frombuffer, encode, bytes, ordered_dict, joblib_wrapper };
std::optional<Callable> allowed_callable(std::string_view module, std::string_view name);

struct Node {
  enum class Kind {
    none,
    boolean,
    integer,
    real,
    text,
    bytes,
    list,
    tuple,
    dict,
    array,
    callable,
    dtype,
    unfilled_array,
    wrapper
  };
  Kind kind = Kind::none;
  std::int64_t integer = 0;  // boolean and integer
  double real = 0;
  std::string text;          // text (UTF-8), bytes, dtype (numpy's code, with the byte order once it is known)
  std::vector<Node*> items;  // list, tuple; dict: key, value, key, value, ...
  std::unique_ptr<NumpyArray> array;
  Callable callable = Callable::dtype;
};
using Kind = Node::Kind;

const char* name_of(Kind kind);  // for messages: "a list"

}  // namespace idem::pickle
