#include "host/formats/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <stdexcept>

#include <nlohmann/json.hpp>

#include "tests/support/json_mutations.h"

namespace idem {
namespace {

std::string of_floats(const std::vector<float>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)};
}

// A file of this header, which is not padded, and so many bytes of values.
std::string file_of(const std::string& header, std::size_t n_bytes = 24) {
  const std::uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + header + std::string(n_bytes, 'v');
}

const std::string kValues = of_floats({1, 2, 3, 4, 5, 6});

std::string small_example() {
  return safetensors_bytes({.metadata = {{"by", "a \"test\""}},
                            .tensors = {{"weight", {2, 2}}, {"empty", {0, 7}}, {"bias", {1}}, {"scalar", {}}},
                            .values = kValues});
}

// Why a file is refused; "" where it is not. Views must lie in the file.
std::string refusal(const std::string& bytes) {
  try {
    const Safetensors content = parse_safetensors(bytes);
    EXPECT_EQ(content.values.data() + content.values.size(), bytes.data() + bytes.size());
    return "";
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
}

TEST(Safetensors, WhatIsWrittenIsReadBackExactly) {
  const std::string bytes = small_example();
  const Safetensors content = parse_safetensors(bytes);
  EXPECT_EQ(content.metadata, (std::map<std::string, std::string>{{"by", "a \"test\""}}));
  ASSERT_EQ(content.tensors.size(), 4u);
  EXPECT_EQ(content.tensors[0].name, "weight");
  EXPECT_EQ(content.tensors[0].shape, (std::vector<std::int64_t>{2, 2}));
  EXPECT_EQ(content.tensors[1].shape, (std::vector<std::int64_t>{0, 7}));
  EXPECT_EQ(content.tensors[3].shape, std::vector<std::int64_t>{});
  EXPECT_EQ(content.values, kValues);
  EXPECT_EQ(safetensors_bytes(content), bytes);
  EXPECT_THROW(safetensors_bytes({.metadata = {}, .tensors = {{"weight", {5}}}, .values = kValues}),
               std::invalid_argument);
  EXPECT_THROW(safetensors_bytes({.metadata = {}, .tensors = {{"weight", {7}}}, .values = kValues}),
               std::invalid_argument);
}

TEST(Safetensors, AFileIsThePublishedLayout) {
  const std::string header = R"({"__metadata__":{"by":"us"},"w":{"dtype":"F32","shape":[3,2],"data_offsets":[0,24]}})";
  ASSERT_NE(header.size() % 8, 0u);
  std::string wanted = file_of(header + std::string(8 - header.size() % 8, ' '), 0) + kValues;
  EXPECT_EQ(safetensors_bytes({.metadata = {{"by", "us"}}, .tensors = {{"w", {3, 2}}}, .values = kValues}), wanted);
  EXPECT_EQ((wanted.size() - kValues.size()) % 8, 0u);
}

TEST(Safetensors, TensorsComeInTheOrderOfTheirValuesWhateverThatOfTheHeader) {
  const std::string bytes = file_of(R"({ "b":{"data_offsets":[16,24],"shape":[2],"dtype":"F32"},
                                         "a":{"shape":[4],"dtype":"F32","data_offsets":[0,16]}})");
  const Safetensors content = parse_safetensors(bytes);
  ASSERT_EQ(content.tensors.size(), 2u);
  EXPECT_EQ(content.tensors[0].name, "a");
  EXPECT_EQ(content.tensors[1].name, "b");
}

