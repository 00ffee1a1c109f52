// Screening: scores of a tile of tokens against all codewords, by a matrix product in the precision
// that this processor multiplies fastest. Both operands are first rounded to it: to bfloat16 where
// there is a unit for it, otherwise not at all. score_bound.h bounds the errors of the scores.
//
// With m the codebook's mean, a token r is split into its part along m, (a + 1) m, and a rest e
// that is rounded and multiplied. |r - c|^2 is least where <r - m, c - m> - |c - m|^2 / 2 is
// greatest, and that is <e, c - m> + a <m, c - m> - |c - m|^2 / 2. Without a mean, e is r.
#pragma once

#include <cstdint>

#include "codewords.h"
#include "dispatch.h"

namespace craft {

inline constexpr int64_t kTokenGroup = 32;  // tokens are packed in whole groups

// The share of |r| that may be lost when the part along the mean is subtracted in float32.
inline constexpr double kMeanRounding = 0x1p-23;

struct TokenParts {
  double norm;      // |r|, for the exact decision; NaN or infinity if r is not finite
  double rest;      // |e|
  double rounding;  // |e - rounded e|
  double along;     // a
};

struct ScreenTile {
  int64_t T;
  const float* source;  // [T, D] the initial r, or nullptr if `residual` already holds it
  float* residual;      // [T, D] r
  void* tokens;         // scratch: the rounded rests, packed
  float* rounding;      // [T, D] out: e - rounded e
  TokenParts* parts;    // [T] out
};

#define CRAFT_DECLARE_SCREEN(isa)                                                              \
  namespace isa {                                                                              \
  /* Whether products round their operands, so that subtracting a mean narrows the bound. */   \
  bool rounds_operands();                                                                      \
  /* The sizes in bytes of packed codewords [P, D] and of packed tokens [T, D]. */             \
  int64_t codewords_bytes(int64_t P, int64_t D);                                               \
  int64_t tokens_bytes(int64_t T, int64_t D);                                                  \
  /* half_sq_norms [K] of words [begin, end) minus `mean`, which may be nullptr for zero. */   \
  void half_sq_norms(const float* words, const float* mean, int64_t D, double* half_sq_norms,  \
                     int64_t begin, int64_t end);                                              \
  /* Fills the arrays of `book` that have an entry per position or per block, for blocks       \
     [begin, end), through the pointers to const, and reads the others. `half_sq_norms64` are  \
     those of the centred codewords. */                                                        \
  void pack_codewords(const Codewords& book, const double* half_sq_norms64, int64_t begin,     \
                      int64_t end);                                                            \
  /* Packs the tokens of groups [begin, end): writes `tokens`, `rounding` and `parts`. */      \
  void pack_tokens(const Codewords& book, const ScreenTile& tile, int64_t begin, int64_t end); \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_SCREEN)
#undef CRAFT_DECLARE_SCREEN

}  // namespace craft
