// html.h - texts within HTML and SVG.
#pragma once

#include <string>
#include <string_view>

namespace idem {

std::string escape_html(std::string_view text);  // for text and for attribute values in double quotes

}  // namespace idem
