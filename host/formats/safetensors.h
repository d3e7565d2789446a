// safetensors.h - the container of https://github.com/huggingface/safetensors, of float32 tensors alone.
//
// Eight bytes, the length H of the header as uint64; H bytes of header, a JSON object padded with spaces so that the
// values begin at a multiple of 8; then the values of all tensors, little endian, row-major, one after the other
// without holes. The header has for every tensor its "dtype", its "shape" and its "data_offsets", where its values
// begin and end among all, and under "__metadata__" texts by name.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace idem {

struct SafetensorsEntry {
  std::string name;
  std::vector<std::int64_t> shape;  // [] holds one value
};

struct Safetensors {
  std::map<std::string, std::string> metadata;
  std::vector<SafetensorsEntry> tensors;  // in the order of their values
  std::string_view values;                // of all tensors
};

// The same content gives the same bytes. Throws std::invalid_argument where the values are not as many as the shapes
// ask for.
std::string safetensors_bytes(const Safetensors& content);

// Whether the bytes begin as such a container does, cut short or not.
bool begins_as_safetensors(std::string_view bytes);

// A view of `bytes`, which have to outlive it. Throws std::invalid_argument, one line that follows a file's name, for
// anything else than such a container. Takes no more memory than a small multiple of the header's length, whatever the
// header says.
Safetensors parse_safetensors(std::string_view bytes);
Safetensors parse_safetensors(std::string&& bytes) = delete;

}  // namespace idem
