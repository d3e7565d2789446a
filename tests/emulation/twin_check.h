// twin_check.h - one comparison for every operation: its CUDA twin, emulated or on a GPU, against its CPU twin, by the
// distance of both from the double oracle.
//
//   check_twins(TwinFleet::several(), [&](auto& run) {
//     using Real = typename std::decay_t<decltype(run)>::Scalar;
//     BiasActivation<Real> p;
//     p.fleet = run.fleet();
//     p.bias = run.input_rows("bias", 1, n_features);
//     p.value = run.in_out_rows("value", n_rows, n_features);
//     bias_activation_forward(run.execution(), p);
//   });
//
// The lambda runs for the CPU in float, for the oracle (the CPU in double, on the same float values widened) and for
// the device in float under schedules 0 to 3 (bit-identical), then with blocks of 32 threads and with one block for
// everything; a GPU, which has schedules of its own, runs twice. After each run:
//   - outputs started as NaN: a cell of an active member left unwritten is a NaN the oracle has not;
//   - what belongs to an inactive member, padding, inputs, and 64 guard values on both sides of every array are
//   untouched (under
//     -fsanitize=address the guards are poisoned, so that a read is caught too, with its line);
//   - the device may be at most 4 times as far from the oracle as the CPU is, or 4 ulp of the array's rms or 2 of the
//   value if that is larger;
//   - whole-number outputs are equal.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/common/cuda.h"

namespace idem {

// Sizes where loops go wrong: none, one, around a warp, around a block, a prime.
inline const std::vector<std::int64_t> kHardSizes = {0, 1, 31, 33, 257, 61};

struct TwinFleet {
  std::vector<std::uint8_t> active = {1};

  static TwinFleet single() { return {}; }
  static TwinFleet several() { return {{1, 0, 1}}; }  // one idles
  std::int32_t n_members() const { return static_cast<std::int32_t>(active.size()); }
};

// Draws one input value; float, so that every twin gets the same.
using ValueSource = std::function<float(std::mt19937_64&)>;
ValueSource normal_values(float scale = 1.0f, float mean = 0.0f);
ValueSource uniform_values(float low, float high);
ValueSource count_values(double mean);

// One array with its guards, and what must hold of it afterwards. n_members 0: it belongs to no member.
struct TwinArray {
  std::string name;
  std::size_t element_bytes = 0, size = 0;
  bool is_float = false, is_output = false, is_shared = false;
  std::int64_t n_members = 1, n_rows = 0, n_features = 0, member_stride = 0, row_stride = 0;
  std::vector<unsigned char> before;
  unsigned char* memory = nullptr;  // the host's, guards included
  unsigned char* mirror = nullptr;  // on a GPU, the same

  TwinArray(const std::string& array_name, std::size_t bytes_per_element, std::int64_t members, std::int64_t rows,
            std::int64_t features, std::int64_t stride, bool output, bool floating, bool on_device);
  TwinArray(const TwinArray&) = delete;
  TwinArray& operator=(const TwinArray&) = delete;
  ~TwinArray();

  unsigned char* data() const;
  unsigned char* address() const;  // what an operation is given
  void fill(const void* dense_values);
  void close_guards();
  void open_guards();
  void check_guards(const std::string& where) const;
  void check_untouched(const std::string& where, const std::vector<std::uint8_t>& active) const;
  bool may_change(std::size_t element, const std::vector<std::uint8_t>& active) const;
  double value(std::size_t element) const;
};
using TwinArrays = std::vector<std::unique_ptr<TwinArray>>;

// What the lambda of check_twins builds its parameters from. Arrays are named; [n_members x n_rows x n_features], row
// strides padded to 16, padding 0.
template <class Real>
class TwinRun {
 public:
  using Scalar = Real;

  TwinRun(const TwinFleet& twin_fleet, ThreadPool& pool, bool cuda);

  // Closes the guards at the moment the operation is about to start: call it last.
  const Execution& execution();
  FleetExtent fleet() const { return {n_members_, active_}; }
  std::int32_t n_members() const { return n_members_; }

