// Rows of the Gram matrix of codewords: what the scores of all codewords lose when one is
// subtracted from the residual, <c_k, c_j - m> with m the book's mean. Kept as 16-bit multiples of
// a step of each block's own: half the memory traffic of float32, which is what a row costs when it
// is used.
#pragma once

#include <cstdint>

#include "screen.h"

namespace craft {

class GramRow {
 public:
  // One for each block; the array goes on to a whole number of lines.
  const float* steps() const { return reinterpret_cast<const float*>(this); }
  const int16_t* entries(int64_t P) const {  // [P]
    return reinterpret_cast<const int16_t*>(reinterpret_cast<const char*>(this) + header_bytes(P));
  }
  static int64_t header_bytes(int64_t P) {
    const int64_t blocks = P / kBlock;
    return (blocks + kBlockGroup - 1) / kBlockGroup * kBlockGroup * sizeof(float);
  }
  static int64_t bytes(int64_t P) { return header_bytes(P) + 2 * P; }
};

#define CRAFT_DECLARE_GRAM_ROWS(isa)                                                             \
  namespace isa {                                                                                \
  /* Blocks [begin, end) of the rows of the codewords that stand in the tile as residuals, less  \
     the mean and packed without one. */                                                         \
  void store_gram_rows(const Codewords& book, const ScreenTile& tile, void* rows, int64_t begin, \
                       int64_t end);                                                             \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_GRAM_ROWS)
#undef CRAFT_DECLARE_GRAM_ROWS

}  // namespace craft
