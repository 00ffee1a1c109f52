// Sums of squares in the order of square_lanes.h, with the lanes in vectors.
#pragma once

#include <cstdint>

#include "simd.h"
#include "square_lanes.h"

namespace craft::CRAFT_ISA {

class SumOfSquares {
 public:
  static constexpr int kLanes = kSquareLanes;

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
    return fold_lanes(lanes);
  }

 private:
  DoubleVector vectors_[kLanes / kDoubles] = {};
};

CRAFT_INLINE double sum_of_squares(const float* x, int64_t D) {
  SumOfSquares sum;
  int64_t i = 0;
  for (; i + SumOfSquares::kLanes <= D; i += SumOfSquares::kLanes) sum.add_lanes(x + i);
  for (int lane = 0; i < D; ++i, ++lane) sum.add_lane(lane, x[i]);
  return sum.total();
}

}  // namespace craft::CRAFT_ISA
