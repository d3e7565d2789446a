// one_thread.h - the pool of a test that is not about threads, and what outputs are filled with before it.
#pragma once

#include <limits>

#include "kernels/common/thread_pool.h"

namespace idem {

template <class Real>
constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();

inline ThreadPool& one_thread() {
  static ThreadPool pool(1);
  return pool;
}

}  // namespace idem