TEST(Safetensors, WhatIsNoneIsRefusedInOneLine) {
  const auto tensor = [](const std::string& name, const std::string& shape, const std::string& offsets) {
    return "\"" + name + R"(":{"dtype":"F32","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
  };
  const auto header = [](const std::string& inside) { return file_of("{" + inside + "}"); };
  const std::string a = tensor("a", "[2]", "[0,8]"), b = tensor("b", "[2,2]", "[8,24]");
  ASSERT_EQ(refusal(header(a + "," + b)), "");
  ASSERT_EQ(refusal(file_of("{}", 0)), "");
  const std::pair<std::string, std::string> cases[] = {
      {"", "is cut short (0 bytes)"},
      {"abc", "is cut short (3 bytes)"},
      {std::string("\x05\0\0\0\0\0\0\0", 8), "is cut short (0 bytes of 5 of the header are there)"},
      {std::string(100, 'x'), "is not a safetensors file"},
      {std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "is not a safetensors file"},
      {std::string("\xff\xff\0\0\0\0\0\0{}", 10), "is cut short (2 bytes of 65535 of the header are there)"},
      {file_of(" {}", 0), "is not a safetensors file"},
      {file_of("", 0), "is not JSON"},
      {file_of("{", 0), "is not JSON"},
      {file_of("{} {}", 0), "is not JSON"},
      {file_of(std::string("{}\0", 3), 0), "is not JSON from byte 3 on"},
      {file_of("{\"\xff\":1}", 0), "is not JSON"},
      {header(a + "," + a), "a is named twice"},
      {header(R"("__metadata__":{"x":"1","x":"2"})"), "__metadata__.x is named twice"},
      {header(R"("__metadata__":{},"__metadata__":{})"), "__metadata__ is named twice"},
      {header(R"("__metadata__":[])"), "has a list as __metadata__; an object of texts is needed"},
      {header(R"("__metadata__":{"x":3})"), "has 3 as __metadata__.x; a text is needed"},
      {header(R"("__metadata__":{"x":{}})"), "has an object as __metadata__.x; a text is needed"},
      {header(R"("a":null)"), "has null as tensor a; an object is needed"},
      {header(R"("a":{})"), "tensor a lacks its dtype"},
      {header(R"("a":{"dtype":"F32","shape":[]})"), "tensor a lacks its data_offsets"},
      {header(R"("a":{"dtype":"F32","shape":[],"data_offsets":[0]})"), "tensor a lacks its data_offsets"},
      {header(R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4,4]})"), "has 4 in the data_offsets of tensor a"},
      {header(R"("a":{"dtype":"F32","dtype":"F32"})"), "tensor a has dtype twice"},
      {header(R"("a":{"dtype":"BF16"})"), "holds tensor a of BF16; only float32 (F32) is read"},
      {header(R"("a":{"dtype":4})"), "has 4 as the dtype of tensor a; F32 is needed"},
      {header(R"("a":{"scale":4})"), "tensor a has the key scale, which no tensor has"},
      {header(tensor("a", "[-1]", "[0,24]")), "has -1 in the shape of tensor a"},
      {header(tensor("a", "[6.0]", "[0,24]")), "has 6.0 in the shape of tensor a"},
      {header(tensor("a", "[[6]]", "[0,24]")), "has a list in the shape of tensor a"},
      {header(tensor("a", "[6,1e999]", "[0,24]")), "is not JSON"},
      {header(tensor("a", "[9223372036854775808]", "[0,24]")), "in the shape of tensor a"},
      {header(tensor("a", "6", "[0,24]")), "has 6 in the shape of tensor a"},
      {header(tensor("a", "[6]", "[0,\"24\"]")), "has a text in the data_offsets of tensor a"},
      {header(tensor("a", "[5]", "[0,24]")),
       "its tensor a has the bytes 0 to 24 of the values, which is not 4 for each value of its shape"},
      {header(tensor("a", "[4611686018427387904,4]", "[0,0]")), "its tensor a has the bytes 0 to 0"},
      {header(tensor("a", "[6]", "[0,24]") + "," + tensor("b", "[6]", "[24,0]")), "its tensor b has the bytes 24 to 0"},
      {header(a + "," + tensor("b", "[5]", "[4,24]")),
       "its tensor b begins at byte 4 of the values, where 8 is due: tensors overlap"},
      {header(a + "," + tensor("b", "[3]", "[12,24]")),
       "its tensor b begins at byte 12 of the values, where 8 is due: tensors leave a hole"},
      {header(tensor("a", "[5]", "[4,24]")),
       "its tensor a begins at byte 4 of the values, where 0 is due: tensors leave a hole"},
      {header(a), "has 16 bytes after its last tensor"},
      {header(a + "," + tensor("b", "[6]", "[8,32]")), "is cut short (24 bytes of 32 of tensors are there)"},
  };
  for (const auto& [bytes, part] : cases) {
    const std::string message = refusal(bytes);
    EXPECT_NE(message.find(part), std::string::npos) << part << "\n" << message;
    EXPECT_EQ(message.find_first_of("\r\n"), std::string::npos) << message;
  }
}

TEST(Safetensors, AFileCutShortAnywhereIsSaidToBe) {
  const std::string bytes = small_example();
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_EQ(refusal(bytes.substr(0, size)).find("is cut short"), 0u) << size << refusal(bytes.substr(0, size));
}

// Headers that ask for much: nothing is allocated for what they say, and no depth of nesting is followed.
TEST(Safetensors, AHeaderThatPromisesMuchTakesNoMemory) {
  std::string deep = "{\"a\":";
  for (int i = 0; i < 3'000'000; ++i) deep += "{\"a\":";
  EXPECT_NE(refusal(file_of(deep, 0)).find("has the key a"), std::string::npos);
  EXPECT_NE(refusal(file_of("{\"a\":{\"shape\":" + std::string(3'000'000, '['), 0)).find("has a list in the shape"),
            std::string::npos);
  EXPECT_NE(refusal(file_of(
                R"({"a":{"dtype":"F32","shape":[4611686018427387903],"data_offsets":[0,18446744073709551612]}})", 4)),
            "");
}

TEST(Safetensors, HostileHeadersAreReadOrRefused) {
  const std::string bytes = small_example();
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof(length));
  int n = 0, n_read = 0;
  for_each_mutation(nlohmann::ordered_json::parse(bytes.substr(8, length)),
                    [&](const std::string& where, const std::string& header) {
                      SCOPED_TRACE(where);
                      const std::string message = refusal(file_of(header));
                      EXPECT_EQ(message.find_first_of("\r\n"), std::string::npos) << message;
                      n_read += message.empty();
                      ++n;
                    });
  EXPECT_GT(n, 300);
  EXPECT_LT(n_read, n / 10);  // other metadata, mostly
  EXPECT_GT(n_read, 0);
}

TEST(Safetensors, RandomDamageIsReadOrRefused) {
  const std::string whole = small_example();
  std::mt19937 random(1);
  const auto below = [&](std::size_t end) { return random() % end; };
  for (int trial = 0; trial < 20000; ++trial) {
    std::string bytes = whole;
    for (std::size_t i = 0; i <= below(4); ++i) bytes[below(bytes.size())] = static_cast<char>(random());
    if (below(4) == 0) bytes.resize(below(bytes.size()));
    if (below(4) == 0) bytes.insert(below(bytes.size() + 1), whole.substr(below(whole.size()), below(40)));
    refusal(bytes);
  }
}

}  // namespace
}  // namespace idem
