#include "host/support/signals.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include <unistd.h>

namespace idem {
namespace {

std::atomic<bool> end_asked{false};
static_assert(std::atomic<bool>::is_always_lock_free);
char message[256];  // written before signals are caught

void on_signal(int signal) {
  const int error = errno;  // of what was interrupted
  if (!end_asked.exchange(true)) {
    [[maybe_unused]] const auto written = write(STDERR_FILENO, message, std::strlen(message));
  } else if (signal != SIGHUP && signal != SIGXCPU) {
    std::signal(signal, SIG_DFL);
    raise(signal);  // delivered when this handler has returned
  }
  errno = error;
}

}  // namespace

void ignore_write_signals() {
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

void catch_end_signals(const char* after_what) {
  std::snprintf(message, sizeof(message), "\nidem: interrupted: ending after %s (again to quit at once)\n", after_what);
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGQUIT, SIGUSR1, SIGUSR2, SIGALRM, SIGXCPU, SIGHUP}) {
    struct sigaction before{};
    sigaction(signal, nullptr, &before);
    if (signal == SIGHUP && before.sa_handler == SIG_IGN) continue;
    sigaction(signal, &action, nullptr);
  }
}

bool is_end_asked() { return end_asked; }

}  // namespace idem
