// pickle_machine.h - the stack machine whose program a pickle is; pickle.h says what it can and cannot do.
#pragma once

#include <deque>
#include <string>
#include <string_view>

#include "host/formats/pickle_values.h"
#include "host/support/memory_budget.h"

namespace idem::pickle {

// The value that a stream ends with, and all others that it is made of. Values may hold each other in circles.
struct Values {
  std::deque<Node> nodes;
  const Node* root = nullptr;  // in `nodes`
};

// Throws DataError for a damaged stream, for instructions and names that are not allowed, and beyond the budget.
Values run_pickle(std::string_view bytes, const std::string& where, MemoryBudget& budget);

}  // namespace idem::pickle
