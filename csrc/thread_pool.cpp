#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>

namespace craft {
namespace {

struct Job {
  int64_t count, grain;
  RangeBody body;
  std::atomic<int64_t> next{0};

  void work() {
    for (int64_t begin; (begin = next.fetch_add(grain)) < count;) {
      body(begin, std::min(begin + grain, count));
    }
  }
};

class ThreadPool {
 public:
  // Returns false, having done nothing, if another caller is using the pool.
  bool run(Job& job, int helpers) {
    std::unique_lock busy(busy_, std::try_to_lock);
    if (!busy) return false;
    std::unique_lock lock(mutex_);
    while (threads_ < helpers && start_thread()) {
    }
    job_ = &job;
    helpers_ = working_ = std::min(helpers, threads_);
    ++generation_;
    lock.unlock();
    wake_.notify_all();
    job.work();
    lock.lock();
    done_.wait(lock, [this] { return working_ == 0; });
    return true;
  }

 private:
  // std::thread would throw if the system has no thread to give.
  bool start_thread() {
    const auto serve = [](void* pool) -> void* {
      static_cast<ThreadPool*>(pool)->serve();
      return nullptr;
    };
    pthread_t thread;
    if (pthread_create(&thread, nullptr, serve, this) != 0) return false;
    pthread_detach(thread);
    ++threads_;
    return true;
  }

  void serve() {
    uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    const int id = serving_++;
    for (;;) {
      wake_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      if (id >= helpers_) continue;
      Job* job = job_;
      lock.unlock();
      job->work();
      lock.lock();
      if (--working_ == 0) done_.notify_one();
    }
  }

  std::mutex busy_;  // held by the caller that is using the pool
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  uint64_t generation_ = 0;
  int threads_ = 0, serving_ = 0, helpers_ = 0, working_ = 0;
};

// The pool is never destroyed: its threads sleep until the process ends. A forked child has none of
// its parent's threads, and locks that they held would never open, so it makes a new pool.
std::mutex making;
ThreadPool* instance = nullptr;

void forget_pool() {
  instance = nullptr;
  making.unlock();
}

[[maybe_unused]] const int registered =
    pthread_atfork([] { making.lock(); }, [] { making.unlock(); }, forget_pool);

// The pool, or nullptr if there is no memory for one.
ThreadPool* pool() {
  std::lock_guard lock(making);
  if (instance == nullptr) instance = new (std::nothrow) ThreadPool;
  return instance;
}

}  // namespace

void parallel_for(int64_t count, int64_t grain, int threads, RangeBody body) {
  Job job{count, grain, body};
  const int64_t pieces = (count + grain - 1) / grain;
  const int helpers = static_cast<int>(std::min<int64_t>(threads, pieces)) - 1;
  ThreadPool* shared = helpers > 0 ? pool() : nullptr;
  if (shared == nullptr || !shared->run(job, helpers)) job.work();
}

}  // namespace craft
