// output.h - what the program prints. On stderr it may get lost: a terminal that was closed, a full disk or a reader
// that went away must not end a training, and log.jsonl has every warning. On stdout it may not: that is what was asked
// for.
#pragma once

#include <cstdio>
#include <stdexcept>
#include <string_view>

namespace idem {

// Nobody reads stdout any more (`idem check study.json | head -1`). The program ends without a word, with
// ExitCode::output_closed.
struct OutputClosed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Opens standard input, output and error where the program was started without them (`2>&-`), so that no file of a run
// gets their numbers: as something that cannot be read or written.
void occupy_standard_descriptors();

// For people, at once. What cannot be written is lost.
void say(std::FILE* out, std::string_view text) noexcept;

// Whether the program was started with a standard output.
bool has_standard_output();

// A result, on stdout, to the last byte. Throws DataError where it cannot be written, and OutputClosed.
void print_result(std::string_view text);

}  // namespace idem
