// How far a score computed in float32 may lie from its value in real arithmetic.
//
// The score of codeword j for a residual r is s[j] = <r, c_j> - |c_j|^2 / 2; the nearest codeword
// has the greatest one. With u = 2^-24, C = max_j |c_j| and H = C^2 / 2, uniformly in j:
//
// * A float32 dot product of length D, summed in any order, with or without fused operations, is
//   off by at most g |r| |c_j|, g = Du / (1 - Du) (Higham, Accuracy and Stability of Numerical
//   Algorithms, sec. 3.1, with Cauchy-Schwarz).
// * If the library flushes denormals, each of 2D operations may lose 2^-126 more, and each operand
//   read as zero 2^-126 times the other one: together 2^-126 (2D + sqrt(D) (|r| + C)).
// * Half the squared norm, rounded to float32: uH.
// * A later level takes the score of the level before and subtracts an entry of the Gram matrix, a
//   dot product of two codewords: g C^2. That is the score of r - c_k, while the residual is
//   fl(r - c_k): the rounding moves component i by at most u |fl(r - c_k)[i]|, the score by u |r'|
//   C.
// * The subtraction itself rounds: u times the result, and |s| <= |r| C + H + the bound so far.
//
// All of it is evaluated in float64 and enlarged by 1 %, far more than float64 can lose. Where a
// number might leave float32's range the bound is infinite and float32 is not believed at all.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace craft::CRAFT_ISA {

class ScoreBound {
 public:
  ScoreBound(int64_t dim, double max_norm)
      : dim_(static_cast<double>(dim)), max_norm_(max_norm), half_sq_(0.5 * max_norm * max_norm) {}

  // For s = fl(<r, c_j>) - fl(|c_j|^2 / 2).
  double from_dot(double residual_norm) const {
    return rounded(residual_norm, dot(residual_norm) + kUnit * half_sq_ + kTiny);
  }

  // For s' = s - fl(<c_k, c_j>), where `previous` bounds s.
  double from_gram(double previous, double residual_norm) const {
    return rounded(residual_norm, previous + dot(max_norm_) + kUnit * residual_norm * max_norm_);
  }

  // The same for <r, c_j> - |c_j|^2 / 2 in float64. Products of floats are exact there, the sums
  // and the stored norm lose at most D + 8 units of 2^-53, and denormal components of the codebook
  // may have been read as zero when its norms were taken.
  double in_float64(double residual_norm) const {
    return 1.01 * ((dim_ + 8) * 0x1p-53 * (residual_norm * max_norm_ + half_sq_) + dim_ * 0x1p-252);
  }

 private:
  static constexpr double kUnit = 0x1p-24;
  static constexpr double kTiny = 0x1p-126;
  static constexpr double kHuge = 0x1p120;

  double dot(double norm) const {
    const double relative = dim_ * kUnit / (1 - dim_ * kUnit);
    return relative * norm * max_norm_ + kTiny * (2 * dim_ + std::sqrt(dim_) * (norm + max_norm_));
  }

  double rounded(double residual_norm, double bound) const {
    const double magnitude = residual_norm * max_norm_ + half_sq_ + bound;
    if (!(magnitude < kHuge) || dim_ * kUnit > 0.5) return std::numeric_limits<double>::infinity();
    return 1.01 * (bound + kUnit * magnitude + kTiny);
  }

  double dim_, max_norm_, half_sq_;
};

}  // namespace craft::CRAFT_ISA
