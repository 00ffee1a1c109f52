// Rows of the Gram matrix of the codewords: what each codeword's score loses when codeword k is
// subtracted from the residual, <c_k, c_j - m> with m the codebook's mean. Entries are stored as
// 16-bit multiples of a step that each block chooses: half the memory traffic of float32, and
// traffic is what using a row costs.
#pragma once

#include <cstdint>

#include "screen.h"

namespace craft {

class GramRow {
 public:
  // One per block; the array is padded to whole cache lines.
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
  /* Writes blocks [begin, end) of the rows of the codewords that the tile holds as residuals,   \
     from which the mean has already been subtracted. */                                         \
  void store_gram_rows(const Codewords& book, const ScreenTile& tile, void* rows, int64_t begin, \
                       int64_t end);                                                             \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_GRAM_ROWS)
#undef CRAFT_DECLARE_GRAM_ROWS

}  // namespace craft
