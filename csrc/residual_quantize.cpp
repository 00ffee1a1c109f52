#include "residual_quantize.h"

#include <cmath>
#include <limits>

#include "gram_rows.h"
#include "ieee_denormals.h"
#include "level_gradient.h"
#include "nearest.h"
#include "product.h"
#include "score_bound.h"
#include "simd.h"
#include "sum_of_squares.h"

namespace craft::CRAFT_ISA {
namespace {

// scores -= the Gram row, with the greatest score of each block.
void subtract_gram_row(const GramRow& row, int64_t blocks, float* scores, float* maxima) {
  const int16_t* entries = row.entries();
  const FloatVector step = splat(row.step);
  constexpr int kUnroll = 4;
  static_assert(kBlock % (kUnroll * kFloats) == 0);
  for (int64_t b = 0; b < blocks; ++b) {
    FloatVector best[kUnroll];
    for (FloatVector& v : best) v = splat(-std::numeric_limits<float>::infinity());
    for (int64_t j = b * kBlock; j < (b + 1) * kBlock; j += kUnroll * kFloats) {
      for (int v = 0; v < kUnroll; ++v) {
        const int64_t at = j + v * kFloats;
        const FloatVector score = load(scores + at) - step * load_integers(entries + at);
        store(scores + at, score);
        best[v] = max(best[v], score);
      }
    }
    maxima[b] = max_lane(max(max(best[0], best[1]), max(best[2], best[3])));
  }
}

// Settles among the codewords that may be the nearest. One codeword of block b has a true score of
// at least maxima[b] - bound[b], so the nearest has one of at least the greatest of these, and its
// screened score falls short of that by its own block's bound at most. Where a bound is infinite
// the scores mean nothing, and the whole block is looked at.
int64_t nearest_codeword(const Codewords& book, const float* residual, double residual_norm,
                         const ScoreBound& bounds, const float* scores, const float* maxima) {
  Nearest nearest(book, residual, residual_norm);
  double floor = -std::numeric_limits<double>::infinity();
  for (int64_t b = 0; b < book.blocks(); ++b) {
    const double bound = bounds.of_block(book.block_norm[b], book.block_rounding[b]);
    if (!std::isinf(bound) && maxima[b] - bound > floor) floor = maxima[b] - bound;
  }
  for (int64_t b = 0; b < book.blocks(); ++b) {
    const double bound = bounds.of_block(book.block_norm[b], book.block_rounding[b]);
    if (!std::isinf(bound) && maxima[b] + bound < floor) continue;
    const float threshold = rounded_down(floor - bound);
    for (int64_t j = b * kBlock; j < (b + 1) * kBlock; ++j) {
      if ((std::isinf(bound) || scores[j] >= threshold) && book.order[j] >= 0) {
        nearest.consider(book.order[j]);
      }
    }
  }
  return nearest.best();
}

// The carried rounding loses what rounding the word drops.
void subtract_rounding(const float* word, int64_t D, float* rounding) {
  for (int64_t i = 0; i < D; ++i) rounding[i] -= word[i] - rounded(word[i]);
}

void advance_token(const Codewords& book, const QuantizeTile& tile, int64_t t) {
  float* residual = tile.screen.residual + t * book.D;
  float* rounding = tile.screen.rounding + t * book.D;
  float* scores = tile.screen.scores + t * book.P;
  float* maxima = tile.screen.maxima + t * book.blocks();
  int64_t* codes = tile.codes + t * tile.L;
  TokenState& state = tile.state[t];
  double sq_norm = sum_of_squares(residual, book.D);
  if (!std::isfinite(sq_norm)) {
    state.level = kNotFinite;
    return;
  }
  while (state.level < tile.L) {
    const double norm = std::sqrt(sq_norm);
    const double rounding_norm = std::sqrt(sum_of_squares(rounding, book.D));
    if (state.level == 0) {
      start(state.history, norm, rounding_norm);
    } else {
      const int64_t previous = codes[state.level - 1];
      const auto* row = reinterpret_cast<const GramRow*>(tile.gram_row_at[previous]);
      if (row == nullptr) return;
      subtract_gram_row(*row, book.blocks(), scores, maxima);
      const double word_norm = std::sqrt(2 * book.half_sq_norms64[previous]);
      subtract_row(state.history, norm, rounding_norm, word_norm, row->step);
    }
    const ScoreBound bounds(state.history, book.D);
    const int64_t k = nearest_codeword(book, residual, norm, bounds, scores, maxima);
    const float* word = book.words + k * book.D;
    codes[state.level] = k;
    sq_norm =
        subtract_codeword(word, book.D, state.level == 0, residual, tile.quantized + t * book.D);
    subtract_rounding(word, book.D, rounding);
    tile.sq_norms[t * tile.L + state.level] = static_cast<float>(sq_norm);
    if (!std::isfinite(sq_norm)) {
      state.level = kNotFinite;
      return;
    }
    ++state.level;
  }
}

}  // namespace

void advance(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t t = begin; t < end; ++t) {
    const int64_t level = tile.state[t].level;
    if (level != kNotFinite && level < tile.L) advance_token(book, tile, t);
  }
}

void add_sq_norms_gradient(const float* words, int64_t level_stride, int64_t D, int64_t L,
                           const int64_t* codes, const float* grad_sq_norms, float* residual,
                           float* grad, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t t = begin; t < end; ++t) {
    float* r = residual + t * D;
    float* g = grad + t * D;
    for (int64_t l = 0; l < L; ++l) {
      const float* word = words + l * level_stride + codes[t * L + l] * D;
      const float scale = 2 * grad_sq_norms[t * L + l];
      for (int64_t i = 0; i < D; ++i) {
        add_level(word[i], scale, r[i], g[i]);
      }
    }
  }
}

}  // namespace craft::CRAFT_ISA
