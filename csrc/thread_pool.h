// A small persistent thread pool. OpenMP is not used, because linking it would load a second
// runtime beside the one inside torch, and the idle workers of each would spin while the other
// works.
#pragma once

#include <cstdint>
#include <memory>

namespace craft {

// A reference to a callable (begin, end); unlike std::function it never allocates.
class RangeBody {
 public:
  template <typename Callable>
  RangeBody(const Callable& callable)
      : callable_(std::addressof(callable)), call_([](const void* it, int64_t begin, int64_t end) {
          (*static_cast<const Callable*>(it))(begin, end);
        }) {}

  void operator()(int64_t begin, int64_t end) const { call_(callable_, begin, end); }

 private:
  const void* callable_;
  void (*call_)(const void*, int64_t, int64_t);
};

// Calls body(begin, end) on disjoint ranges of `grain` items that cover [0, count), on at most
// `threads` threads including the caller's, and returns when all are done. Ranges are handed out in
// no fixed order, so results must not depend on it. If another caller is using the pool, or the
// system grants no threads, the calling thread does all the work.
//
// `body` must not throw, so it must not allocate either: when memory is short, a thread that throws
// for the first time may end the process for lack of room for the exception's thread-local data.
void parallel_for(int64_t count, int64_t grain, int threads, RangeBody body);

}  // namespace craft
