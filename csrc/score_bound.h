// How far a screened score may lie from its value in real arithmetic.
//
// The score of codeword c for a residual r is s = <r, c> - |c|^2 / 2; the nearest codeword has the
// greatest. The screened score is a product of rounded operands (screen.h), minus rows of the Gram
// matrix of rounded codewords. A prime marks a rounded operand. After the codewords k_1 .. k_l the
// screened score stands for <p, c'> - |c|^2 / 2 with p = r_0' - k_1' - .. - k_l'. With N >= |c'|,
// Cauchy-Schwarz bounds its error by the sum of
//
// * |r| |c - c'| + |r - p| N: the rounding of the operands. The vector r - p is carried along with
//   the residual in float32, where each step loses at most u (|r| + |r - p|), u = 2^-24.
// * g (|r_0'| + |k_1'| + .. + |k_l'|) N: the products. A sum of D products in any order, with or
//   without fused operations, has an error of at most g = D v / (1 - D v) times the norms of its
//   operands (Higham, Accuracy and Stability of Numerical Algorithms, sec. 3.1, with
//   Cauchy-Schwarz). Here v = 2^-23 rather than u, so that truncating hardware is covered too; four
//   more units cover the scaling of a Gram row and the rounding of a single product.
// * u times the magnitude of each score on the way, |p_m| N + |c|^2 / 2, and of the half norm.
// * Slightly more than half a step for each Gram row, whose entries are multiples of a step.
// * Where denormals are flushed, each of the 2D operations of a product may lose 2^-126, and each
//   operand read as zero 2^-126 times the other operand.
//
// The sum is evaluated in float64 and enlarged by 1 %, far more than float64 can lose. Where a
// number might leave float32's range, the bound is infinite and the score is ignored.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "host_device.h"
#include "score_history.h"

namespace craft::CRAFT_ISA {

inline constexpr double kUnit = 0x1p-24;
inline constexpr double kProductUnit = 0x1p-23;
inline constexpr double kTiny = 0x1p-126;
inline constexpr double kHuge = 0x1p120;

// The first score, a product with the rounded residual. `rounding` is |r - r'|.
CRAFT_INLINE CRAFT_HOST_DEVICE void start(ScoreHistory& history, double residual_norm,
                                          double rounding) {
  history = {};
  history.residual = residual_norm;
  history.rounding = rounding;
  history.path = history.magnitudes = residual_norm + rounding;
  history.scores = 1;
}

// The residual has become fl(r - c) and the score has lost c's Gram row, of this step size.
// `rounding` is the norm of the carried r - p, `word_norm` that of c.
CRAFT_INLINE CRAFT_HOST_DEVICE void subtract_row(ScoreHistory& history, double residual_norm,
                                                 double rounding, double word_norm, double step) {
  history.residual = residual_norm;
  history.slack += kUnit * (residual_norm + rounding);
  history.rounding = rounding + history.slack;
  history.path += 1.01 * (word_norm + kTiny);  // rounding enlarges it by less
  history.magnitudes += residual_norm + history.rounding;
  history.steps += 0.51 * step;
  history.scores += 1;
}

// The terms of a token's bound at its current level, and the bound for codewords whose norms are at
// most `norm` and from which rounding drops at most `dropped`.
struct ScoreBound {
  CRAFT_HOST_DEVICE ScoreBound(const ScoreHistory& history, int64_t D,
                               double product_unit = kProductUnit)
      : residual(history.residual), path(history.path) {
    const double dim = static_cast<double>(D), root = std::sqrt(dim);
    const double products = (dim + 4) * product_unit;
    if (products > 0.5) path = std::numeric_limits<double>::infinity();
    per_norm = history.rounding + products / (1 - products) * history.path +
               kUnit * history.magnitudes + kTiny * root * history.scores;
    per_half_sq_norm = kUnit * (history.scores + 1);
    constant = history.steps + kTiny * ((2 * dim + 1) * history.scores + root * history.path);
  }

  CRAFT_HOST_DEVICE double of_block(double norm, double dropped) const {
    const double rounded_norm = norm + dropped, half_sq_norm = 0.5 * norm * norm;
    const double bound =
        residual * dropped + per_norm * rounded_norm + per_half_sq_norm * half_sq_norm + constant;
    const bool in_range = path * rounded_norm + half_sq_norm + bound < kHuge;
    return in_range ? 1.01 * bound : std::numeric_limits<double>::infinity();
  }

  double residual, path, per_norm, per_half_sq_norm, constant;
};

// The bound for <r, c> - |c|^2 / 2 in float64, with |c| at most max_norm. Products of floats are
// exact there; the sums and the stored half norm lose at most D + 8 units of 2^-53.
CRAFT_INLINE CRAFT_HOST_DEVICE double float64_score_bound(int64_t D, double residual_norm,
                                                          double max_norm) {
  const double dim = static_cast<double>(D);
  const double reach = residual_norm * max_norm + 0.5 * max_norm * max_norm;
  return 1.01 * ((dim + 8) * 0x1p-53 * reach + dim * 0x1p-252);
}

}  // namespace craft::CRAFT_ISA
