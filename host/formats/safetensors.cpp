#include "host/formats/safetensors.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <optional>
#include <set>
#include <stdexcept>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "host/support/one_line.h"

namespace idem {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "the values of tensors are written as memory lies");

constexpr std::size_t kLengthBytes = 8, kAlignment = 8, kValueBytes = sizeof(float);
constexpr std::uint64_t kLongestHeader = 100'000'000;  // which other readers of the format take
constexpr const char* kMetadataKey = "__metadata__";

std::uint64_t header_length(std::string_view bytes) {
  std::uint64_t length;
  std::memcpy(&length, bytes.data(), sizeof(length));
  return length;
}

// The bytes that a tensor's shape asks for; none where no memory has so many.
std::optional<std::uint64_t> bytes_of(const std::vector<std::int64_t>& shape) {
  std::uint64_t bytes = kValueBytes;
  for (const auto length : shape)
    if (length == 0) return 0;
  for (const auto length : shape)
    if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(length), &bytes)) return std::nullopt;
  return bytes;
}

struct Draft {
  SafetensorsEntry entry;
  std::string dtype;
  std::vector<std::uint64_t> offsets;
  bool has_dtype = false, has_shape = false, has_offsets = false;

  std::uint64_t begin() const { return offsets[0]; }
  std::uint64_t end() const { return offsets[1]; }
};

// A whole file that holds something else: copying it again would not help.
struct OtherValues : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// Takes a header in as it is parsed and refuses at once what no header has, so that none takes memory that it does not
// fill.
class HeaderReader : public json::json_sax_t {
 public:
  std::map<std::string, std::string> metadata;
  std::vector<Draft> drafts;

  bool start_object(std::size_t) override {
    if (place_ == Place::outside)
      place_ = Place::top;
    else if (place_ == Place::metadata_value)
      place_ = Place::metadata;
    else if (place_ == Place::tensor_value)
      place_ = Place::tensor;
    else
      refuse("an object");
    return true;
  }
  bool end_object() override {
    if (place_ == Place::tensor) finish_tensor();
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }
  bool key(std::string& name) override {
    if (place_ == Place::top) {
      if (!names_.insert(name).second) throw std::invalid_argument(one_line(name) + " is named twice");
      place_ = name == kMetadataKey ? Place::metadata_value : Place::tensor_value;
      if (place_ == Place::tensor_value)
        drafts.push_back({.entry = {.name = name, .shape = {}}, .dtype = {}, .offsets = {}});
    } else if (place_ == Place::metadata) {
      key_ = name;
      if (!metadata.emplace(name, "").second)
        throw std::invalid_argument(fmt::format("{}.{} is named twice", kMetadataKey, one_line(name)));
      place_ = Place::text;
    } else {
      Draft& draft = drafts.back();
      bool* has = name == "dtype"          ? &draft.has_dtype
                  : name == "shape"        ? &draft.has_shape
                  : name == "data_offsets" ? &draft.has_offsets
                                           : nullptr;
      if (!has)
        throw std::invalid_argument(
            fmt::format("tensor {} has the key {}, which no tensor has", tensor_name(), one_line(name)));
      if (std::exchange(*has, true))
        throw std::invalid_argument(fmt::format("tensor {} has {} twice", tensor_name(), name));
      place_ = has == &draft.has_dtype   ? Place::dtype
               : has == &draft.has_shape ? Place::shape_value
                                         : Place::offsets_value;
    }
    return true;
  }
  bool string(std::string& text) override {
    if (place_ == Place::text) {
      metadata[key_] = std::move(text);
      place_ = Place::metadata;
    } else if (place_ == Place::dtype) {
      if (text != "F32")
        throw OtherValues(
            fmt::format("holds tensor {} of {}; only float32 (F32) is read", tensor_name(), one_line(text)));
      place_ = Place::tensor;
    } else {
      refuse("a text");
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (place_ == Place::shape_value)
      place_ = Place::shape;
    else if (place_ == Place::offsets_value)
      place_ = Place::offsets;
    else
      refuse("a list");
    return true;
  }
  bool end_array() override {
    place_ = Place::tensor;
    return true;
  }
  bool number_unsigned(json::number_unsigned_t value) override {
    if (place_ == Place::shape && value <= static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      drafts.back().entry.shape.push_back(static_cast<std::int64_t>(value));
    } else if (place_ == Place::offsets && drafts.back().offsets.size() < 2) {
      drafts.back().offsets.push_back(value);
    } else {
      refuse(std::to_string(value));
    }
    return true;
  }
  bool number_integer(json::number_integer_t value) override { return refuse(std::to_string(value)); }
  bool number_float(json::number_float_t, const std::string& text) override { return refuse(one_line(text)); }
  bool boolean(bool value) override { return refuse(value ? "true" : "false"); }
  bool null() override { return refuse("null"); }
  bool binary(json::binary_t&) override { return refuse("bytes"); }
  bool parse_error(std::size_t byte, const std::string&, const json::exception&) override {
    throw std::invalid_argument(fmt::format("it is not JSON from byte {} on", byte));
  }

 private:
  // What comes next: a key of one of the objects, or the value of the key that was read.
  enum class Place {
    outside,
    top,
    metadata_value,
    metadata,
    text,
    tensor_value,
    tensor,
    dtype,
    shape_value,
    shape,
    offsets_value,
    offsets
  };

  std::string tensor_name() const { return one_line(drafts.back().entry.name); }

  bool refuse(const std::string& found) const {
    switch (place_) {
      case Place::outside: throw std::invalid_argument("it is no object");
      case Place::metadata_value:
        throw std::invalid_argument(fmt::format("it has {} as {}; an object of texts is needed", found, kMetadataKey));
      case Place::text:
        throw std::invalid_argument(
            fmt::format("it has {} as {}.{}; a text is needed", found, kMetadataKey, one_line(key_)));
      case Place::tensor_value:
        throw std::invalid_argument(fmt::format("it has {} as tensor {}; an object is needed", found, tensor_name()));
      case Place::dtype:
        throw std::invalid_argument(
            fmt::format("it has {} as the dtype of tensor {}; F32 is needed", found, tensor_name()));
      case Place::shape_value:
      case Place::shape:
        throw std::invalid_argument(
            fmt::format("it has {} in the shape of tensor {}; a list of lengths is needed", found, tensor_name()));
      default:
        throw std::invalid_argument(
            fmt::format("it has {} in the data_offsets of tensor {}; [begin, end] is needed", found, tensor_name()));
    }
  }

  void finish_tensor() const {
    const Draft& draft = drafts.back();
    for (const auto& [has, name] :
         {std::pair{draft.has_dtype, "dtype"}, {draft.has_shape, "shape"}, {draft.offsets.size() == 2, "data_offsets"}})
      if (!has) throw std::invalid_argument(fmt::format("tensor {} lacks its {}", tensor_name(), name));
  }

  Place place_ = Place::outside;
  std::set<std::string> names_;
  std::string key_;
};

// Tensors follow each other in the file, and take what their shapes ask for.
void check_places(const std::vector<Draft>& drafts, std::uint64_t n_bytes) {
  std::uint64_t end = 0;
  for (const auto& draft : drafts) {
    const std::string name = one_line(draft.entry.name);
    if (draft.begin() != end)
      throw std::invalid_argument(
          fmt::format("its tensor {} begins at byte {} of the values, where {} is due: tensors {}", name, draft.begin(),
                      end, draft.begin() < end ? "overlap" : "leave a hole"));
    const auto wanted = bytes_of(draft.entry.shape);
    if (draft.end() < draft.begin() || !wanted || draft.end() - draft.begin() != *wanted)
      throw std::invalid_argument(
          fmt::format("its tensor {} has the bytes {} to {} of the values, which is not 4 for each value of its shape",
                      name, draft.begin(), draft.end()));
    end = draft.end();
  }
  if (end > n_bytes)
    throw std::invalid_argument(
        fmt::format("is cut short ({} bytes of {} of tensors are there); copy it again", n_bytes, end));
  if (end < n_bytes)
    throw std::invalid_argument(fmt::format("has {} bytes after its last tensor; copy it again", n_bytes - end));
}

}  // namespace

