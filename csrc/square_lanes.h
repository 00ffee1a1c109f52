// The order of summation that the contract fixes for a sum of squares: in float64, component i is
// added to lane i % 16, and lanes are folded in halves. Squares of floats are exact, so fused
// multiply-adds change nothing.
#pragma once

#include "host_device.h"

namespace craft::CRAFT_ISA {

inline constexpr int kSquareLanes = 16;

CRAFT_INLINE CRAFT_HOST_DEVICE double plus_square(double sum, float x) {
  return sum + static_cast<double>(x) * x;
}

// Overwrites the lanes.
CRAFT_INLINE CRAFT_HOST_DEVICE double fold_lanes(double* lanes) {
  for (int half = kSquareLanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

}  // namespace craft::CRAFT_ISA
