// Residual quantisation of a tile of tokens with a codebook shared by all levels: the scores of the
// first are a product (screen.h), those of the next lose a Gram row.
#pragma once

#include <cstdint>

#include "gram_rows.h"
#include "score_history.h"
#include "screen.h"

namespace craft {

struct TokenState {
  int64_t level;  // in and out; kNotFinite where a residual is not finite
  ScoreHistory history;
};

// Levels are counted from 0. A token whose level is l has codes [0, l) and the residual after them.
struct QuantizeTile {
  ScreenTile screen;  // scored at level 0; scores, maxima and rounding change with the level
  int64_t L;
  float* quantized;   // [T, D] out: the codewords so far, added up in order of level
  int64_t* codes;     // [T, L] out
  float* sq_norms;    // [T, L] out: squared norms of the residuals, the first after level 0
  TokenState* state;  // [T] in: level 0; kept between calls
  const int64_t* gram_row_at;  // [K] address of codeword k's GramRow, or 0 where missing
};

inline constexpr int64_t kNotFinite = -1;

#define CRAFT_DECLARE_RESIDUAL_QUANTIZE(isa)                                                       \
  namespace isa {                                                                                  \
  /* Takes tokens [begin, end) to level L, or to where one needs a Gram row that is missing. */    \
  void advance(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end);       \
  /* grad [T, D] += sum over l of 2 grad_sq_norms[., l] r_l, with the residuals gone through again \
     in `residual` [T, D] (in: float32(z)). words: level l starts at words + l * level_stride. */  \
  void add_sq_norms_gradient(const float* words, int64_t level_stride, int64_t D, int64_t L,       \
                             const int64_t* codes, const float* grad_sq_norms, float* residual,    \
                             float* grad, int64_t begin, int64_t end);                             \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_RESIDUAL_QUANTIZE)
#undef CRAFT_DECLARE_RESIDUAL_QUANTIZE

}  // namespace craft
