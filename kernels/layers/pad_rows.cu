#include <algorithm>

#include "kernels/common/four_floats.h"
#include "kernels/layers/layers.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void pad_rows_cpu(const PadRows<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_rows, 256, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t from = row - p.first;
      if (from >= 0 && from < p.n_source_rows) {
        std::copy_n(p.source.row(member, from), p.n_features, p.out.row(member, row));
      } else {
        std::fill_n(p.out.row(member, row), p.n_features, Real(0));
      }
    }
  });
}
IDEM_INSTANTIATE_CPU(pad_rows, PadRows)
#endif

#if IDEM_COMPILES_CUDA_TWINS
struct PadRowsRow {
  PadRows<float> p;
  bool takes_four() const { return idem::takes_four(p.out) && idem::takes_four(p.source); }
  template <class Features>
  __device__ void at(std::int64_t member, std::int64_t row, std::int32_t feature, std::int32_t n) const {
    const std::int64_t from = row - p.first;
    typename Features::Values values{};
    if (from >= 0 && from < p.n_source_rows) values = Features::load(p.source.row(member, from) + feature, n);
    Features::store(p.out.row(member, row) + feature, n, values);
  }
};

void pad_rows_cuda(const PadRows<float>& p, Stream stream) {
  cu::launch_features("pad_rows", p.fleet, p.n_rows, p.n_features, PadRowsRow{p}, stream);
}
#endif

}  // namespace idem
