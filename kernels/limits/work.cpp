#include "kernels/limits/copy_values.h"
#include "kernels/limits/multiply_adds.h"

namespace idem {

template <class Real>
Work work(const CopyValues<Real>& p) {
  return {2.0 * static_cast<double>(p.n) * sizeof(Real), 0};
}
IDEM_INSTANTIATE_WORK(CopyValues)

template <class Real>
Work work(const MultiplyAdds<Real>& p) {
  return {2.0 * static_cast<double>(p.n) * sizeof(Real), 2.0 * static_cast<double>(p.n) * p.rounds};
}
IDEM_INSTANTIATE_WORK(MultiplyAdds)

}  // namespace idem
