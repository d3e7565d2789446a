#include "host/support/utf8.h"

#include <gtest/gtest.h>

namespace idem {
namespace {

TEST(Utf8, TheFirstByteThatIsNoCharacterIsFound) {
  for (const char* text : {"", "plain",
                           "K\xC3\xA4"
                           "fig",
                           "\xE2\x82\xAC \xF0\x9F\x90\x80", "\xEF\xBF\xBD", "\xF4\x8F\xBF\xBF"})
    EXPECT_EQ(find_invalid_utf8(text), std::string::npos) << text;
  const std::pair<const char*, std::size_t> broken[] = {{"K\xE4"
                                                         "fig",
                                                         1},
                                                        {"ab\x80", 2},
                                                        {"\xC3", 0},
                                                        {"a\xE2\x82", 1},
                                                        {"\xC0\x80", 0},
                                                        {"\xE0\x80\x80", 0},
                                                        {"\xED\xA0\x80", 0},
                                                        {"\xF4\x90\x80\x80", 0},
                                                        {"\xF8\x88\x80\x80\x80", 0}};
  for (const auto& [text, at] : broken) EXPECT_EQ(find_invalid_utf8(text), at) << text;
  EXPECT_EQ(find_invalid_utf8("\xE4\xE4", 1), 1u);
}

TEST(Utf8, Windows1252BecomesUtf8) {
  EXPECT_EQ(utf8_of_windows_1252("K\xE4"
                                 "fig \x80 \x9F\xFF"),
            "K\xC3\xA4"
            "fig \xE2\x82\xAC \xC5\xB8\xC3\xBF");
  for (const char* unused : {"\x81", "\x8D", "\x8F", "\x90", "\x9D"})
    EXPECT_FALSE(utf8_of_windows_1252(unused)) << unused;
}

TEST(Utf8, EveryPathIsTextAndComesBackFromIt) {
  for (const std::string path :
       {"/a/K\xE4"
        "fig.csv",
        "/a/K\xC3\xA4"
        "fig.csv",
        "\xFF\xFE", "back\\xE4slash", "a\\x5C", "a\\\\xe4", "\\x", "\\x41", "\\xG4\xED\xA0\x80"}) {
    const std::string text = text_of_path(path);
    EXPECT_EQ(find_invalid_utf8(text), std::string::npos) << path;
    EXPECT_EQ(path_of_text(text).string(), path);
  }
  EXPECT_EQ(text_of_path("K\xE4"
                         "fig"),
            "K\\xE4"
            "fig");
  EXPECT_EQ(path_of_text("K\\xe4"
                         "fig")
                .string(),
            "K\xE4"
            "fig");
  EXPECT_EQ(text_of_path("/a/K\xC3\xA4"
                         "fig\\x41.csv"),
            "/a/K\xC3\xA4"
            "fig\\x41.csv");  // what is UTF-8 stays as it is
}

}  // namespace
}  // namespace idem
