// twin_check.h - one comparison for every operation: its CUDA twin, emulated, against its CPU twin, by the distance of both from the double oracle.
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
// The lambda runs for the CPU in float, for the oracle (the CPU in double, on the same float values widened) and for the emulated device in
// float under schedules 0 to 3 (bit-identical), then with blocks of 32 threads. After each run:
//   - outputs started as NaN: a cell of an active member left unwritten is a NaN the oracle has not;
//   - what belongs to an inactive member, padding, inputs, and 64 guard values on both sides of every array are untouched (under
//     -fsanitize=address the guards are poisoned, so that a read is caught too, with its line);
//   - the device may be at most 4 times as far from the oracle as the CPU is, or 4 ulp of the array's rms if that is larger;
//   - whole-number outputs are equal.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/common/cuda.h"

#if defined(CUDA_EMULATOR_ASAN)
extern "C" void __asan_poison_memory_region(const volatile void* begin, std::size_t size);
#endif

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
inline ValueSource normal_values(float scale = 1.0f, float mean = 0.0f) {
  return [scale, mean](std::mt19937_64& random) { return mean + scale * std::normal_distribution<float>()(random); };
}
inline ValueSource uniform_values(float low, float high) {
  return [low, high](std::mt19937_64& random) { return std::uniform_real_distribution<float>(low, high)(random); };
}
inline ValueSource count_values(double mean) {
  return [mean](std::mt19937_64& random) { return static_cast<float>(std::poisson_distribution<int>(mean)(random)); };
}

namespace twin_check_detail {

constexpr std::size_t kGuards = 64;

// One array with its guards, and what must hold of it afterwards.
struct TwinArray {
  std::string name;
  std::size_t element_bytes = 0, size = 0;
  bool is_float = false, is_output = false;
  std::int64_t n_members = 1, n_rows = 0, n_features = 0, member_stride = 0, row_stride = 0;
  bool shared = false;  // belongs to no member
  std::vector<unsigned char> before;
  unsigned char* memory = nullptr;

  TwinArray() = default;
  TwinArray(const TwinArray&) = delete;
  TwinArray& operator=(const TwinArray&) = delete;
  ~TwinArray() { std::free(memory); }

  std::size_t guard_bytes() const { return kGuards * element_bytes; }
  unsigned char* data() const { return memory + guard_bytes(); }
  void allocate() {
    const std::size_t bytes = size * element_bytes + 2 * guard_bytes();
    memory = static_cast<unsigned char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
    std::memset(memory, 0xFF, bytes);
  }
  void close_guards() {
    before.assign(data(), data() + size * element_bytes);
#if defined(CUDA_EMULATOR_ASAN)
    __asan_poison_memory_region(memory, guard_bytes());
    __asan_poison_memory_region(data() + size * element_bytes, guard_bytes());
#endif
  }
  void open_guards() {
#if defined(CUDA_EMULATOR_ASAN)
    __asan_unpoison_memory_region(memory, size * element_bytes + 2 * guard_bytes());
#endif
  }
  void check_guards(const std::string& where) const {
    for (std::size_t i = 0; i < guard_bytes(); ++i) {
      if (memory[i] != 0xFF) {
        ADD_FAILURE() << where << ": " << name << ": written before its begin";
        return;
      }
      if (data()[size * element_bytes + i] != 0xFF) {
        ADD_FAILURE() << where << ": " << name << ": written past its end, at element " << size + i / element_bytes;
        return;
      }
    }
  }
  bool may_change(std::size_t element, const std::vector<std::uint8_t>& active) const {
    if (!is_output) return false;
    const auto position = static_cast<std::int64_t>(element);
    const std::int64_t member = member_stride > 0 ? position / member_stride : 0, within = member_stride > 0 ? position % member_stride : 0;
    if (!shared && !active[static_cast<std::size_t>(member)]) return false;
    return within / row_stride < n_rows && within % row_stride < n_features;
  }
  void check_untouched(const std::string& where, const std::vector<std::uint8_t>& active) const {
    for (std::size_t i = 0; i < size; ++i) {
      if (may_change(i, active)) continue;
      if (std::memcmp(data() + i * element_bytes, before.data() + i * element_bytes, element_bytes) != 0) {
        ADD_FAILURE() << where << ": " << name << ": element " << i
                      << (is_output ? " is padding or an inactive member's and was written" : " is an input and was written");
        return;
      }
    }
  }
  double value(std::size_t element) const {
    const unsigned char* at = data() + element * element_bytes;
    if (element_bytes == sizeof(float)) {
      float x;
      std::memcpy(&x, at, sizeof x);
      return static_cast<double>(x);
    }
    double x;
    std::memcpy(&x, at, sizeof x);
    return x;
  }
};

using Arrays = std::vector<std::unique_ptr<TwinArray>>;

}  // namespace twin_check_detail

