// The decision, once screening has left a few codewords: float64 where its error bound separates
// two of them, exact arithmetic where it does not.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "codewords.h"
#include "exact_sum.h"
#include "score_bound.h"
#include "simd.h"
#include "sum_of_squares.h"

namespace craft::CRAFT_ISA {

inline double dot64(const float* x, const float* y, int64_t D) {
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

// The sign of |r - a|^2 - |r - b|^2 = 2 <r, b - a> - |b|^2 + |a|^2 in real arithmetic: positive
// where b is nearer to r than a.
inline int sign_of_lead(const float* r, const float* b, const float* a, int64_t D) {
  if (__builtin_memcmp(a, b, D * sizeof(float)) == 0) return 0;
  ExactSum difference;
  for (int64_t i = 0; i < D; ++i) {
    difference.add_product(r[i], b[i], 1, 1);
    difference.add_product(b[i], b[i], 0, -1);
    difference.add_product(r[i], a[i], 1, -1);
    difference.add_product(a[i], a[i], 0, 1);
  }
  return difference.sign();
}

// The nearest of the codewords it is shown: float64 where its error bound separates two of them,
// exact arithmetic where it does not, the lower index on a tie.
class Nearest {
 public:
  Nearest(const Codewords& book, const float* residual, double residual_norm)
      : book_(book),
        residual_(residual),
        margin_(2 * float64_score_bound(book.D, residual_norm, greatest_norm(book))) {}

  void consider(int64_t j) {
    if (best_ < 0) {  // most often there is no second one, and no score is needed
      best_ = j;
      return;
    }
    if (!scored_) best_score_ = score(best_);
    scored_ = true;
    const double challenger = score(j);
    double lead = challenger - best_score_;
    if (lead < -margin_) return;
    if (lead <= margin_) {
      lead = sign_of_lead(residual_, word(j), word(best_), book_.D);
      if (lead < 0 || (lead == 0 && j > best_)) return;
    }
    best_ = j;
    best_score_ = challenger;
  }

  int64_t best() const { return best_; }

 private:
  static double greatest_norm(const Codewords& book) { return book.block_norm[book.blocks() - 1]; }
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

// residual -= word and quantized += word (or = word at level 0), each rounded to float32; returns
// the new residual's sum of squares.
inline double subtract_codeword(const float* word, int64_t D, bool first, float* residual,
                                float* quantized) {
  for (int64_t i = 0; i < D; ++i) residual[i] -= word[i];
  if (first) {
    __builtin_memcpy(quantized, word, D * sizeof(float));
  } else {
    for (int64_t i = 0; i < D; ++i) quantized[i] += word[i];
  }
  return sum_of_squares(residual, D);
}

// The greatest float that is not above x.
inline float rounded_down(double x) {
  const float nearest = static_cast<float>(x);
  return nearest > x ? std::nextafter(nearest, -std::numeric_limits<float>::infinity()) : nearest;
}

}  // namespace craft::CRAFT_ISA
