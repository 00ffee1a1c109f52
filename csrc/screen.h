// Screening: scores of a tile of tokens against all codewords, from a matrix product in whatever
// precision this processor multiplies fastest. Both operands are rounded to it first: to bfloat16
// where there is a unit for it, not at all elsewhere. score_bound.h says what the scores are worth.
//
// With m the book's mean, a token r is taken apart into (a + 1) m, its part along m, and a rest e
// that is rounded and multiplied. |r - c|^2 is least where <r - m, c - m> - |c - m|^2 / 2 is
// greatest, and that is <e, c - m> + a <m, c - m> - |c - m|^2 / 2. Without a mean, e is r.
#pragma once

#include <cstdint>

#include "codewords.h"
#include "dispatch.h"

namespace craft {

inline constexpr int64_t kTokenGroup = 32;  // packed tokens come in whole groups

// Of |r|, what may be lost where the part along the mean is taken off in float32.
inline constexpr double kMeanRounding = 0x1p-23;

struct TokenParts {
  double norm;      // |r|, as the exact decision wants it; NaN or infinity: not finite
  double rest;      // |e|
  double rounding;  // |e - rounded e|
  double along;     // a
};

struct ScreenTile {
  int64_t T;
  const float* source;  // [T, D] what r starts as, or nullptr: it is there
  float* residual;      // [T, D] r
  void* tokens;         // scratch: the rounded rests, packed
  float* rounding;      // [T, D] out: e - rounded e
  TokenParts* parts;    // [T] out
};

#define CRAFT_DECLARE_SCREEN(isa)                                                                  \
  namespace isa {                                                                                  \
  /* Whether products round their operands, so that a mean taken off both narrows the bound. */    \
  bool rounds_operands();                                                                          \
  /* Bytes that packed codewords [P, D] take, and packed tokens [T, D]. */                         \
  int64_t codewords_bytes(int64_t P, int64_t D);                                                   \
  int64_t tokens_bytes(int64_t T, int64_t D);                                                      \
  /* half_sq_norms [K] of words [begin, end) less `mean`, or as they are where it is nullptr. */   \
  void half_sq_norms(const float* words, const float* mean, int64_t D, double* half_sq_norms,      \
                     int64_t begin, int64_t end);                                                  \
  /* All arrays of `book` that are marked as by position or by block, for blocks [begin, end);     \
     reads the others, and writes through the pointers to const. `half_sq_norms64` are centred. */ \
  void pack_codewords(const Codewords& book, const double* half_sq_norms64, int64_t begin,         \
                      int64_t end);                                                                \
  /* Tokens of groups [begin, end): writes `tokens`, `rounding` and `parts`. */                    \
  void pack_tokens(const Codewords& book, const ScreenTile& tile, int64_t begin, int64_t end);     \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_SCREEN)
#undef CRAFT_DECLARE_SCREEN

}  // namespace craft
