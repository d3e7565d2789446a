// errors.h - what can go wrong, each with the exit code of the program. Every message is one line: what, where, how to
// mend.
#pragma once

#include <stdexcept>

namespace idem {

// data: also what cannot be written. output_closed: as the shell tells of a program that SIGPIPE ended.
enum class ExitCode : int {
  ok = 0,
  failure = 1,
  config = 2,
  data = 3,
  device = 4,
  interrupted = 5,
  output_closed = 141
};

struct ConfigError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct DataError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace idem
