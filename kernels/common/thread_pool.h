// thread_pool.h - the CPU's launch: n tasks over a fixed number of threads.
//
// Tasks are cut by shape alone, never by the number of threads, and a task's result does not depend on who runs it; so a result is the same
// for any number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

namespace idem {

class ThreadPool {
 public:
  // n_threads includes the calling one; 0 means one per available core.
  explicit ThreadPool(int n_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(0) ... task(n_tasks - 1), each once, and returns when all have run. Thread i runs the i-th contiguous share, so that a
  // member's arrays stay in one core's cache from operation to operation. Tasks must not throw and must not call parallel_for.
  void parallel_for(std::int64_t n_tasks, const std::function<void(std::int64_t)>& task);

 private:
  void work(int thread);
  void run_share(int thread);

  std::vector<std::thread> workers_;
  const std::function<void(std::int64_t)>* task_ = nullptr;
  std::int64_t n_tasks_ = 0;
  std::atomic<std::uint32_t> generation_{0};
  std::atomic<int> running_{0};
  std::atomic<bool> stop_{false};
};

}  // namespace idem
