// Residual quantisation of a tile of tokens with a codebook shared by all levels: the scores of the
// first level are a product, those of each later level the previous ones minus a Gram row.
#pragma once

#include <cstdint>

#include "gram_rows.h"
#include "score_history.h"
#include "screen.h"

namespace craft {

// e, a and m are those of screen.h.
struct TokenState {
  int64_t level;  // how many codes are known; kNotFinite if a residual is not finite
  ScoreHistory history;
  double norm;           // |r|
  double rest;           // |e| now: |r - (a + 1) m|
  double along;          // a now: every codeword takes one m away
  float step;            // the token's scores are multiples of this
  int32_t sound_blocks;  // the scores of this many leading blocks fit; all others are meaningless
};

struct QuantizeTile {
  ScreenTile screen;  // residual and rounding change with the level
  int16_t* scores;    // [T, P]
  int16_t* maxima;    // [T, padded blocks] the greatest score of each block
  int64_t L;
  float* quantized;   // [T, D] out: the codewords so far, added in order of level
  int64_t* codes;     // [T, L] out
  float* sq_norms;    // [T, L] out: squared norms of the residuals, the first after level 0
  TokenState* state;  // [T] kept between calls
  const int64_t* gram_row_at;  // [K] address of codeword k's GramRow, or 0 if it is missing
};

inline constexpr int64_t kNotFinite = -1;

#define CRAFT_DECLARE_RESIDUAL_QUANTIZE(isa)                                                       \
  namespace isa {                                                                                  \
  /* Packs the residuals of token groups [begin, end) and initialises their state. */              \
  void start_tokens(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end);  \
  /* Scores all tokens, after start_tokens, against the codewords of blocks [begin, end). */       \
  void score(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end);         \
  /* Takes tokens [begin, end), which have been scored, to level L, or as far as the Gram rows     \
     that are present allow. */                                                                    \
  void advance(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end);       \
  /* grad [T, D] += sum over l of 2 grad_sq_norms[., l] r_l. Recomputes the residuals in           \
     `residual` [T, D] (in: float32(z)). Level l's codewords start at words + l * level_stride. */ \
  void add_sq_norms_gradient(const float* words, int64_t level_stride, int64_t D, int64_t L,       \
                             const int64_t* codes, const float* grad_sq_norms, float* residual,    \
                             float* grad, int64_t begin, int64_t end);                             \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_RESIDUAL_QUANTIZE)
#undef CRAFT_DECLARE_RESIDUAL_QUANTIZE

}  // namespace craft
