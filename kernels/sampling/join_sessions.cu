#include "kernels/common/cuda.h"
#include "kernels/common/quads.h"
#include "kernels/sampling/contrastive_indices.h"

namespace idem {

// Where a session's row is among its group's.
template <class Real>
HD std::int64_t joined_row(const JoinSessions<Real>& p, std::int64_t member, std::int64_t row) {
  constexpr std::int64_t positives = 2;
  const std::int64_t list = row / p.batch, place = row - list * p.batch, all = std::int64_t{p.n_sessions} * p.batch;
  return list * all +
         (list == positives ? p.source[member * p.batch + place] : member % p.n_sessions * p.batch + place);
}

template <class Real>
struct JoinSessionsRow {
  JoinSessions<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t quad) const {
    Real* apart = p.apart.row(member, row);
    Real* joined = p.joined.row(member / p.n_sessions, joined_row(p, member, row));
    set_quad(p.to_joined ? joined : apart, quad, quad_of<Real>(p.to_joined ? apart : joined, quad));
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void join_sessions_cpu(const JoinSessions<Real>& p, ThreadPool& pool) {
  const JoinSessionsRow<Real> join{p};
  for_each_row_block(pool, p.fleet, 3 * std::int64_t{p.batch}, 256,
                     [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                       for (std::int64_t row = begin; row < end; ++row) {
                         for (std::int32_t quad = 0; quad < n_quads(p.n_features); ++quad) join(member, row, quad);
                       }
                     });
}
IDEM_INSTANTIATE_CPU(join_sessions, JoinSessions)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void join_sessions_cuda(const JoinSessions<float>& p, Stream stream) {
  cu::launch_rows("join_sessions", p.fleet, 3 * std::int64_t{p.batch}, n_quads(p.n_features), JoinSessionsRow<float>{p},
                  stream);
}
#endif

}  // namespace idem
