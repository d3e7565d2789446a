// config_messages.h - the smallest study, and what is said of a mistake in it.
#pragma once

#include <fstream>
#include <functional>
#include <sstream>
#include <string>

#include "host/config/json_text.h"
#include "host/config/schema.h"
#include "host/config/study.h"
#include "host/support/errors.h"

namespace idem {

inline nlohmann::json minimal() { return nlohmann::json::parse(R"({"recording": {"file": "a.npz"}})"); }

inline std::string message_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

inline std::string message_for(const std::string& assignment) {
  return message_of([&] {
    nlohmann::json config = minimal();
    apply_override(config, assignment, "s.json");
    resolve_study(config, "s.json");
  });
}

inline std::string file_text(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

}  // namespace idem
