#include "host/support/output.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>

#include "host/support/errors.h"

namespace idem {

void occupy_standard_descriptors() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest free number is this one. The other way round than it is used: a result that goes nowhere is an error
    // still.
    if (open("/dev/null", descriptor == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0) return;
  }
}

void say(std::FILE* out, std::string_view text) noexcept {
  std::fwrite(text.data(), 1, text.size(), out);
  std::fflush(out);
  std::clearerr(out);
}

bool has_standard_output() { return (fcntl(STDOUT_FILENO, F_GETFL) & O_ACCMODE) != O_RDONLY; }

void print_result(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0) return;
  const int fault = errno;
  if (fault == EPIPE) throw OutputClosed("stdout");
  throw DataError(std::string("the result cannot be written to stdout (") + std::strerror(fault) +
                  "); is its disk full?");
}

}  // namespace idem