  Rows<const Real> input_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features,
                              const ValueSource& source = normal_values()) {
    return rows(name, n_members_, n_rows, n_features, false, &source);
  }
  Rows<Real> in_out_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features,
                         const ValueSource& source = normal_values()) {
    return rows(name, n_members_, n_rows, n_features, true, &source);
  }
  Rows<Real> output_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features) {
    return rows(name, n_members_, n_rows, n_features, true, nullptr);
  }
  // Rows all members share; member_stride is 0.
  Rows<const Real> shared_input_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features,
                                     const ValueSource& source = normal_values()) {
    return rows(name, 0, n_rows, n_features, false, &source);
  }
  Rows<Real> shared_in_out_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features) {
    const ValueSource source = normal_values();
    return rows(name, 0, n_rows, n_features, true, &source);
  }
  Rows<Real> shared_output_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features) {
    return rows(name, 0, n_rows, n_features, true, nullptr);
  }

  // [n_members x per_member] without padding, in values of the run's scalar.
  const Real* input(const std::string& name, std::int64_t per_member, const ValueSource& source = normal_values()) {
    return values(name, n_members_, per_member, false, &source);
  }
  Real* in_out(const std::string& name, std::int64_t per_member, const ValueSource& source = normal_values()) {
    return values(name, n_members_, per_member, true, &source);
  }
  Real* output(const std::string& name, std::int64_t per_member) {
    return values(name, n_members_, per_member, true, nullptr);
  }
  // Scratch: written or not, its values are not compared.
  Real* scratch(const std::string& name, std::int64_t per_member) { return output("scratch:" + name, per_member); }
  void* shared_scratch(std::size_t bytes) {
    return whole_numbers("scratch:bytes", 0, static_cast<std::int64_t>(bytes), true,
                         std::vector<std::uint8_t>(bytes, 0xFF));
  }
  const Real* shared_input(const std::string& name, std::int64_t size, const ValueSource& source = normal_values()) {
    return values(name, 0, size, false, &source);
  }

  // Whole numbers, [n_members x per_member], or of no member where shared; equal on all twins afterwards.
  template <class T>
  T* input_array(const std::string& name, std::int64_t per_member, const std::vector<T>& whole) {
    return whole_numbers(name, n_members_, per_member, false, whole);
  }
  template <class T>
  T* in_out_array(const std::string& name, std::int64_t per_member, const std::vector<T>& whole) {
    return whole_numbers(name, n_members_, per_member, true, whole);
  }
  template <class T>
  T* shared_array(const std::string& name, const std::vector<T>& whole) {
    return whole_numbers(name, 0, static_cast<std::int64_t>(whole.size()), false, whole);
  }
  template <class T>
  T* shared_in_out_array(const std::string& name, const std::vector<T>& whole) {
    return whole_numbers(name, 0, static_cast<std::int64_t>(whole.size()), true, whole);
  }

  void finish(const std::string& where);
  const TwinArrays& arrays() const { return arrays_; }

 private:
  Rows<Real> rows(const std::string& name, std::int64_t n_members, std::int64_t n_rows, std::int64_t n_features,
                  bool is_output, const ValueSource* source);
  Real* values(const std::string& name, std::int64_t n_members, std::int64_t per_member, bool is_output,
               const ValueSource* source);
  template <class T>
  T* whole_numbers(const std::string& name, std::int64_t n_members, std::int64_t per_member, bool is_output,
                   const std::vector<T>& whole) {
    static_assert(std::is_integral_v<T>);
    if (static_cast<std::int64_t>(whole.size()) != (n_members == 0 ? 1 : n_members) * per_member)
      throw std::invalid_argument(name + ": wrong size");
    arrays_.push_back(std::make_unique<TwinArray>(name, sizeof(T), n_members, 1, per_member, per_member, is_output,
                                                  false, execution_.cuda));
    arrays_.back()->fill(whole.data());
    return reinterpret_cast<T*>(arrays_.back()->address());
  }

  const TwinFleet& twin_fleet_;
  std::int32_t n_members_;
  const std::uint8_t* active_ = nullptr;
  Execution execution_;
  TwinArrays arrays_;
};
extern template class TwinRun<float>;
extern template class TwinRun<double>;

struct TwinTolerance {
  double times_cpu = 4.0;    // of the CPU's own distance from the oracle
  double ulps_of_rms = 4.0;  // whatever the CPU's distance
  double ulps_of_value =
      2.0;  // likewise: what a device's own exp or log may be off by, where a value is much larger than the rest
  double cpu_relative =
      1e-4;  // the CPU's distance, over the largest magnitude of the array: a twin both got wrong must not pass
};

void check_twin_runs(const TwinFleet& fleet, const std::function<void(TwinRun<double>&)>& build_oracle,
                     const std::function<void(TwinRun<float>&)>& build, const TwinTolerance& tolerance);

template <class Build>
void check_twins(const TwinFleet& fleet, const Build& build, const TwinTolerance& tolerance = {}) {
  check_twin_runs(
      fleet, [&](TwinRun<double>& run) { build(run); }, [&](TwinRun<float>& run) { build(run); }, tolerance);
}

}  // namespace idem
