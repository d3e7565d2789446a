// array.h - an array on a device, its owner.
#pragma once

#include <utility>
#include <vector>

#include "engine/device/device.h"

namespace idem {

// T is trivially copyable; zeroed until written.
template <class T>
class Array {
 public:
  Array() = default;
  Array(Device& device, std::size_t size)
      : device_(&device), size_(size), data_(static_cast<T*>(device.allocate(size * sizeof(T)))) {}
  Array(Device& device, const std::vector<T>& values) : Array(device, values.size()) { upload(values); }
  ~Array() { reset(); }
  Array(Array&& other) noexcept { swap(other); }
  Array& operator=(Array&& other) noexcept {
    swap(other);
    return *this;
  }

  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  void upload(const std::vector<T>& values) const { device_->copy_in(data_, values.data(), values.size() * sizeof(T)); }
  std::vector<T> download() const {
    std::vector<T> values(size_);
    if (size_) device_->copy_out(values.data(), data_, size_ * sizeof(T));
    return values;
  }
  void clear() const { device_->clear(data_, size_ * sizeof(T)); }

 private:
  void swap(Array& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(size_, other.size_);
    std::swap(data_, other.data_);
  }
  void reset() noexcept {
    if (data_) device_->release(data_);
    data_ = nullptr;
  }

  Device* device_ = nullptr;
  std::size_t size_ = 0;
  T* data_ = nullptr;
};

}  // namespace idem
