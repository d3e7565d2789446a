// thread_pool.h - the CPU's launch: n tasks over a fixed number of threads.
//
// Tasks are cut by shape alone, never by the number of threads, and a task's result does not depend on who runs it; so
// a result is the same for any number of threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace idem {

// As many as this process may use: the cores of its affinity mask (taskset, a cluster's binding), and no more than
// SLURM_CPUS_PER_TASK and OMP_NUM_THREADS say where they hold a number.
int available_threads();

class ThreadPool {
 public:
  // n_threads includes the calling one; 0 means available_threads(). Throws std::system_error where the system gives no
  // more threads.
  explicit ThreadPool(int n_threads = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int n_threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(0) ... task(n_tasks - 1), each once, and returns when all have run. Thread i starts on the i-th
  // contiguous share, so that a member's arrays stay in one core's cache from operation to operation, and helps with
  // the others' when it is done: a thread that the system has not woken holds nobody up. What a task throws is kept
  // until all tasks have run and then thrown here; of several, the exception of the lowest task, whoever ran it. Tasks
  // must not call parallel_for; n_tasks < 2^32.
  void parallel_for(std::int64_t n_tasks, const std::function<void(std::int64_t)>& task);

 private:
  // The next task of a share and the call it belongs to, in one word: (call << 32) | task. So a thread that comes late
  // claims nothing.
  struct alignas(64) Share {
    std::atomic<std::uint64_t> ticket{0};
  };

  void work(int thread);
  void run_tasks(int thread, std::uint32_t call);
  void run_task(const std::function<void(std::int64_t)>& task, std::int64_t number) noexcept;
  void rethrow_error();

  std::vector<std::thread> workers_;
  std::vector<Share> shares_;
  const std::function<void(std::int64_t)>* task_ = nullptr;
  std::atomic<std::int64_t> n_tasks_{0};
  std::atomic<std::uint32_t> call_{0};
  std::atomic<std::int64_t> n_done_{0};
  std::atomic<bool> stop_{false};
  std::mutex error_mutex_;
  std::exception_ptr error_;
  std::int64_t error_task_ = 0;
};

}  // namespace idem
