#include "kernels/common/thread_pool.h"

#include <gtest/gtest.h>

#include <sched.h>

#include "kernels/common/to_size.h"

#include <atomic>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace idem {
namespace {

// Set, or taken away, while it lives.
class Variable {
 public:
  Variable(const char* name, const char* value) : name_(name) {
    if (const char* before = std::getenv(name)) before_ = before;
    value ? setenv(name, value, 1) : unsetenv(name);
  }
  ~Variable() { before_ ? setenv(name_, before_->c_str(), 1) : unsetenv(name_); }
  Variable(const Variable&) = delete;
  Variable& operator=(const Variable&) = delete;

 private:
  const char* name_;
  std::optional<std::string> before_;
};

int threads_with(const char* slurm, const char* open_mp) {
  const Variable first("SLURM_CPUS_PER_TASK", slurm), second("OMP_NUM_THREADS", open_mp);
  return available_threads();
}

TEST(ThreadPool, TakesNoMoreThreadsThanAffinityAndTheEnvironmentAllow) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  const int n_cores = CPU_COUNT(&all);
  EXPECT_EQ(threads_with(nullptr, nullptr), n_cores);
  EXPECT_EQ(threads_with("1", nullptr), 1);
  EXPECT_EQ(threads_with(nullptr, "1"), 1);
  EXPECT_EQ(threads_with(nullptr, "1,4"), 1) << "OpenMP's list, one for each level";
  EXPECT_EQ(threads_with("100000", "100000"), n_cores);
  for (const char* nonsense : {"", "0", "-1", "many", "1x", "99999999999"})
    EXPECT_EQ(threads_with(nonsense, nonsense), n_cores) << nonsense;
  int bound = 0;
  std::thread([&] {
    int core = 0;
    while (!CPU_ISSET(core, &all)) ++core;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(core, &one);
    if (sched_setaffinity(0, sizeof one, &one) == 0) bound = threads_with(nullptr, nullptr);
  }).join();
  EXPECT_EQ(bound, 1);
  const Variable none("SLURM_CPUS_PER_TASK", "1");
  EXPECT_EQ(ThreadPool(0).n_threads(), 1);
}

TEST(ThreadPool, RunsEveryTaskOnceForAnyNumberOfThreads) {
  for (int n_threads : {1, 2, 3, 8}) {
    ThreadPool pool(n_threads);
    for (int n_tasks : {0, 1, 2, 7, 64, 1001}) {
      std::vector<int> runs(to_size(n_tasks), 0);
      for (int repeat = 0; repeat < 50; ++repeat)
        pool.parallel_for(n_tasks, [&](std::int64_t task) { ++runs[to_size(task)]; });
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
