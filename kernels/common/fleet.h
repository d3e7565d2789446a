// fleet.h - the member axis every array of the engine leads with.
//
// A fleet is E independent members of one design (seeds, folds, learning rates ...). Parameters lie as
// [member][parameter], activations as [member][row][feature]; a single model is a fleet of one.
#pragma once

#include "kernels/common/target.h"

namespace idem {

// Rows of features for every member: [n_members x n_rows x n_features], feature fastest. Strides count elements;
// row_stride is the number of features rounded up to 16, and the padding holds zeros. Does not own its memory.
template <class T>
struct Rows {
  T* data = nullptr;
  std::int64_t member_stride = 0;
  std::int64_t row_stride = 0;

  HD T* row(std::int64_t member, std::int64_t row_index) const {
    return data + member * member_stride + row_index * row_stride;
  }
  HD Rows from_row(std::int64_t first) const { return {data + first * row_stride, member_stride, row_stride}; }
  HD explicit operator bool() const { return data != nullptr; }
  HD operator Rows<const T>() const { return {data, member_stride, row_stride}; }
};
template <class T>
struct Rows<const T> {
  const T* data = nullptr;
  std::int64_t member_stride = 0;
  std::int64_t row_stride = 0;

  HD const T* row(std::int64_t member, std::int64_t row_index) const {
    return data + member * member_stride + row_index * row_stride;
  }
  HD Rows from_row(std::int64_t first) const { return {data + first * row_stride, member_stride, row_stride}; }
  HD explicit operator bool() const { return data != nullptr; }
};

// Which members take part. active may be null: all do. The operations skip inactive members: nothing of theirs is read
// or written.
struct FleetExtent {
  std::int32_t n_members = 1;
  const std::uint8_t* active = nullptr;  // [n_members], device-side like every other array

  HD bool is_active(std::int64_t member) const { return active == nullptr || active[member] != 0; }
};

constexpr std::int64_t padded(std::int64_t n, std::int64_t multiple = 16) {
  return (n + multiple - 1) / multiple * multiple;
}

}  // namespace idem
