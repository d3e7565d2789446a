// error_message.h - what an action complains about.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

namespace idem {

// The message of the expected error, which must be one line; "no error" without one.
template <class Error>
std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos)
        << "the message has more than one line: " << error.what();
    return error.what();
  }
  return "no error";
}

#define EXPECT_MESSAGE(Error, action, part)                                                               \
  do {                                                                                                    \
    const std::string message = message_of<Error>([&] { action; });                                       \
    EXPECT_NE(message.find(part), std::string::npos) << "wanted: " << (part) << "\nmessage: " << message; \
  } while (false)

}  // namespace idem
