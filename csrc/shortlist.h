// Screening that does not keep scores. While a score is still in the first-level cache, it is
// compared with the token's best so far, and only codewords that may be the nearest are listed. A
// level is then just a product: there is no [T, K] matrix and there are no Gram rows.
#pragma once

#include <cstdint>

#include "screen.h"

namespace craft {

struct Candidate {
  float ceiling;  // an upper bound of its true score
  int32_t at;     // its packed position
};

// The candidates of one token among the codewords of one part.
struct Shortlist {
  static constexpr int32_t kRoom = 64;
  static constexpr int32_t kAll = -1;  // every codeword: too many candidates, or meaningless scores

  float floor;    // a lower bound of the nearest codeword's true score
  int32_t count;  // candidates, or kAll
};

struct ShortlistTile {
  ScreenTile screen;
  int64_t parts;          // how many parts the blocks are divided into, as evenly as possible
  Shortlist* lists;       // [parts, T] out
  Candidate* candidates;  // [parts, T, kRoom] out

  int64_t first_block(const Codewords& book, int64_t part) const {
    return book.blocks() * part / parts;
  }
};

#define CRAFT_DECLARE_SHORTLIST(isa)                                                           \
  namespace isa {                                                                              \
  /* The greatest D at which a product costs no more than a pass over a Gram row. */           \
  int64_t product_depth();                                                                     \
  /* Screens the packed token groups [begin, end), at most kChunkGroups, against the codewords \
     of a part. */                                                                             \
  void list_candidates(const Codewords& book, const ShortlistTile& tile, int64_t begin,        \
                       int64_t end, int64_t part);                                             \
  /* For tokens [begin, end), writes the nearest of the listed codewords to codes[t * L] and   \
     subtracts it. Returns false if a residual is not finite. */                               \
  bool settle(const Codewords& book, const ShortlistTile& tile, bool first, int64_t L,         \
              int64_t* codes, float* quantized, float* sq_norms, int64_t begin, int64_t end);  \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_SHORTLIST)
#undef CRAFT_DECLARE_SHORTLIST

// How many groups one call of list_candidates takes: enough that codewords are not read too often.
inline constexpr int64_t kChunkGroups = 8;

}  // namespace craft
