#include "residual_quantize.h"

#include <cmath>
#include <limits>

#include "exact_sum.h"
#include "ieee_denormals.h"
#include "score_bound.h"
#include "simd.h"

namespace craft::CRAFT_ISA {
namespace {

// Sum of squares in float64 with the summation order that the contract fixes: component i goes to
// lane i % 16, lanes are folded in halves. Squares of floats are exact, so an FMA changes nothing.
class SumOfSquares {
 public:
  static constexpr int kLanes = 16;

  // Components [i, i + kLanes) of the vector, i a multiple of kLanes.
  [[gnu::always_inline]] void add_lanes(const float* x) {
    for (int v = 0; v < kLanes / kDoubles; ++v) {
      const DoubleVector wide = load_wide(x + v * kDoubles);
      vectors_[v] += wide * wide;
    }
  }

  [[gnu::always_inline]] void add_lane(int lane, float x) {
    vectors_[lane / kDoubles][lane % kDoubles] += static_cast<double>(x) * x;
  }

  double total() const {
    double lanes[kLanes];
    __builtin_memcpy(lanes, vectors_, sizeof lanes);
    for (int half = kLanes / 2; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
    }
    return lanes[0];
  }

 private:
  DoubleVector vectors_[kLanes / kDoubles] = {};
};

double sum_of_squares(const float* x, int64_t D) {
  SumOfSquares sum;
  int64_t i = 0;
  for (; i + SumOfSquares::kLanes <= D; i += SumOfSquares::kLanes) sum.add_lanes(x + i);
  for (int lane = 0; i < D; ++i, ++lane) sum.add_lane(lane, x[i]);
  return sum.total();
}

double dot64(const float* x, const float* y, int64_t D) {
  constexpr int kUnroll = 4;
  DoubleVector sums[kUnroll] = {};
  int64_t i = 0;
  for (; i + kUnroll * kDoubles <= D; i += kUnroll * kDoubles) {
    for (int v = 0; v < kUnroll; ++v) {
      sums[v] += load_wide(x + i + v * kDoubles) * load_wide(y + i + v * kDoubles);
    }
  }
  double total = 0;
  for (; i < D; ++i) total += static_cast<double>(x[i]) * y[i];
  const DoubleVector sum = (sums[0] + sums[1]) + (sums[2] + sums[3]);
  for (int lane = 0; lane < kDoubles; ++lane) total += sum[lane];
  return total;
}

// Whether b is strictly nearer to r than a: 2 <r, b - a> - |b|^2 + |a|^2 > 0, in real arithmetic.
bool strictly_nearer(const float* r, const float* b, const float* a, int64_t D) {
  if (__builtin_memcmp(a, b, D * sizeof(float)) == 0) return false;
  ExactSum difference;
  for (int64_t i = 0; i < D; ++i) {
    difference.add_product(r[i], b[i], 1, 1);
    difference.add_product(b[i], b[i], 0, -1);
    difference.add_product(r[i], a[i], 1, -1);
    difference.add_product(a[i], a[i], 0, 1);
  }
  return difference.sign() > 0;
}

// The nearest of the codewords it is shown, in ascending order: float64 where its error bound
// separates two of them, exact arithmetic where it does not, the lower index on a tie.
class Nearest {
 public:
  Nearest(const Codewords& book, const float* residual, double float64_bound)
      : book_(book), residual_(residual), margin_(2 * float64_bound) {}

  void consider(int64_t j) {
    if (best_ < 0) {  // most often there is no second one, and no score is needed
      best_ = j;
      return;
    }
    if (!scored_) best_score_ = score(best_);
    scored_ = true;
    const double challenger = score(j);
    const double lead = challenger - best_score_;
    if (lead > margin_ ||
        (lead >= -margin_ && strictly_nearer(residual_, word(j), word(best_), book_.D))) {
      best_ = j;
      best_score_ = challenger;
    }
  }

  int64_t best() const { return best_; }

 private:
  const float* word(int64_t j) const { return book_.words + j * book_.D; }
  double score(int64_t j) const {
    return dot64(residual_, word(j), book_.D) - book_.half_sq_norms64[j];
  }

  const Codewords& book_;
  const float* residual_;
  double margin_;
  int64_t best_ = -1;
  double best_score_ = 0;
  bool scored_ = false;
};

// A row of scores in at most kBlocks blocks, each with its lane-wise maxima, so that the search for
// near-ties reads only the blocks that hold one.
class ScoreRow {
 public:
  ScoreRow(float* scores, int64_t K) : scores_(scores), K_(K) {
    const int64_t step = kUnroll * kFloats;
    block_ = (K + kBlocks * step - 1) / (kBlocks * step) * step;
  }

  // scores -= subtrahend; returns the greatest score.
  float subtract(const float* subtrahend) {
    FloatVector best = splat(-std::numeric_limits<float>::infinity());
    for (int64_t begin = 0, b = 0; begin < K_; begin += block_, ++b) {
      maxima_[b] = subtract_block(subtrahend, begin, end_of(begin));
      best = max(best, maxima_[b]);
    }
    return max_lane(best);
  }

