// Screening: scores of a tile of tokens against all codewords, from a matrix product in whatever
// precision this processor multiplies fastest. Both operands are rounded to it first: to bfloat16
// where there are AMX tiles, not at all elsewhere. score_bound.h says what the scores are worth.
#pragma once

#include <cstdint>

#include "codewords.h"
#include "dispatch.h"

namespace craft {

inline constexpr int64_t kTokenGroup = 32;  // packed tokens come in whole groups

struct ScreenTile {
  int64_t T;
  float* residual;  // [T, D] only read here
  void* tokens;     // scratch: the rounded residuals, packed
  float* rounding;  // [T, D] out: residual - rounded residual, exactly
  float* scores;    // [T rounded up to whole groups, P] out
  float* maxima;    // [T, P / kBlock] out: greatest score of each block
};

#define CRAFT_DECLARE_SCREEN(isa)                                                                \
  namespace isa {                                                                                \
  /* Bytes that packed codewords [P, D] take, and packed tokens [T, D]. */                       \
  int64_t codewords_bytes(int64_t P, int64_t D);                                                 \
  int64_t tokens_bytes(int64_t T, int64_t D);                                                    \
  /* half_sq_norms [K] of words [begin, end). */                                                 \
  void half_sq_norms(const float* words, int64_t D, double* half_sq_norms, int64_t begin,        \
                     int64_t end);                                                               \
  /* Everything in `book` that belongs to blocks [begin, end); reads its K, D, words, order and  \
     half_sq_norms64, and writes through the pointers to const. */                               \
  void pack_codewords(const Codewords& book, int64_t begin, int64_t end);                        \
  /* Tokens of groups [begin, end): writes `tokens` and `rounding`. */                           \
  void pack_tokens(const ScreenTile& tile, int64_t D, int64_t begin, int64_t end);               \
  /* scores[t, j] = <token t, codeword j> - |c_j|^2 / 2, or the product alone, for the codewords \
     of blocks [begin, end); all tokens must have been packed. */                                \
  void score(const Codewords& book, const ScreenTile& tile, bool product_alone, int64_t begin,   \
             int64_t end);                                                                       \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_SCREEN)
#undef CRAFT_DECLARE_SCREEN

}  // namespace craft
