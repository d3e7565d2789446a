// main.cpp - where the program begins and ends: only here does it exit; every error is one line on stderr and one of
// the exit codes of errors.h.
#include <filesystem>
#include <new>
#include <string>
#include <system_error>

#include "engine/device/device.h"
#include "host/command_line.h"
#include "host/support/output.h"
#include "host/support/signals.h"

namespace {

int fail(const std::string& message, idem::ExitCode code) {
  idem::say(stderr, "idem: " + message + "\n");
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  using idem::ExitCode;
  idem::occupy_standard_descriptors();
  idem::ignore_write_signals();
  try {
    return static_cast<int>(idem::run_command_line(argc, argv));
  } catch (const idem::ConfigError& error) {
    return fail(error.what(), ExitCode::config);
  } catch (const idem::DataError& error) {
    return fail(error.what(), ExitCode::data);
  } catch (const idem::DeviceError& error) {
    return fail(error.what(), ExitCode::device);
  } catch (const idem::OutputClosed&) {
    return static_cast<int>(ExitCode::output_closed);
  } catch (const std::filesystem::filesystem_error& error) {
    return fail(error.path1().string() + ": cannot be used (" + error.code().message() + "); choose another path",
                ExitCode::data);
  } catch (const std::bad_alloc&) {
    idem::say(
        stderr,
        "idem: not enough memory; lower training.batch, the model's widths or the number of seeds\n");  // takes none
    return static_cast<int>(ExitCode::device);
  } catch (const std::system_error& error) {  // of threads: files are filesystem_error's
    return fail(std::string("the system gives no more threads (") + error.code().message() + "); lower --threads",
                ExitCode::device);
  } catch (const std::exception& error) {
    return fail(error.what(), ExitCode::failure);
  }
}