// What the lambda of check_twins builds its parameters from. Arrays are named; [n_members x n_rows x n_features], row strides padded to 16,
// padding 0. One thread pool and one stream of values for all runs.
template <class Real>
class TwinRun {
 public:
  using Scalar = Real;

  TwinRun(const TwinFleet& twin_fleet, ThreadPool& pool, bool cuda) : twin_fleet_(twin_fleet) {
    execution_.pool = &pool;
    execution_.cuda = cuda;
    n_members_ = twin_fleet.n_members();
    active_ = input_array<std::uint8_t>("active", 1, twin_fleet.active);
  }

  // Closes the guards at the moment the operation is about to start: fill arrays before calling this.
  const Execution& execution() {
    for (auto& array : arrays_) array->close_guards();
    return execution_;
  }
  FleetExtent fleet() const { return {n_members_, active_}; }
  std::int32_t n_members() const { return n_members_; }

  Rows<const Real> input_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features, const ValueSource& source = normal_values()) {
    return rows(name, n_members_, n_rows, n_features, false, &source);
  }
  Rows<Real> in_out_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features, const ValueSource& source = normal_values()) {
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
  Rows<Real> shared_output_rows(const std::string& name, std::int64_t n_rows, std::int64_t n_features) {
    return rows(name, 0, n_rows, n_features, true, nullptr);
  }

  // [n_members x per_member] without padding, in values of the run's scalar.
  const Real* input(const std::string& name, std::int64_t per_member, const ValueSource& source = normal_values()) {
    return flat<Real>(name, n_members_, per_member, false, fill(name, n_members_ * per_member, &source));
  }
  Real* in_out(const std::string& name, std::int64_t per_member, const ValueSource& source = normal_values()) {
    return flat<Real>(name, n_members_, per_member, true, fill(name, n_members_ * per_member, &source));
  }
  Real* output(const std::string& name, std::int64_t per_member) {
    return flat<Real>(name, n_members_, per_member, true, fill(name, n_members_ * per_member, nullptr));
  }
  // Scratch: written or not, its values are not compared.
  Real* scratch(const std::string& name, std::int64_t per_member) { return output("scratch:" + name, per_member); }
  const Real* shared_input(const std::string& name, std::int64_t size, const ValueSource& source = normal_values()) {
    return flat<Real>(name, 0, size, false, fill(name, size, &source));
  }

  // Whole numbers, [n_members x per_member], or of no member where shared; equal on all twins afterwards.
  template <class T>
  T* input_array(const std::string& name, std::int64_t per_member, const std::vector<T>& values) {
    return flat<T>(name, n_members_, per_member, false, values);
  }
  template <class T>
  T* in_out_array(const std::string& name, std::int64_t per_member, const std::vector<T>& values) {
    return flat<T>(name, n_members_, per_member, true, values);
  }
  template <class T>
  T* shared_array(const std::string& name, const std::vector<T>& values) {
    return flat<T>(name, 0, static_cast<std::int64_t>(values.size()), false, values);
  }
  template <class T>
  T* shared_in_out_array(const std::string& name, const std::vector<T>& values) {
    return flat<T>(name, 0, static_cast<std::int64_t>(values.size()), true, values);
  }

  void finish(const std::string& where) {
    for (auto& array : arrays_) {
      array->open_guards();
      array->check_guards(where);
      array->check_untouched(where, twin_fleet_.active);
    }
  }
  const twin_check_detail::Arrays& arrays() const { return arrays_; }

 private:
  using TwinArray = twin_check_detail::TwinArray;

  std::vector<Real> fill(const std::string& name, std::int64_t size, const ValueSource* source) const {
    std::vector<Real> values(static_cast<std::size_t>(size), std::numeric_limits<Real>::quiet_NaN());
    std::mt19937_64 random(std::hash<std::string>{}(name));
    if (source) {
      for (Real& value : values) value = static_cast<Real>((*source)(random));
    }
    return values;
  }

  // n_members 0: shared.
  template <class T>
  TwinArray& add(const std::string& name, std::int64_t n_members, std::int64_t n_rows, std::int64_t n_features, std::int64_t row_stride,
                 bool is_output, const std::vector<T>& values) {
    arrays_.push_back(std::make_unique<TwinArray>());
    TwinArray& array = *arrays_.back();
    array.name = name;
    array.element_bytes = sizeof(T);
    array.is_float = std::is_floating_point_v<T>;
    array.is_output = is_output;
    array.shared = n_members == 0;
    array.n_members = n_members == 0 ? 1 : n_members;
    array.n_rows = n_rows;
    array.n_features = n_features;
    array.row_stride = row_stride;
    array.member_stride = n_rows * row_stride;
    array.size = static_cast<std::size_t>(array.n_members * array.member_stride);
    array.allocate();
    if (array.size > 0) std::memset(array.data(), 0, array.size * sizeof(T));
    std::size_t next = 0;
    for (std::int64_t row = 0; row < array.n_members * n_rows; ++row) {
      for (std::int64_t feature = 0; feature < n_features; ++feature) {
        std::memcpy(array.data() + static_cast<std::size_t>(row * row_stride + feature) * sizeof(T), &values.at(next++), sizeof(T));
      }
    }
    return array;
  }
  Rows<Real> rows(const std::string& name, std::int64_t n_members, std::int64_t n_rows, std::int64_t n_features, bool is_output,
                  const ValueSource* source) {
    const std::int64_t total = (n_members == 0 ? 1 : n_members) * n_rows * n_features;
    TwinArray& array = add<Real>(name, n_members, n_rows, n_features, padded(n_features), is_output, fill(name, total, source));
    return {reinterpret_cast<Real*>(array.data()), n_members == 0 ? 0 : array.member_stride, array.row_stride};
  }
  template <class T>
  T* flat(const std::string& name, std::int64_t n_members, std::int64_t per_member, bool is_output, const std::vector<T>& values) {
    return reinterpret_cast<T*>(add<T>(name, n_members, 1, per_member, per_member == 0 ? 1 : per_member, is_output, values).data());
  }

  const TwinFleet& twin_fleet_;
  std::int32_t n_members_ = 1;
  const std::uint8_t* active_ = nullptr;
  Execution execution_;
  twin_check_detail::Arrays arrays_;
};

