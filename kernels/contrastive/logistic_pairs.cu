#include "kernels/common/cuda.h"
#include "kernels/common/stable_math.h"
#include "kernels/contrastive/logistic_pairs.h"

namespace idem {

template <class Real>
struct LogisticPairsRow {
  LogisticPairs<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t) const {
    const std::int64_t at = member * p.row_scalar_stride + row;
    const Real together = p.score.row(member, row)[0], apart = p.score.row(member, p.batch + row)[0],
               half = Real(0.5) * p.row_weight[at];
    p.loss[at] = Real(0.5) * (stable::softplus(-together) + stable::softplus(apart));
    p.accuracy[at] = (together > Real(0) ? Real(0.5) : Real(0)) + (apart < Real(0) ? Real(0.5) : Real(0));
    p.d_score.row(member, row)[0] = -half * stable::sigmoid(-together);
    p.d_score.row(member, p.batch + row)[0] = half * stable::sigmoid(apart);
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void logistic_pairs_cpu(const LogisticPairs<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.batch, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) LogisticPairsRow<Real>{p}(member, row, 0);
  });
}
IDEM_INSTANTIATE_CPU(logistic_pairs, LogisticPairs)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void logistic_pairs_cuda(const LogisticPairs<float>& p, Stream stream) {
  cu::launch_rows("logistic_pairs", p.fleet, p.batch, 1, LogisticPairsRow<float>{p}, stream);
}
#endif

}  // namespace idem
