#include "thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>

namespace craft {
namespace {

struct Job {
  int64_t count, grain;
  const std::function<void(int64_t, int64_t)>& body;
  std::atomic<int64_t> next{0};

  void work() {
    for (int64_t begin; (begin = next.fetch_add(grain)) < count;) {
      body(begin, std::min(begin + grain, count));
    }
  }
};

class ThreadPool {
 public:
  void run(Job& job, int helpers) {
    std::unique_lock lock(mutex_);
    while (static_cast<int>(threads_) < helpers) {
      std::thread([this, id = threads_] { serve(id); }).detach();
      ++threads_;
    }
    job_ = &job;
    helpers_ = helpers;
    working_ = helpers;
    ++generation_;
    lock.unlock();
    wake_.notify_all();
    job.work();
    lock.lock();
    done_.wait(lock, [this] { return working_ == 0; });
  }

  std::mutex busy;  // held by the caller that has the pool

 private:
  void serve(int id) {
    uint64_t seen = 0;
    std::unique_lock lock(mutex_);
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

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  uint64_t generation_ = 0;
  int threads_ = 0, helpers_ = 0, working_ = 0;
};

// The pool is never destroyed (its threads sleep until the process ends), and a forked child, which
// has none of its parent's threads, makes a pool of its own.
ThreadPool& pool() {
  static std::mutex mutex;
  static ThreadPool* instance = nullptr;
  static pid_t owner = 0;
  static const int registered =
      pthread_atfork([] { mutex.lock(); }, [] { mutex.unlock(); }, [] { mutex.unlock(); });
  (void)registered;
  std::lock_guard lock(mutex);
  if (owner != getpid()) {
    instance = new ThreadPool;
    owner = getpid();
  }
  return *instance;
}

}  // namespace

void parallel_for(int64_t count, int64_t grain, int threads,
                  const std::function<void(int64_t, int64_t)>& body) {
  Job job{count, grain, body};
  const int64_t pieces = (count + grain - 1) / grain;
  const int helpers = static_cast<int>(std::min<int64_t>(threads, pieces)) - 1;
  if (helpers > 0) {
    ThreadPool& shared = pool();
    if (std::unique_lock busy(shared.busy, std::try_to_lock); busy) {
      shared.run(job, helpers);
      return;
    }
  }
  job.work();
}

}  // namespace craft
