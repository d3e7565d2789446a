// program.h - runs the built program as a user does: arguments in, exit code and both outputs back.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/temporary_folder.h"
#include "kernels/common/to_size.h"

namespace idem {

inline std::string text_of_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

class Program {
 public:
  struct Result {
    int code = -1;
    std::string output, errors;
  };

  // folder: where the program runs and its outputs are kept.
  explicit Program(const TemporaryFolder& folder) : folder_(folder.path()) {}

  Result run(const std::vector<std::string>& arguments) const { return run_until(arguments, "", 0); }

  // Sends `signal` as soon as `text` has appeared on stderr.
  Result run_until(const std::vector<std::string>& arguments, const std::string& text, int signal) const {
    return run_among(arguments, {}, {{text, signal}});
  }

  struct Sent {
    std::string text;  // on stderr, after which
    int signal;
  };
  // surroundings: what the new process does before it becomes the program: limits, other files as its stdout and
  // stderr. Signals are sent one after the other.
  Result run_among(const std::vector<std::string>& arguments, const std::function<void()>& surroundings,
                   std::vector<Sent> signals = {}) const {
    int ends[2];
    if (pipe(ends) != 0) throw std::runtime_error("pipe");
    const auto output = folder_ / "stdout.txt";
    const pid_t child = fork();
    if (child == 0) {
      std::vector<char*> argv{const_cast<char*>(IDEM_PROGRAM)};
      for (const auto& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
      argv.push_back(nullptr);
      const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      dup2(file, STDOUT_FILENO);
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      close(ends[1]);
      close(file);
      if (surroundings) surroundings();
      if (chdir(folder_.c_str()) == 0) execv(IDEM_PROGRAM, argv.data());
      _exit(127);
    }
    close(ends[1]);
    Result result;
    char buffer[4096];
    auto next = signals.begin();
    if (next != signals.end() && next->text.empty()) ++next;
    for (ssize_t n; (n = read(ends[0], buffer, sizeof(buffer))) > 0;) {
      result.errors.append(buffer, to_size(n));
      for (; next != signals.end() && result.errors.find(next->text) != std::string::npos; ++next)
        kill(child, next->signal);
    }
    close(ends[0]);
    int status = 0;
    waitpid(child, &status, 0);
    result.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    result.output = text_of_file(output);
    return result;
  }

 private:
  std::filesystem::path folder_;
};

}  // namespace idem