std::string safetensors_bytes(const Safetensors& content) {
  nlohmann::ordered_json header;
  if (!content.metadata.empty()) header[kMetadataKey] = content.metadata;
  std::uint64_t end = 0;
  for (const auto& [name, shape] : content.tensors) {
    const std::uint64_t begin = end;
    end += bytes_of(shape).value_or(content.values.size() + 1);
    if (end > content.values.size()) break;
    header[name] = {{"dtype", "F32"}, {"shape", shape}, {"data_offsets", {begin, end}}};
  }
  if (end != content.values.size()) throw std::invalid_argument("has other values than its tensors' shapes ask for");
  std::string text = header.empty() ? "{}" : header.dump();
  text.resize((text.size() + kAlignment - 1) / kAlignment * kAlignment, ' ');
  const std::uint64_t length = text.size();
  std::string bytes(reinterpret_cast<const char*>(&length), sizeof(length));
  bytes.reserve(bytes.size() + text.size() + content.values.size());
  return bytes.append(text).append(content.values);
}

bool begins_as_safetensors(std::string_view bytes) {
  return bytes.size() < kLengthBytes ||
         (header_length(bytes) <= kLongestHeader && (bytes.size() == kLengthBytes || bytes[kLengthBytes] == '{'));
}

Safetensors parse_safetensors(std::string_view bytes) {
  if (!begins_as_safetensors(bytes)) throw std::invalid_argument("is not a safetensors file");
  if (bytes.size() < kLengthBytes)
    throw std::invalid_argument(fmt::format("is cut short ({} bytes); copy it again", bytes.size()));
  const std::uint64_t length = header_length(bytes);
  bytes.remove_prefix(kLengthBytes);
  if (length > bytes.size())
    throw std::invalid_argument(
        fmt::format("is cut short ({} bytes of {} of the header are there); copy it again", bytes.size(), length));
  const std::string_view header = bytes.substr(0, length);
  HeaderReader reader;
  try {
    // The parser takes a zero byte for the end.
    if (const auto zero = header.find('\0'); zero != std::string_view::npos)
      throw std::invalid_argument(fmt::format("it is not JSON from byte {} on", zero + 1));
    json::sax_parse(header.begin(), header.end(), &reader);
  } catch (const OtherValues&) {
    throw;
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(fmt::format("has a damaged header ({}); copy it again", error.what()));
  }
  auto& drafts = reader.drafts;
  std::sort(drafts.begin(), drafts.end(), [](const Draft& a, const Draft& b) { return a.offsets < b.offsets; });
  check_places(drafts, bytes.size() - length);
  Safetensors content{.metadata = std::move(reader.metadata), .tensors = {}, .values = bytes.substr(length)};
  content.tensors.reserve(drafts.size());
  for (auto& draft : drafts) content.tensors.push_back(std::move(draft.entry));
  return content;
}

}  // namespace idem
