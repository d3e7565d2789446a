// old_model_file.h - model.idem, the container of models before they were safetensors (format versions 1 and 2): read,
// and written no longer.
#pragma once

#include <string_view>
#include <utility>

namespace idem {

// Whether the bytes begin as such a file does, cut short or not.
bool begins_as_old_model(std::string_view bytes);

// Its header, JSON, and the values of the tensors, float32, in the header's order. Views of `bytes`. Throws
// std::invalid_argument, one line that follows a file's name, for a file that is cut short, damaged or of a version
// that never was.
std::pair<std::string_view, std::string_view> parse_old_model(std::string_view bytes);

}  // namespace idem
