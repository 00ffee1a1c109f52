#include "thread_pool.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>

namespace craft {
namespace {

struct Job {
  int64_t count, grain;
  const std::function<void(int64_t, int64_t)>& body;
  std::atomic<int64_t> next{0};
  std::mutex failing;
  std::exception_ptr failure;  // what the body threw first

  void work() noexcept {
    try {
      for (int64_t begin; (begin = next.fetch_add(grain)) < count;) {
        body(begin, std::min(begin + grain, count));
      }
    } catch (...) {
      next = count;  // what others have begun they finish
      std::lock_guard lock(failing);
      if (!failure) failure = std::current_exception();
    }
  }
};

class ThreadPool {
 public:
  // False, and nothing is done, if another caller has the pool.
  bool run(Job& job, int helpers) {
    std::unique_lock busy(busy_, std::try_to_lock);
    if (!busy) return false;
    std::unique_lock lock(mutex_);
    start_threads(helpers);
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
  // As many of them as the system grants: fewer do the same work.
  void start_threads(int wanted) {
    try {
      while (threads_ < wanted) {
        std::thread([this, id = threads_] { serve(id); }).detach();
        ++threads_;
      }
    } catch (const std::system_error&) {
    } catch (const std::bad_alloc&) {
    }
  }

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

  std::mutex busy_;  // held by the caller that has the pool
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  Job* job_ = nullptr;
  uint64_t generation_ = 0;
  int threads_ = 0, helpers_ = 0, working_ = 0;
};

// The pool is never destroyed: its threads sleep until the process ends. A forked child has none of
// its parent's threads, and locks that they held would stay closed, so it makes a pool of its own.
std::mutex making;
ThreadPool* instance = nullptr;

void forget_pool() {
  instance = nullptr;
  making.unlock();
}

[[maybe_unused]] const int registered =
    pthread_atfork([] { making.lock(); }, [] { making.unlock(); }, forget_pool);

ThreadPool& pool() {
  std::lock_guard lock(making);
  if (instance == nullptr) instance = new ThreadPool;
  return *instance;
}

}  // namespace

void parallel_for(int64_t count, int64_t grain, int threads,
                  const std::function<void(int64_t, int64_t)>& body) {
  Job job{count, grain, body};
  const int64_t pieces = (count + grain - 1) / grain;
  const int helpers = static_cast<int>(std::min<int64_t>(threads, pieces)) - 1;
  if (helpers <= 0 || !pool().run(job, helpers)) job.work();
  if (job.failure) std::rethrow_exception(job.failure);
}

}  // namespace craft
