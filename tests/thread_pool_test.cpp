#include "kernels/common/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>
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

// What `parallel_for` throws, and how many tasks ran.
struct Outcome {
  std::string message;
  std::int64_t n_ran = 0;
};
template <class Throws>
Outcome run_throwing(ThreadPool& pool, std::int64_t n_tasks, const Throws& throws) {
  std::atomic<std::int64_t> n_ran{0};
  Outcome outcome;
  try {
    pool.parallel_for(n_tasks, [&](std::int64_t task) {
      n_ran.fetch_add(1);
      if (throws(task)) throw std::runtime_error("task " + std::to_string(task));
    });
  } catch (const std::runtime_error& error) {
    outcome.message = error.what();
  }
  outcome.n_ran = n_ran.load();
  return outcome;
}

TEST(ThreadPool, ThrowsTheExceptionOfTheLowestTaskOnceAllHaveRun) {
  for (int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    for (std::int64_t n_tasks : {1, 2, 7, 64})
      for (std::int64_t first : {std::int64_t{0}, n_tasks / 2, n_tasks - 1})
        for (int repeat = 0; repeat < 20; ++repeat) {
          const Outcome several = run_throwing(pool, n_tasks, [first](std::int64_t task) { return task >= first; });
          EXPECT_EQ(several.message, "task " + std::to_string(first));
          EXPECT_EQ(several.n_ran, n_tasks);
          // An error is thrown once: the pool forgets it.
          const Outcome none = run_throwing(pool, n_tasks, [](std::int64_t) { return false; });
          EXPECT_EQ(none.message, "");
          EXPECT_EQ(none.n_ran, n_tasks);
        }
  }
}

TEST(ThreadPool, ThrowsWhatATaskOfTheCallingThreadOrOfAWorkerThrew) {
  ThreadPool pool(2);
  const auto caller = std::this_thread::get_id();
  for (const bool on_caller : {true, false}) {
    // Each of the two tasks waits until the other has begun, so that each thread runs one.
    std::atomic<int> n_begun{0};
    std::atomic<std::int64_t> thrower{-1};
    std::string message;
    try {
      pool.parallel_for(2, [&](std::int64_t task) {
        n_begun.fetch_add(1);
        while (n_begun.load() < 2) std::this_thread::yield();
        if ((std::this_thread::get_id() == caller) != on_caller) return;
        thrower.store(task);
        throw std::runtime_error("task " + std::to_string(task));
      });
    } catch (const std::runtime_error& error) {
      message = error.what();
    }
    EXPECT_EQ(message, "task " + std::to_string(thrower.load())) << (on_caller ? "calling thread" : "worker");
  }
}

}  // namespace
}  // namespace idem
