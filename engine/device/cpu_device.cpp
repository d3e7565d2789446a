#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <new>

#include "engine/device/device.h"
#include "engine/device/open_blas.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

void gemm(const OpenBlas& blas, CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n, blasint k, const float* a,
          blasint lda, const float* b, blasint ldb, float beta, float* c, blasint ldc) {
  blas.sgemm(CblasRowMajor, ta, tb, m, n, k, 1.0f, a, lda, b, ldb, beta, c, ldc);
}
void gemm(const OpenBlas& blas, CBLAS_TRANSPOSE ta, CBLAS_TRANSPOSE tb, blasint m, blasint n, blasint k,
          const double* a, blasint lda, const double* b, blasint ldb, double beta, double* c, blasint ldc) {
  blas.dgemm(CblasRowMajor, ta, tb, m, n, k, 1.0, a, lda, b, ldb, beta, c, ldc);
}

// How c is cut into tasks: along its longer side, because the library packs both factors anew for every task and a thin
// slice would repack the large one for few rows. About 150 000 multiply-adds each (some 4 us of one core) or a 32nd of
// the product, in multiples of the library's register tile. By shape alone: the number of threads must not change which
// blocks there are.
struct Blocks {
  bool of_rows = true;
  std::int64_t size = 0;
};
Blocks blocks_of(std::int64_t m, std::int64_t n, std::int64_t k) {
  constexpr std::int64_t kMultiplyAdds = 150'000, kMostTasks = 32, kTile = 16;
  const std::int64_t longer = std::max(m, n),
                     tasks = std::clamp<std::int64_t>(m * n * k / kMultiplyAdds, 1, kMostTasks);
  return {.of_rows = m >= n, .size = padded((longer + tasks - 1) / tasks, kTile)};
}

class CpuDevice final : public Device {
 public:
  explicit CpuDevice(int n_threads) : pool_(n_threads) {
    reserve_product_buffers(pool_.n_threads());
    execution_.pool = &pool_;
  }

  std::string name() const override {
    return "cpu (" + std::to_string(pool_.n_threads()) + (pool_.n_threads() == 1 ? " thread)" : " threads)");
  }
  const Execution& execution() const override { return execution_; }

  void* allocate(std::size_t bytes) override {
    // 64 bytes: a cache line and the widest vector register.
    void* memory =
        std::aligned_alloc(64, to_size(padded(static_cast<std::int64_t>(std::max<std::size_t>(bytes, 1)), 64)));
    if (!memory) throw out_of_memory("", bytes, 0);
    std::memset(memory, 0, bytes);
    return memory;
  }
  void release(void* memory) noexcept override { std::free(memory); }
  std::size_t free_bytes() const override { return free_host_bytes(); }
  void copy_in(void* to, const void* host, std::size_t bytes) override { copy(to, host, bytes); }
  void copy_out(void* host, const void* from, std::size_t bytes) override { copy(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override {
    // One core does not reach the memory's bandwidth.
    constexpr std::size_t kBlock = std::size_t{4} << 20;
    pool_.parallel_for(static_cast<std::int64_t>((bytes + kBlock - 1) / kBlock), [&](std::int64_t block) {
      const std::size_t begin = to_size(block) * kBlock;
      std::memcpy(static_cast<char*>(to) + begin, static_cast<const char*>(from) + begin,
                  std::min(kBlock, bytes - begin));
    });
  }
  void clear(void* memory, std::size_t bytes) override {
    if (bytes) std::memset(memory, 0, bytes);
  }
  void synchronize() override {}
  // What a task has just multiplied is still in its core's cache.
  using Device::fuses;
  bool fuses(const MatrixProduct<float>& p) override {
    return !p.has_epilogue() ||
           (p.bias && !p.a_sums && p.activation != Activation::leaky_relu);  // whose slope a product does not know
  }
  void multiply(const MatrixProduct<float>& p) override {
    if (!fuses(p)) throw DeviceError("a product was asked for with an epilogue that the CPU does not fuse");
    multiply_blocks(p, [&](std::int64_t member, std::int64_t row, std::int64_t column, std::int64_t n_rows,
                           std::int64_t n_columns) {
      if (!p.has_epilogue()) return;
      const auto of_block = [&](auto rows) {
        if (rows) rows.data += column;
        return rows;
      };
      bias_activation_of_rows(BiasActivation<float>{.n_features = static_cast<std::int32_t>(n_columns),
                                                    .activation = p.activation,
                                                    .bias = of_block(p.bias),
                                                    .value = of_block(p.c),
                                                    .pre_activation = of_block(p.pre_activation)},
                              member, row, row + n_rows);
    });
  }
  void multiply(const MatrixProduct<double>& p) override {
    if (!fuses(p)) throw DeviceError("the CPU fuses nothing with a product of doubles");
    multiply_blocks(p, [](auto...) {});
  }
  std::unique_ptr<Sequence> make_sequence(const char*, std::function<void()> operations) override {
    return std::make_unique<PlainSequence>(std::move(operations));
  }

 private:
  // Calls then(member, first row, first column, rows, columns) after each block of c, in its task.
  template <class Real, class Then>
  void multiply_blocks(const MatrixProduct<Real>& p, const Then& then) {
    const Blocks blocks = blocks_of(p.m, p.n, p.k);
    for_each_row_block(
        pool_, p.fleet, blocks.of_rows ? p.m : p.n, blocks.size,
        [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
          const std::int64_t row = blocks.of_rows ? begin : 0, column = blocks.of_rows ? 0 : begin;
          const std::int64_t n_rows = blocks.of_rows ? end - begin : p.m,
                             n_columns = blocks.of_rows ? p.n : end - begin;
          const Real* a = p.transpose_a ? p.a.row(member, 0) + row : p.a.row(member, row);
          const Real* b = p.transpose_b ? p.b.row(member, column) : p.b.row(member, 0) + column;
          gemm(blas_, p.transpose_a ? CblasTrans : CblasNoTrans, p.transpose_b ? CblasTrans : CblasNoTrans,
               static_cast<blasint>(n_rows), static_cast<blasint>(n_columns), static_cast<blasint>(p.k), a,
               static_cast<blasint>(p.a.row_stride), b, static_cast<blasint>(p.b.row_stride),
               p.accumulate ? Real(1) : Real(0), p.c.row(member, row) + column, static_cast<blasint>(p.c.row_stride));
          then(member, row, column, n_rows, n_columns);
        });
  }

  const OpenBlas& blas_ = open_blas();
  ThreadPool pool_;
  Execution execution_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(int n_threads) { return std::make_unique<CpuDevice>(n_threads); }

}  // namespace idem
