#include <cblas.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "engine/device.h"

namespace idem {

namespace {

void gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n, blasint k, const float* a, blasint lda, const float* b, blasint ldb,
          float beta, float* c, blasint ldc) {
  cblas_sgemm(CblasRowMajor, ta, tb, m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}
void gemm(CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n, blasint k, const double* a, blasint lda, const double* b, blasint ldb,
          double beta, double* c, blasint ldc) {
  cblas_dgemm(CblasRowMajor, ta, tb, m, n, k, 1.0, a, lda, b, ldb, beta, c, ldc);
}

// How c is cut into tasks: along its longer side, because the library packs both factors anew for every task and a thin slice would repack the
// large one for few rows. About two million multiply-adds each (some 40 us of one core) or a 32nd of the product, in multiples of the library's
// register tile. By shape alone: the number of threads must not change which blocks there are.
struct Blocks {
  bool of_rows = true;
  std::int64_t size = 0;
};
Blocks blocks_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  constexpr std::int64_t kMultiplyAdds = 2'000'000, kMostTasks = 32, kTile = 16;
  const std::int64_t longer = std::max(m, n), tasks = std::clamp<std::int64_t>(m * n * k / kMultiplyAdds, 1, kMostTasks);
  return {.of_rows = m >= n, .size = padded((longer + tasks - 1) / tasks, kTile)};
}

class PlainSequence final : public Device::Sequence {
 public:
  explicit PlainSequence(std::function<void()> operations) : operations_(std::move(operations)) {}
  void run(std::int64_t n_times) override {
    for (std::int64_t i = 0; i < n_times; ++i) operations_();
  }

 private:
  std::function<void()> operations_;
};

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int n_threads) : pool_(n_threads) {
    openblas_set_num_threads(1);
    execution_.pool = &pool_;
  }

  std::string name() const override {
    return "cpu (" + std::to_string(pool_.n_threads()) + (pool_.n_threads() == 1 ? " thread)" : " threads)");
  }
  const Execution& execution() const override { return execution_; }

  void* allocate(std::size_t bytes) override {
    // 64 bytes: a cache line and the widest vector register.
    void* memory = std::aligned_alloc(64, static_cast<std::size_t>(padded(static_cast<std::int64_t>(std::max<std::size_t>(bytes, 1)), 64)));
    if (!memory) throw out_of_memory("", bytes, 0);
    std::memset(memory, 0, bytes);
    return memory;
  }
  void release(void* memory) noexcept override { std::free(memory); }
  void copy_in(void* to, const void* host, std::size_t bytes) override { copy(to, host, bytes); }
  void copy_out(void* host, const void* from, std::size_t bytes) override { copy(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override {
    // One core does not reach the memory's bandwidth.
    constexpr std::size_t kBlock = std::size_t{4} << 20;
    pool_.parallel_for(static_cast<std::int64_t>((bytes + kBlock - 1) / kBlock), [&](std::int64_t block) {
      const std::size_t begin = static_cast<std::size_t>(block) * kBlock;
      std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin, std::min(kBlock, bytes - begin));
    });
  }
  void clear(void* memory, std::size_t bytes) override {
    if (bytes) std::memset(memory, 0, bytes);
  }
  void synchronize() override {}
  void multiply(const MatrixProduct<float>& product) override { multiply_rows(product); }
  void multiply(const MatrixProduct<double>& product) override { multiply_rows(product); }
  std::unique_ptr<Sequence> make_sequence(std::function<void()> operations) override {
    return std::make_unique<PlainSequence>(std::move(operations));
  }

 private:
  template <class Real>
  void multiply_rows(const MatrixProduct<Real>& p) {
    if (!fuses(p)) throw DeviceError("the CPU fuses nothing with a product");
    const Blocks blocks = blocks_of(p.m, p.n, p.k);
    for_each_row_block(pool_, p.fleet, blocks.of_rows ? p.m : p.n, blocks.size, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
      const std::int64_t row = blocks.of_rows ? begin : 0, column = blocks.of_rows ? 0 : begin;
      const Real* a = p.transpose_a ? p.a.row(member, 0) + row : p.a.row(member, row);
      const Real* b = p.transpose_b ? p.b.row(member, column) : p.b.row(member, 0) + column;
      gemm(p.transpose_a ? CblasTrans : CblasNoTrans, p.transpose_b ? CblasTrans : CblasNoTrans,
           static_cast<blasint>(blocks.of_rows ? end - begin : p.m), static_cast<blasint>(blocks.of_rows ? p.n : end - begin),
           static_cast<blasint>(p.k), a, static_cast<blasint>(p.a.row_stride), b, static_cast<blasint>(p.b.row_stride),
           p.accumulate ? Real(1) : Real(0), p.c.row(member, row) + column, static_cast<blasint>(p.c.row_stride));
    });
  }

  ThreadPool pool_;
  Execution execution_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(int n_threads) { return std::make_unique<CpuDevice>(n_threads); }

}  // namespace idem