struct TwinTolerance {
  double times_cpu = 4.0;           // of the CPU's own distance from the oracle
  double ulps_of_rms = 4.0;         // whatever the CPU's distance
  double cpu_relative = 1e-4;       // the CPU's distance, over the largest magnitude of the array: a twin both got wrong must not pass
};

namespace twin_check_detail {

inline bool same_special(double a, double b) { return (std::isnan(a) && std::isnan(b)) || a == b; }

inline void compare(const Arrays& oracle, const Arrays& cpu, const Arrays& cuda, const std::vector<std::uint8_t>& active,
                    const TwinTolerance& tolerance, const std::string& where) {
  for (std::size_t a = 0; a < oracle.size(); ++a) {
    const TwinArray &wanted = *oracle[a], &host = *cpu[a], &device = *cuda[a];
    if (!wanted.is_output || wanted.name.rfind("scratch:", 0) == 0) continue;
    if (!wanted.is_float) {
      for (std::size_t i = 0; i < wanted.size * wanted.element_bytes; ++i) {
        if (host.data()[i] == wanted.data()[i] && device.data()[i] == wanted.data()[i]) continue;
        ADD_FAILURE() << where << ": " << wanted.name << ": element " << i / wanted.element_bytes << " differs between twins";
        break;
      }
      continue;
    }
    double squares = 0, largest = 0, cpu_distance = 0;
    std::size_t n = 0, worst_cpu = 0;
    for (std::size_t i = 0; i < wanted.size; ++i) {
      if (!wanted.may_change(i, active)) continue;
      const double want = wanted.value(i), got = host.value(i);
      if (!std::isfinite(want) || !std::isfinite(got)) {
        if (!same_special(want, got)) ADD_FAILURE() << where << ": " << wanted.name << "[" << i << "]: the CPU got " << got << ", want " << want;
        continue;
      }
      squares += want * want;
      largest = std::max(largest, std::abs(want));
      ++n;
      if (std::abs(got - want) > cpu_distance) {
        cpu_distance = std::abs(got - want);
        worst_cpu = i;
      }
    }
    const double rms = n > 0 ? std::sqrt(squares / static_cast<double>(n)) : 0.0;
    const float rms_float = static_cast<float>(rms);
    const double ulp = static_cast<double>(std::nextafter(rms_float, std::numeric_limits<float>::infinity()) - rms_float);
    const double cpu_allowed = std::max(tolerance.cpu_relative * largest, tolerance.ulps_of_rms * ulp);
    EXPECT_TRUE(cpu_distance <= cpu_allowed) << where << ": " << wanted.name << "[" << worst_cpu << "]: the CPU got " << host.value(worst_cpu)
                                             << ", want " << wanted.value(worst_cpu) << ", allowed " << cpu_allowed;
    const double allowed = std::max(tolerance.times_cpu * cpu_distance, tolerance.ulps_of_rms * ulp);
    for (std::size_t i = 0; i < wanted.size; ++i) {
      if (!wanted.may_change(i, active)) continue;
      const double want = wanted.value(i), got = device.value(i);
      if (same_special(want, got) || std::abs(got - want) <= allowed) continue;
      ADD_FAILURE() << where << ": " << wanted.name << "[" << i << "]: got " << got << ", want " << want << ", allowed " << allowed;
      break;
    }
  }
}

inline void expect_same_bits(const Arrays& one, const Arrays& other, const std::string& where) {
  for (std::size_t a = 0; a < one.size(); ++a) {
    if (!one[a]->is_output) continue;
    for (std::size_t i = 0; i < one[a]->size; ++i) {
      const std::size_t bytes = one[a]->element_bytes;
      if (std::memcmp(one[a]->data() + i * bytes, other[a]->data() + i * bytes, bytes) == 0) continue;
      ADD_FAILURE() << where << ": " << one[a]->name << "[" << i << "] differs from schedule 0";
      break;
    }
  }
}

}  // namespace twin_check_detail