  // Shows `nearest` every codeword whose score reaches the threshold, in ascending order.
  void collect(float threshold, Nearest& nearest) const {
    for (int64_t begin = 0, b = 0; begin < K_; begin += block_, ++b) {
      if (max_lane(maxima_[b]) < threshold) continue;
      for (int64_t j = begin; j < end_of(begin); ++j) {
        if (scores_[j] >= threshold) nearest.consider(j);
      }
    }
  }

 private:
  static constexpr int kBlocks = 64, kUnroll = 4;

  static FloatVector splat(float x) { return x - FloatVector{}; }
  int64_t end_of(int64_t begin) const { return begin + block_ < K_ ? begin + block_ : K_; }

  FloatVector subtract_block(const float* subtrahend, int64_t j, int64_t end) {
    FloatVector best[kUnroll];
    for (FloatVector& v : best) v = splat(-std::numeric_limits<float>::infinity());
    for (; j + kUnroll * kFloats <= end; j += kUnroll * kFloats) {
      for (int v = 0; v < kUnroll; ++v) {
        const int64_t at = j + v * kFloats;
        const FloatVector score = load(scores_ + at) - load(subtrahend + at);
        store(scores_ + at, score);
        best[v] = max(best[v], score);
      }
    }
    FloatVector all = max(max(best[0], best[1]), max(best[2], best[3]));
    for (; j < end; ++j) {
      scores_[j] -= subtrahend[j];
      if (scores_[j] > all[0]) all[0] = scores_[j];
    }
    return all;
  }

  float* scores_;
  int64_t K_, block_;
  FloatVector maxima_[kBlocks];
};

int64_t nearest_codeword(const Codewords& book, const float* residual, double residual_norm,
                         const ScoreBound& bounds, double bound, float* scores,
                         const float* subtrahend) {
  Nearest nearest(book, residual, bounds.in_float64(residual_norm));
  if (std::isinf(bound)) {
    for (int64_t j = 0; j < book.K; ++j) nearest.consider(j);
    return nearest.best();
  }
  ScoreRow row(scores, book.K);
  const float greatest = row.subtract(subtrahend);
  // The nearest codeword's true score is at least that of any other: its computed one lies at most
  // two bounds below the greatest. The float threshold is rounded down.
  const float threshold = std::nextafter(static_cast<float>(greatest - 2 * bound),
                                         -std::numeric_limits<float>::infinity());
  row.collect(threshold, nearest);
  return nearest.best();
}

// residual -= word and quantized += word (or = word at level 0), each rounded to float32; returns
// the new residual's sum of squares.
double subtract_codeword(const float* word, int64_t D, bool first, float* residual,
                         float* quantized) {
  for (int64_t i = 0; i < D; ++i) residual[i] -= word[i];
  if (first) {
    __builtin_memcpy(quantized, word, D * sizeof(float));
  } else {
    for (int64_t i = 0; i < D; ++i) quantized[i] += word[i];
  }
  return sum_of_squares(residual, D);
}

void advance_token(const Codewords& book, const Tile& tile, int64_t t) {
  const ScoreBound bounds(book.D, book.max_norm);
  float* residual = tile.residual + t * book.D;
  int64_t* codes = tile.codes + t * tile.L;
  int32_t& level = tile.level[t];
  double& bound = tile.bound[t];
  double sq_norm = sum_of_squares(residual, book.D);
  if (!std::isfinite(sq_norm)) {
    level = kNotFinite;
    return;
  }
  while (level < tile.stop) {
    const double norm = std::sqrt(sq_norm);
    const float* subtrahend = book.half_sq_norms;
    if (level == tile.first) {
      bound = bounds.from_dot(norm);
    } else {
      subtrahend = reinterpret_cast<const float*>(tile.gram_row_at[codes[level - 1]]);
      if (subtrahend == nullptr) return;
      bound = bounds.from_gram(bound, norm);
    }
    const int64_t k =
        nearest_codeword(book, residual, norm, bounds, bound, tile.scores + t * book.K, subtrahend);
    codes[level] = k;
    sq_norm = subtract_codeword(book.words + k * book.D, book.D, level == 0, residual,
                                tile.quantized + t * book.D);
    tile.sq_norms[t * tile.L + level] = static_cast<float>(sq_norm);
    if (!std::isfinite(sq_norm)) {
      level = kNotFinite;
      return;
    }
    ++level;
  }
}

}  // namespace

void advance(const Codewords& book, const Tile& tile, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t t = begin; t < end; ++t) {
    if (tile.level[t] != kNotFinite && tile.level[t] < tile.stop) advance_token(book, tile, t);
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
        r[i] -= word[i];
        g[i] += scale * r[i];
      }
    }
  }
}

}  // namespace craft::CRAFT_ISA
