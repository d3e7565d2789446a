// pickle.h - the arrays of a Python pickle or joblib file, read by a machine that can execute nothing.
//
// A pickle is a program for a small stack machine whose GLOBAL and REDUCE instructions call any importable function.
// Here only the instructions that build plain data are known, and a class or function is only a name out of a fixed
// list, each of which has its own few lines of code: numpy's array, scalar and dtype reconstruction, joblib's
// NumpyArrayWrapper (the bytes of the array follow in the stream, aligned or not), _codecs.encode, bytes() and
// collections.OrderedDict. Anything else is a DataError with its name and byte offset.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "host/formats/npz.h"

namespace idem {

// Arrays by dictionary key, nested dictionaries as "outer/inner", an array that is not in a dictionary under "".
// Numbers and texts become 0-d arrays, lists of numbers or texts 1-d and lists of equally long lists of numbers 2-d
// ones. Other values (None, mixed lists) are left out. The bytes are those of the stream itself: unpack compressed
// files first (host/support/files.h). All that is made of them is counted (memory_budget.h): a stream may recall one
// long text or array under any number of names. file_bytes: of the file on disk, where it was compressed.
std::map<std::string, NumpyArray> parse_pickle(std::string_view bytes, const std::string& where,
                                               std::size_t file_bytes = std::numeric_limits<std::size_t>::max());

}  // namespace idem