template <class Build>
void check_twins(const TwinFleet& fleet, const Build& build, const TwinTolerance& tolerance = {}) {
  ThreadPool pool(2);
  TwinRun<double> oracle(fleet, pool, false);
  build(oracle);
  oracle.finish("oracle");
  TwinRun<float> cpu(fleet, pool, false);
  build(cpu);
  cpu.finish("CPU twin");

  std::unique_ptr<TwinRun<float>> first;
  for (unsigned schedule = 0; schedule < 4; ++schedule) {
    const std::string where = "CUDA twin, schedule " + std::to_string(schedule);
    cuda_emulator::set_schedule(schedule);
    auto cuda = std::make_unique<TwinRun<float>>(fleet, pool, true);
    build(*cuda);
    cuda->finish(where);
    if (!first) {
      twin_check_detail::compare(oracle.arrays(), cpu.arrays(), cuda->arrays(), fleet.active, tolerance, where);
      first = std::move(cuda);
    } else {
      twin_check_detail::expect_same_bits(first->arrays(), cuda->arrays(), where);
    }
  }
  cuda_emulator::reset();
  cuda_emulator::set_largest_block(32);
  TwinRun<float> narrow(fleet, pool, true);
  build(narrow);
  narrow.finish("CUDA twin, blocks of 32");
  twin_check_detail::compare(oracle.arrays(), cpu.arrays(), narrow.arrays(), fleet.active, tolerance, "CUDA twin, blocks of 32");
  cuda_emulator::reset();
}

}  // namespace idem
