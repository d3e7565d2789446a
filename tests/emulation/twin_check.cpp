#include "tests/emulation/twin_check.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "tests/emulation/twin_device.h"

#if defined(CUDA_EMULATOR_ASAN)
extern "C" void __asan_poison_memory_region(const volatile void* begin, std::size_t size);
#endif

namespace idem {

namespace {

constexpr std::size_t kGuards = 64;

bool is_scratch(const TwinArray& array) { return array.name.rfind("scratch:", 0) == 0; }

template <class Real>
std::vector<Real> draw_values(const std::string& name, std::int64_t size, const ValueSource* source) {
  std::vector<Real> values(static_cast<std::size_t>(size), std::numeric_limits<Real>::quiet_NaN());
  std::mt19937_64 random(std::hash<std::string>{}(name));
  if (source) {
    for (Real& value : values) value = static_cast<Real>((*source)(random));
  }
  return values;
}

bool same_special(double a, double b) { return (std::isnan(a) && std::isnan(b)) || a == b; }

void compare_whole_numbers(const TwinArray& wanted, const TwinArray& host, const TwinArray& device,
                           const std::string& where) {
  for (std::size_t i = 0; i < wanted.size * wanted.element_bytes; ++i) {
    if (host.data()[i] == wanted.data()[i] && device.data()[i] == wanted.data()[i]) continue;
    ADD_FAILURE() << where << ": " << wanted.name << ": element " << i / wanted.element_bytes
                  << " differs between twins";
    return;
  }
}

double ulp(float value) {
  const float magnitude = std::abs(value);
  return std::isfinite(value)
             ? static_cast<double>(std::nextafter(magnitude, std::numeric_limits<float>::infinity()) - magnitude)
             : 0.0;
}

void compare_floats(const TwinArray& wanted, const TwinArray& host, const TwinArray& device,
                    const std::vector<std::uint8_t>& active, const TwinTolerance& tolerance, const std::string& where) {
  double squares = 0, largest = 0, cpu_distance = 0;
  std::size_t n = 0, worst_cpu = 0;
  for (std::size_t i = 0; i < wanted.size; ++i) {
    if (!wanted.may_change(i, active)) continue;
    const double want = wanted.value(i), got = host.value(i);
    if (!std::isfinite(want) || !std::isfinite(got)) {
      if (!same_special(want, got)) {
        ADD_FAILURE() << where << ": " << wanted.name << "[" << i << "]: the CPU got " << got << ", want " << want;
        return;
      }
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
  const float rms = n > 0 ? static_cast<float>(std::sqrt(squares / static_cast<double>(n))) : 0.0f;
  const double floor = tolerance.ulps_of_rms * ulp(rms);
  const double cpu_allowed = std::max(tolerance.cpu_relative * largest, floor);
  if (!(cpu_distance <= cpu_allowed)) {
    ADD_FAILURE() << where << ": " << wanted.name << "[" << worst_cpu << "]: the CPU got " << host.value(worst_cpu)
                  << ", want " << wanted.value(worst_cpu) << ", allowed " << cpu_allowed;
  }
  const double allowed = std::max(tolerance.times_cpu * cpu_distance, floor);
  for (std::size_t i = 0; i < wanted.size; ++i) {
    if (!wanted.may_change(i, active)) continue;
    const double want = wanted.value(i), got = device.value(i);
    const double allowed_here = std::max(allowed, tolerance.ulps_of_value * ulp(static_cast<float>(want)));
    if (same_special(want, got) || std::abs(got - want) <= allowed_here) continue;
    ADD_FAILURE() << where << ": " << wanted.name << "[" << i << "]: got " << got << ", want " << want << ", allowed "
                  << allowed_here;
    return;
  }
}

void compare(const TwinArrays& oracle, const TwinArrays& cpu, const TwinArrays& cuda,
             const std::vector<std::uint8_t>& active, const TwinTolerance& tolerance, const std::string& where) {
  for (std::size_t i = 0; i < oracle.size(); ++i) {
    if (!oracle[i]->is_output || is_scratch(*oracle[i])) continue;
    if (oracle[i]->is_float) {
      compare_floats(*oracle[i], *cpu[i], *cuda[i], active, tolerance, where);
    } else {
      compare_whole_numbers(*oracle[i], *cpu[i], *cuda[i], where);
    }
  }
}

void expect_same_bits(const TwinArrays& one, const TwinArrays& other, const std::string& where) {
  for (std::size_t a = 0; a < one.size(); ++a) {
    if (!one[a]->is_output || is_scratch(*one[a])) continue;
    const std::size_t bytes = one[a]->element_bytes;
    for (std::size_t i = 0; i < one[a]->size; ++i) {
      if (std::memcmp(one[a]->data() + i * bytes, other[a]->data() + i * bytes, bytes) == 0) continue;
      ADD_FAILURE() << where << ": " << one[a]->name << "[" << i << "] differs from schedule 0";
      break;
    }
  }
}

}  // namespace

ValueSource normal_values(float scale, float mean) {
  return [scale, mean](std::mt19937_64& random) { return mean + scale * std::normal_distribution<float>()(random); };
}
ValueSource uniform_values(float low, float high) {
  return [low, high](std::mt19937_64& random) { return std::uniform_real_distribution<float>(low, high)(random); };
}
ValueSource count_values(double mean) {
  return [mean](std::mt19937_64& random) { return static_cast<float>(std::poisson_distribution<int>(mean)(random)); };
}

TwinArray::TwinArray(const std::string& array_name, std::size_t bytes_per_element, std::int64_t members,
                     std::int64_t rows, std::int64_t features, std::int64_t stride, bool output, bool floating,
                     bool on_device)
    : name(array_name),
      element_bytes(bytes_per_element),
      is_float(floating),
      is_output(output),
      is_shared(members == 0),
      n_members(members == 0 ? 1 : members),
      n_rows(rows),
      n_features(features),
      member_stride(rows * stride),
      row_stride(stride) {
  size = static_cast<std::size_t>(n_members * member_stride);
  const std::size_t bytes = (size + 2 * kGuards) * element_bytes;
  memory = static_cast<unsigned char*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
  std::memset(memory, 0xFF, bytes);
  if (on_device) mirror = twin_device::allocate(bytes);
}
TwinArray::~TwinArray() {
  if (mirror) twin_device::release(mirror);
  open_guards();
  std::free(memory);
}

unsigned char* TwinArray::data() const { return memory + kGuards * element_bytes; }
unsigned char* TwinArray::address() const { return mirror ? mirror + kGuards * element_bytes : data(); }

void TwinArray::fill(const void* dense_values) {
  if (size == 0) return;
  std::memset(data(), 0, size * element_bytes);
  const std::size_t row_bytes = static_cast<std::size_t>(n_features) * element_bytes;
  for (std::int64_t row = 0; row < n_members * n_rows; ++row) {
    std::memcpy(data() + static_cast<std::size_t>(row * row_stride) * element_bytes,
                static_cast<const unsigned char*>(dense_values) + static_cast<std::size_t>(row) * row_bytes, row_bytes);
  }
}

void TwinArray::close_guards() {
  before.assign(data(), data() + size * element_bytes);
  if (mirror) twin_device::upload(mirror, memory, (size + 2 * kGuards) * element_bytes);
#if defined(CUDA_EMULATOR_ASAN)
  __asan_poison_memory_region(memory, kGuards * element_bytes);
  __asan_poison_memory_region(data() + size * element_bytes, kGuards * element_bytes);
#endif
}
void TwinArray::open_guards() {
#if defined(CUDA_EMULATOR_ASAN)
  __asan_unpoison_memory_region(memory, (size + 2 * kGuards) * element_bytes);
#endif
}

void TwinArray::check_guards(const std::string& where) const {
  for (std::size_t i = 0; i < kGuards * element_bytes; ++i) {
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

bool TwinArray::may_change(std::size_t element, const std::vector<std::uint8_t>& active) const {
  if (!is_output) return false;
  const auto position = static_cast<std::int64_t>(element);
  if (!is_shared && !active[static_cast<std::size_t>(position / member_stride)]) return false;
  const std::int64_t within = position % member_stride;
  return within / row_stride < n_rows && within % row_stride < n_features;
}

void TwinArray::check_untouched(const std::string& where, const std::vector<std::uint8_t>& active) const {
  for (std::size_t i = 0; i < size; ++i) {
    if (may_change(i, active)) continue;
    if (std::memcmp(data() + i * element_bytes, before.data() + i * element_bytes, element_bytes) != 0) {
      ADD_FAILURE() << where << ": " << name << ": element " << i
                    << (is_output ? " is padding or an inactive member's and was written"
                                  : " is an input and was written");
      return;
    }
  }
}

double TwinArray::value(std::size_t element) const {
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

template <class Real>
TwinRun<Real>::TwinRun(const TwinFleet& twin_fleet, ThreadPool& pool, bool cuda)
    : twin_fleet_(twin_fleet), n_members_(twin_fleet.n_members()) {
  execution_.pool = &pool;
  execution_.cuda = cuda;
  active_ = input_array<std::uint8_t>("active", 1, twin_fleet.active);
}

template <class Real>
const Execution& TwinRun<Real>::execution() {
  for (auto& array : arrays_) array->close_guards();
  return execution_;
}

template <class Real>
void TwinRun<Real>::finish(const std::string& where) {
  for (auto& array : arrays_) {
    array->open_guards();
    if (array->mirror)
      twin_device::download(array->memory, array->mirror, (array->size + 2 * kGuards) * array->element_bytes);
    array->check_guards(where);
    array->check_untouched(where, twin_fleet_.active);
  }
}

template <class Real>
Rows<Real> TwinRun<Real>::rows(const std::string& name, std::int64_t n_members, std::int64_t n_rows,
                               std::int64_t n_features, bool is_output, const ValueSource* source) {
  arrays_.push_back(std::make_unique<TwinArray>(name, sizeof(Real), n_members, n_rows, n_features, padded(n_features),
                                                is_output, true, execution_.cuda));
  TwinArray& array = *arrays_.back();
  array.fill(draw_values<Real>(name, array.n_members * n_rows * n_features, source).data());
  return {reinterpret_cast<Real*>(array.address()), n_members == 0 ? 0 : array.member_stride, array.row_stride};
}

template <class Real>
Real* TwinRun<Real>::values(const std::string& name, std::int64_t n_members, std::int64_t per_member, bool is_output,
                            const ValueSource* source) {
  arrays_.push_back(std::make_unique<TwinArray>(name, sizeof(Real), n_members, 1, per_member, per_member, is_output,
                                                true, execution_.cuda));
  TwinArray& array = *arrays_.back();
  array.fill(draw_values<Real>(name, array.n_members * per_member, source).data());
  return reinterpret_cast<Real*>(array.address());
}

template class TwinRun<float>;
template class TwinRun<double>;

void check_twin_runs(const TwinFleet& fleet, const std::function<void(TwinRun<double>&)>& build_oracle,
                     const std::function<void(TwinRun<float>&)>& build, const TwinTolerance& tolerance) {
  ThreadPool pool(2);
  TwinRun<double> oracle(fleet, pool, false);
  build_oracle(oracle);
  oracle.finish("oracle");
  TwinRun<float> cpu(fleet, pool, false);
  build(cpu);
  cpu.finish("CPU twin");

  const auto run_on_device = [&](const std::string& where) {
    auto cuda = std::make_unique<TwinRun<float>>(fleet, pool, true);
    build(*cuda);
    cuda->finish(where);
    return cuda;
  };
  std::unique_ptr<TwinRun<float>> first;
  const unsigned n_schedules = twin_device::has_schedules() ? 4 : 2;  // without them, whether two runs are alike
  for (unsigned schedule = 0; schedule < n_schedules; ++schedule) {
    const std::string where = "CUDA twin, schedule " + std::to_string(schedule);
    twin_device::set_schedule(schedule);
    auto cuda = run_on_device(where);
    if (!first) {
      compare(oracle.arrays(), cpu.arrays(), cuda->arrays(), fleet.active, tolerance, where);
      first = std::move(cuda);
    } else {
      expect_same_bits(first->arrays(), cuda->arrays(), where);
    }
  }
  if (!twin_device::has_schedules()) return;
  twin_device::reset();
  twin_device::set_largest_block(32);
  const auto check_again = [&](const std::string& where) {
    compare(oracle.arrays(), cpu.arrays(), run_on_device(where)->arrays(), fleet.active, tolerance, where);
  };
  check_again("CUDA twin, blocks of 32");
  twin_device::set_largest_block(64);
  twin_device::set_largest_grid(1);
  for (const unsigned schedule : {0u, 2u}) {  // threads that run ahead into the next piece of work
    twin_device::set_schedule(schedule);
    check_again("CUDA twin, one block for all, schedule " + std::to_string(schedule));
  }
  twin_device::reset();
}

}  // namespace idem
