#include "kernels/layers/flow_rows.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
template <class Params, class Body>
static void for_each_row(const Params& p, const Body& body, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_rows, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for_each_feature(body, p.n_a + p.n_b, member, begin, end);
  });
}

template <class Real>
void join_features_forward_cpu(const JoinFeatures<Real>& p, ThreadPool& pool) {
  for_each_row(p, JoinFeaturesRow<Real>{p}, pool);
}
template <class Real>
void join_features_backward_cpu(const JoinFeaturesGradient<Real>& p, ThreadPool& pool) {
  for_each_row(p, JoinFeaturesGradientRow<Real>{p}, pool);
}
IDEM_INSTANTIATE_CPU(join_features_forward, JoinFeatures)
IDEM_INSTANTIATE_CPU(join_features_backward, JoinFeaturesGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void join_features_forward_cuda(const JoinFeatures<float>& p, Stream stream) {
  cu::launch_rows("join_features_forward", p.fleet, p.n_rows, p.n_a + p.n_b, JoinFeaturesRow<float>{p}, stream);
}
void join_features_backward_cuda(const JoinFeaturesGradient<float>& p, Stream stream) {
  cu::launch_rows("join_features_backward", p.fleet, p.n_rows, p.n_a + p.n_b, JoinFeaturesGradientRow<float>{p},
                  stream);
}
#endif

}  // namespace idem
