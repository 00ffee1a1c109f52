// Rows of the Gram matrix of rounded codewords: what the scores of all codewords lose when one is
// subtracted. Kept as 16-bit multiples of a step of the row's own: half the memory traffic of
// float32, which is what a row costs when it is used.
#pragma once

#include <cstdint>

#include "screen.h"

namespace craft {

struct GramRow {
  static constexpr int64_t kHeaderBytes = 64;  // keeps the entries aligned

  float step;

  const int16_t* entries() const {  // [P]
    return reinterpret_cast<const int16_t*>(reinterpret_cast<const char*>(this) + kHeaderBytes);
  }
  static int64_t bytes(int64_t P) { return kHeaderBytes + 2 * P; }
};

#define CRAFT_DECLARE_GRAM_ROWS(isa)                                                             \
  namespace isa {                                                                                \
  /* Rows [begin, end) from a tile whose residuals were codewords and whose scores are products. \
   */                                                                                            \
  void store_gram_rows(const Codewords& book, const ScreenTile& tile, void* rows, int64_t begin, \
                       int64_t end);                                                             \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_GRAM_ROWS)
#undef CRAFT_DECLARE_GRAM_ROWS

}  // namespace craft
