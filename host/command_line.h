// command_line.h - the commands of the program and their options.
#pragma once

#include "host/support/errors.h"

namespace idem {

// Runs what the command line asks for. Throws ConfigError for a command or an option that there is not, and what the
// command throws.
ExitCode run_command_line(int argc, char** argv);

}  // namespace idem
