// Residual quantisation of a tile of tokens, given their float32 scores from a matrix product.
#pragma once

#include <cstdint>

#include "dispatch.h"

namespace craft {

struct Codewords {
  const float* words;             // [K, D]
  const float* half_sq_norms;     // [K] |c_j|^2 / 2
  const double* half_sq_norms64;  // [K] the same, in float64
  double max_norm;                // no |c_j| is greater
  int64_t K, D;
};

// Levels are counted from 0. A token whose level is l has codes [0, l) and the residual after them.
struct Tile {
  int64_t T, L;
  int64_t first, stop;  // advance tokens from level `first` to level `stop`
  float* scores;        // [T, K] in: <residual at level `first`, c_j>; scratch afterwards
  float* residual;      // [T, D] in and out
  float* quantized;     // [T, D] out: the codewords so far, added up in order of level
  int64_t* codes;       // [T, L] out
  float* sq_norms;      // [T, L] out: squared norms of the residuals, the first after level 0
  int32_t* level;       // [T] in and out; kNotFinite where a residual is not finite
  double* bound;        // [T] scratch, kept between calls: error bound of the scores
  const int64_t* gram_row_at;  // [K] address of row k of C C^T ([K] floats), or 0 where missing
};

inline constexpr int32_t kNotFinite = -1;

#define CRAFT_DECLARE_RESIDUAL_QUANTIZE(isa)                                                       \
  namespace isa {                                                                                  \
  /* Advances tokens [begin, end) until `stop`, or until one needs a Gram row that is missing. */  \
  void advance(const Codewords& book, const Tile& tile, int64_t begin, int64_t end);               \
  /* grad [T, D] += sum over l of 2 grad_sq_norms[., l] r_l, with the residuals gone through again \
     in `residual` [T, D] (in: float32(z)). words: level l starts at words + l * level_stride. */  \
  void add_sq_norms_gradient(const float* words, int64_t level_stride, int64_t D, int64_t L,       \
                             const int64_t* codes, const float* grad_sq_norms, float* residual,    \
                             float* grad, int64_t begin, int64_t end);                             \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_RESIDUAL_QUANTIZE)
#undef CRAFT_DECLARE_RESIDUAL_QUANTIZE

}  // namespace craft
