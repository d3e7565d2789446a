#include <algorithm>

#include "kernels/common/cuda.h"
#include "kernels/sampling/contrastive_indices.h"

namespace idem {

// Where a session's row is among its group's.
template <class Real>
HD std::int64_t joined_row(const JoinSessions<Real>& p, std::int64_t member, std::int64_t row) {
  constexpr std::int64_t positives = 2;
  const std::int64_t list = row / p.batch, place = row - list * p.batch, all = std::int64_t{p.n_sessions} * p.batch;
  return list * all + (list == positives ? p.source[member * p.batch + place] : member % p.n_sessions * p.batch + place);
}

template <class Real>
struct JoinSessionsRow {
  JoinSessions<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    Real* apart = p.apart.row(member, row) + feature;
    Real* joined = p.joined.row(member / p.n_sessions, joined_row(p, member, row)) + feature;
    if (p.to_joined) {
      *joined = *apart;
    } else {
      *apart = *joined;
    }
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void join_sessions_cpu(const JoinSessions<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, 3 * std::int64_t{p.batch}, 256, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      Real* apart = p.apart.row(member, row);
      Real* joined = p.joined.row(member / p.n_sessions, joined_row(p, member, row));
      std::copy_n(p.to_joined ? apart : joined, p.n_features, p.to_joined ? joined : apart);
    }
  });
}
IDEM_INSTANTIATE_CPU(join_sessions, JoinSessions)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void join_sessions_cuda(const JoinSessions<float>& p, Stream stream) {
  cu::launch_rows("join_sessions", p.fleet, 3 * std::int64_t{p.batch}, p.n_features, JoinSessionsRow<float>{p}, stream);
}
#endif

}  // namespace idem
