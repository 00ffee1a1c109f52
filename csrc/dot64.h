// Inner products in float64, where products of floats are exact. Any order of summation will do.
#pragma once

#include <cstdint>

#include "simd.h"

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

// |x - m|^2 if `squared`, else <m, x - m>. Differences are taken in float64, so nothing cancels.
inline double centred_dot64(const float* x, const float* m, bool squared, int64_t D) {
  DoubleVector sums[2] = {};
  double total = 0;
  int64_t i = 0;
  for (; i + 2 * kDoubles <= D; i += 2 * kDoubles) {
    for (int v = 0; v < 2; ++v) {
      const DoubleVector mean = load_wide(m + i + v * kDoubles);
      const DoubleVector centred = load_wide(x + i + v * kDoubles) - mean;
      sums[v] += centred * (squared ? centred : mean);
    }
  }
  for (; i < D; ++i) {
    const double centred = static_cast<double>(x[i]) - m[i];
    total += centred * (squared ? centred : m[i]);
  }
  const DoubleVector sum = sums[0] + sums[1];
  for (int lane = 0; lane < kDoubles; ++lane) total += sum[lane];
  return total;
}

// |x - share m|^2
inline double rest64(const float* x, const float* m, double share, int64_t D) {
  DoubleVector sum = {};
  double total = 0;
  int64_t i = 0;
  for (; i + kDoubles <= D; i += kDoubles) {
    const DoubleVector rest = load_wide(x + i) - share * load_wide(m + i);
    sum += rest * rest;
  }
  for (; i < D; ++i) total += (x[i] - share * m[i]) * (x[i] - share * m[i]);
  for (int lane = 0; lane < kDoubles; ++lane) total += sum[lane];
  return total;
}

}  // namespace craft::CRAFT_ISA
