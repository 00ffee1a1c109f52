// A small persistent thread pool. OpenMP is not used: linking it loads a second runtime beside the
// one inside torch, and the idle workers of each spin while the other works.
#pragma once

#include <cstdint>
#include <functional>

namespace craft {

// Calls body(begin, end) on disjoint ranges that cover [0, count), `grain` items at a time, on at
// most `threads` threads, the caller's included, and returns when all are done. Ranges are handed
// out in no fixed order, so results must not depend on it. If another caller has the pool, or the
// system grants no threads, the calling thread does everything itself. Where `body` throws, no more
// ranges are handed out, and the first exception is the caller's once all threads are done.
void parallel_for(int64_t count, int64_t grain, int threads,
                  const std::function<void(int64_t, int64_t)>& body);

}  // namespace craft
