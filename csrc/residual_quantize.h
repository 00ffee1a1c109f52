// Residual quantisation of a tile of tokens with a codebook shared by all levels: the scores of the
// first come from a product, those of the next lose a Gram row.
#pragma once

#include <cstdint>

#include "gram_rows.h"
#include "score_history.h"
#include "screen.h"

namespace craft {

// `rest`, a, and m as in screen.h.
struct TokenState {
  int64_t level;  // how many codes are known; kNotFinite where a residual is not finite
  ScoreHistory history;
  double norm;           // |r|
  double rest;           // |e| now: |r - (a + 1) m|
  double along;          // a now: each codeword takes one m away
  float step;            // the token's scores are multiples of it
  int32_t sound_blocks;  // scores of these leading blocks fit; those of others mean nothing
};

struct QuantizeTile {
  ScreenTile screen;  // residual and rounding change with the level
  int16_t* scores;    // [T, P]
  int16_t* maxima;    // [T, padded blocks]: greatest score of each block
  int64_t L;
  float* quantized;   // [T, D] out: the codewords so far, added up in order of level
  int64_t* codes;     // [T, L] out
  float* sq_norms;    // [T, L] out: squared norms of the residuals, the first after level 0
  TokenState* state;  // [T] kept between calls
  const int64_t* gram_row_at;  // [K] address of codeword k's GramRow, or 0 where missing
};

inline constexpr int64_t kNotFinite = -1;

#define CRAFT_DECLARE_RESIDUAL_QUANTIZE(isa)                                                       \
  namespace isa {                                                                                  \
  /* Packs the residuals of token groups [begin, end) and takes their tokens to level 0. */        \
  void start_tokens(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end);  \
  /* Scores of all tokens, which have been started, for the codewords of blocks [begin, end). */   \
  void score(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end);         \
  /* Takes tokens [begin, end), which have been scored, to level L, or to where one needs a Gram   \
     row that is missing. */                                                                       \
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
