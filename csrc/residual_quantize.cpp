#include "residual_quantize.h"

#include <cmath>

#include "ieee_denormals.h"
#include "level_gradient.h"
#include "product.h"
#include "score_search.h"
#include "short_scores.h"
#include "sum_of_squares.h"
#include "token_state.h"

namespace craft::CRAFT_ISA {
namespace {

// Updates e - p, the part of the residual that the scores do not see, when a codeword is
// subtracted: it loses what rounding dropped from the codeword. Returns its norm.
double subtract_rounding(const Codewords& book, const float* word, float* rounding) {
  if constexpr (!kRounds) return 0;
  if (book.mean == nullptr) {
    for (int64_t i = 0; i < book.D; ++i) rounding[i] -= word[i] - rounded(word[i]);
  } else {
    for (int64_t i = 0; i < book.D; ++i) {
      const float centred = word[i] - book.mean[i];
      rounding[i] -= centred - rounded(centred);
    }
  }
  return std::sqrt(sum_of_squares(rounding, book.D));
}

// Takes one token through the levels.
class Walk {
 public:
  Walk(const Codewords& book, const QuantizeTile& tile, int64_t t)
      : book_(book),
        tile_(tile),
        state_(tile.state[t]),
        residual_(tile.screen.residual + t * book.D),
        rounding_(tile.screen.rounding + t * book.D),
        quantized_(tile.quantized + t * book.D),
        scores_(tile.scores + t * book.P),
        maxima_(tile.maxima + t * book.padded_blocks()),
        codes_(tile.codes + t * tile.L),
        sq_norms_(tile.sq_norms + t * tile.L) {}

  // The Gram row that the step from this level needs, or nullptr if it is missing. Not for level 0,
  // which needs none.
  const GramRow* row() const {
    return reinterpret_cast<const GramRow*>(tile_.gram_row_at[codes_[state_.level - 1]]);
  }

  bool stands_before(int64_t level) const {
    return state_.level == level && (level == 0 || row() != nullptr);
  }

  // `next` is a Gram row that will be needed soon, or nullptr.
  void take_level(const GramRow* next) {
    if (state_.level > 0) subtract_row(next);
    const int64_t k = ScoreSearch(book_, state_, residual_, scores_, maxima_).nearest();
    codes_[state_.level] = k;
    const double sq_norm = subtract_codeword(book_.words + k * book_.D, book_.D, state_.level == 0,
                                             residual_, quantized_);
    sq_norms_[state_.level] = static_cast<float>(sq_norm);
    state_.norm = std::sqrt(sq_norm);
    state_.level = std::isfinite(sq_norm) ? state_.level + 1 : kNotFinite;
  }

 private:
  // The last codeword has been subtracted from the residual; the scores and their bounds follow.
  void subtract_row(const GramRow* next) {
    const int64_t k = codes_[state_.level - 1];
    const float* word = book_.words + k * book_.D;
    const double rounding = subtract_rounding(book_, word, rounding_);
    double word_norm = std::sqrt(2 * book_.half_sq_norms64[k]);
    state_.rest = state_.norm;
    if (book_.mean != nullptr) {
      word_norm = std::sqrt(centred_dot64(word, book_.mean, true, book_.D));
      state_.along -= 1;
      state_.rest = std::sqrt(rest64(residual_, book_.mean, state_.along + 1, book_.D));
    }
    const float row_step = greatest_step(*row(), state_.sound_blocks);
    const double ratio = follow_residual(book_, state_, rounding, word_norm, row_step);
    if (ratio > 1) enlarge_step(ratio, book_.K, book_.P, scores_);
    subtract_gram_row(*row(), book_.P, state_.step, scores_, maxima_, next ? *next : *row());
  }

  const Codewords& book_;
  const QuantizeTile& tile_;
  TokenState& state_;
  float *residual_, *rounding_, *quantized_;
  int16_t *scores_, *maxima_;
  int64_t* codes_;
  float* sq_norms_;
};

}  // namespace

void start_tokens(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end) {
  pack_tokens(book, tile.screen, begin, end);
  const int64_t T = tile.screen.T, blocks = book.blocks(), padded = book.padded_blocks();
  for (int64_t t = begin * kTokenGroup; t < end * kTokenGroup && t < T; ++t) {
    start_token(book, tile.screen.parts[t], tile.state[t]);
    for (int64_t b = blocks; b < padded; ++b) tile.maxima[t * padded + b] = kLowest;
  }
}

// All tokens take a level before any of them takes the next. By then each token's Gram row is
// known, so it can be prefetched while the token before it is being worked on.
void advance(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t level = 0; level < tile.L; ++level) {
    for (int64_t t = begin; t < end; ++t) {
      Walk walk(book, tile, t);
      if (!walk.stands_before(level)) continue;
      const GramRow* next = nullptr;
      if (level > 0 && t + 1 < end) {
        const Walk after(book, tile, t + 1);
        if (after.stands_before(level)) next = after.row();
      }
      walk.take_level(next);
    }
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
