#include "kernels/common/thread_pool.h"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string_view>
#include <utility>

namespace idem {

namespace {
// The gap between two operations of a training step is microseconds: sleeping through each would cost more than the
// operation.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// The affinity mask has room for 1024 cores; larger machines, and masks that cannot be read, count all cores.
int cores_of_process() {
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) return std::max(1, CPU_COUNT(&mask));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

// OpenMP takes a list, one number for each level of nesting: the first is meant.
int at_most_by(const char* variable, int n_threads) {
  const char* text = std::getenv(variable);
  int value = 0;
  if (!text) return n_threads;
  const std::string_view digits(text);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool is_number = error == std::errc() && (end == digits.data() + digits.size() || *end == ',');
  return is_number && value > 0 ? std::min(n_threads, value) : n_threads;
}

void end_workers(std::atomic<bool>& stop, std::atomic<std::uint32_t>& call, std::vector<std::thread>& workers) {
  stop.store(true);
  call.fetch_add(1);
  call.notify_all();
  for (auto& worker : workers) worker.join();
}

}  // namespace

int available_threads() { return at_most_by("OMP_NUM_THREADS", at_most_by("SLURM_CPUS_PER_TASK", cores_of_process())); }

ThreadPool::ThreadPool(int n_threads)
    : shares_(static_cast<std::size_t>(n_threads > 0 ? n_threads : available_threads())) {
  try {
    for (int thread = 1; thread < static_cast<int>(shares_.size()); ++thread)
      workers_.emplace_back([this, thread] { work(thread); });
  } catch (...) {
    end_workers(stop_, call_, workers_);
    throw;
  }
}

ThreadPool::~ThreadPool() { end_workers(stop_, call_, workers_); }

void ThreadPool::run_task(const std::function<void(std::int64_t)>& task, std::int64_t number) noexcept {
  try {
    task(number);
  } catch (...) {
    const std::lock_guard<std::mutex> lock(error_mutex_);
    if (error_ && error_task_ < number) return;
    error_ = std::current_exception();
    error_task_ = number;
  }
}

void ThreadPool::rethrow_error() {
  // Every task is done: nobody else looks at error_ now.
  if (error_) std::rethrow_exception(std::exchange(error_, nullptr));
}

void ThreadPool::run_tasks(int thread, std::uint32_t call) {
  const std::int64_t n = n_threads();
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t share = (thread + i) % n;
    auto& ticket = shares_[static_cast<std::size_t>(share)].ticket;
    for (std::uint64_t seen = ticket.load(std::memory_order_acquire); seen >> 32 == call;) {
      const auto task = static_cast<std::int64_t>(seen & 0xffffffffu);
      if (task >= n_tasks_.load(std::memory_order_acquire) * (share + 1) / n) break;
      if (!ticket.compare_exchange_weak(seen, seen + 1, std::memory_order_acq_rel, std::memory_order_acquire)) continue;
      run_task(*task_, task);
      if (n_done_.fetch_add(1, std::memory_order_acq_rel) + 1 == n_tasks_.load(std::memory_order_relaxed))
        n_done_.notify_all();
      seen = ticket.load(std::memory_order_acquire);
    }
  }
}

void ThreadPool::work(int thread) {
  std::uint32_t seen = 0;
  for (;;) {
    for (int spin = 0; spin < kSpins && call_.load(std::memory_order_acquire) == seen; ++spin) relax();
    call_.wait(seen, std::memory_order_acquire);
    seen = call_.load(std::memory_order_acquire);
    if (stop_.load()) return;
    run_tasks(thread, seen);
  }
}

void ThreadPool::parallel_for(std::int64_t n_tasks, const std::function<void(std::int64_t)>& task) {
  if (workers_.empty() || n_tasks <= 1) {
    for (std::int64_t i = 0; i < n_tasks; ++i) run_task(task, i);
    return rethrow_error();
  }
  const std::uint32_t call = call_.load(std::memory_order_relaxed) + 1;
  task_ = &task;
  n_done_.store(0, std::memory_order_relaxed);
  // The old tickets are taken away first: held against the new number of tasks, a used-up one would look like one with
  // tasks left.
  for (auto& share : shares_) share.ticket.store(std::uint64_t{call} << 32 | 0xffffffffu, std::memory_order_relaxed);
  n_tasks_.store(n_tasks, std::memory_order_release);
  const std::int64_t n = n_threads();
  for (std::int64_t share = 0; share < n; ++share)
    shares_[static_cast<std::size_t>(share)].ticket.store(
        std::uint64_t{call} << 32 | static_cast<std::uint64_t>(n_tasks * share / n), std::memory_order_release);
  call_.store(call, std::memory_order_release);
  call_.notify_all();
  run_tasks(0, call);
  for (int spin = 0; spin < kSpins && n_done_.load(std::memory_order_acquire) != n_tasks; ++spin) relax();
  for (std::int64_t done = n_done_.load(std::memory_order_acquire); done != n_tasks;
       done = n_done_.load(std::memory_order_acquire))
    n_done_.wait(done, std::memory_order_acquire);
  rethrow_error();
}

}  // namespace idem
