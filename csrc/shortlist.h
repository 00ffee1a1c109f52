// Screening that keeps no scores. Each one is compared, while it is still in the first-level cache,
// with the best of its token so far, and only codewords that may yet be the nearest are listed.
// A level is then a product and nothing else: no [T, K] matrix, no Gram rows.
#pragma once

#include <cstdint>

#include "screen.h"

namespace craft {

struct Candidate {
  float ceiling;  // its true score is not above
  int32_t at;     // packed position
};

// Of one token, among the codewords of one part.
struct Shortlist {
  static constexpr int32_t kRoom = 64;
  static constexpr int32_t kAll = -1;  // too many, or the scores mean nothing

  float floor;    // the nearest codeword's true score is not below
  int32_t count;  // candidates, or kAll
};

struct ShortlistTile {
  ScreenTile screen;
  int64_t parts;          // codewords are cut into parts of equally many blocks, give or take one
  Shortlist* lists;       // [parts, T] out
  Candidate* candidates;  // [parts, T, kRoom] out

  int64_t first_block(const Codewords& book, int64_t part) const {
    return book.blocks() * part / parts;
  }
};

#define CRAFT_DECLARE_SHORTLIST(isa)                                                              \
  namespace isa {                                                                                 \
  /* The greatest D at which a product costs no more than a pass over a Gram row. */              \
  int64_t product_depth();                                                                        \
  /* Token groups [begin, end), packed, at most kChunkGroups of them, against a part's codewords. \
   */                                                                                             \
  void list_candidates(const Codewords& book, const ShortlistTile& tile, int64_t begin,           \
                       int64_t end, int64_t part);                                                \
  /* Tokens [begin, end): the nearest codeword of those listed, written to codes[t * L], and its  \
     subtraction. Returns false where a residual is not finite. */                                \
  bool settle(const Codewords& book, const ShortlistTile& tile, bool first, int64_t L,            \
              int64_t* codes, float* quantized, float* sq_norms, int64_t begin, int64_t end);     \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_SHORTLIST)
#undef CRAFT_DECLARE_SHORTLIST

// What one call of list_candidates takes: enough tokens that the codewords are not read too often.
inline constexpr int64_t kChunkGroups = 8;

}  // namespace craft
