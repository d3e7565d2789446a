#include "kernels/common/thread_pool.h"

#include <gtest/gtest.h>

#include <vector>

namespace idem {
namespace {

TEST(ThreadPool, RunsEveryTaskOnceForAnyNumberOfThreads) {
  for (int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    for (int n_tasks : {0, 1, 2, 7, 64, 1001}) {
      std::vector<int> runs(static_cast<std::size_t>(n_tasks), 0);
      for (int repeat = 0; repeat < 50; ++repeat) pool.parallel_for(n_tasks, [&](std::int64_t task) { ++runs[static_cast<std::size_t>(task)]; });
      for (int count : runs) EXPECT_EQ(count, 50);
    }
  }
}

}  // namespace
}  // namespace idem
