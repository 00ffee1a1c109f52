// Large arrays on large pages: a tile of scores and a codebook otherwise take more pages than the
// processor keeps translations for.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace craft {

// A wish, to be made before the memory is touched: what cannot be had changes nothing.
inline void advise_huge_pages([[maybe_unused]] uintptr_t address, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__)
  constexpr uintptr_t kPage = 4096;  // madvise wants its multiples
  const uintptr_t begin = (address + kPage - 1) / kPage * kPage;
  const uintptr_t end = (address + bytes) / kPage * kPage;
  if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace craft
