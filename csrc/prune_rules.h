// The rules of the pruning order for a single token, operation for operation those of
// craft_kernels/prune/reference.py.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "host_device.h"
#include "prune_order_args.h"

namespace craft::CRAFT_ISA {

inline constexpr int64_t kLn2 = 12193974156573;  // round(ln 2 * 2^44)

// tables.fixed_log.
CRAFT_INLINE CRAFT_HOST_DEVICE int64_t fixed_log(double x) {
  int exponent;
  double mantissa = std::frexp(x, &exponent);
  if (mantissa < 0.7071067811865476) {
    mantissa *= 2;
    --exponent;
  }
  const double s = (mantissa - 1) / (mantissa + 1);
  const double square = s * s;
  double series = 1.0 / 21;
  for (int odd = 19; odd > 0; odd -= 2) series = series * square + 1.0 / odd;
  return exponent * kLn2 + static_cast<int64_t>(std::rint(2 * s * series * 0x1p44));
}

// The sum of the distances to the `wanted` nearest tokens of the same ID, met by walking outwards
// over the grid.
CRAFT_INLINE CRAFT_HOST_DEVICE int64_t walk_to_nearest(const PruneOrderArgs& args,
                                                       const int64_t* ids, int32_t row,
                                                       int32_t column, int64_t wanted) {
  const int32_t height = static_cast<int32_t>(args.height);
  const int32_t width = static_cast<int32_t>(args.width);
  const int64_t id = ids[row * width + column];
  int64_t sum = 0;
  for (const int32_t* offset = args.offsets; wanted > 0; offset += 2) {
    const int32_t to_row = row + offset[0], to_column = column + offset[1];
    if (to_row < 0 || to_row >= height || to_column < 0 || to_column >= width) continue;
    if (ids[to_row * width + to_column] != id) continue;
    sum += args.distances[std::abs(offset[0]) * width + std::abs(offset[1])];
    --wanted;
  }
  return sum;
}

// The score before any cue, and that of an ID's only token: a cue without contrast counts as 1/2.
inline constexpr double kNoScore = 0, kNoContrast = 0.5;

// The score with another cue added, which counts as twice its average rank within the ID.
CRAFT_INLINE CRAFT_HOST_DEVICE double plus_cue(double score, double weight, int64_t less,
                                               int64_t equal) {
  return score + weight * static_cast<double>(2 * less + equal - 1);
}

// The sum of the cues, for an ID with n > 1 tokens, scaled to [0, 1].
CRAFT_INLINE CRAFT_HOST_DEVICE double scaled(double score, int64_t n) {
  return score / static_cast<double>(2 * (n - 1));
}

struct Token {
  double critical;
  int64_t log_prior;
  double score;
  int64_t position;
};

// By higher critical value, rarer ID, higher score, raster order. No two tokens are equal.
CRAFT_INLINE CRAFT_HOST_DEVICE bool kept_longer(const Token& a, const Token& b) {
  if (a.critical != b.critical) return a.critical > b.critical;
  if (a.log_prior != b.log_prior) return a.log_prior < b.log_prior;
  if (a.score != b.score) return a.score > b.score;
  return a.position < b.position;
}

// The critical value of the token that `slot` of its ID's n tokens surpass. `log_weight` says how
// much more common the ID is than the rarest one. Slot 0 outlives the later slots of the rarest ID,
// which outlive all finite values.
CRAFT_INLINE CRAFT_HOST_DEVICE double critical_value(const int64_t* log_counts, int64_t n,
                                                     int64_t slot, int64_t log_weight) {
  if (slot == 0) return std::numeric_limits<double>::infinity();
  if (log_weight == 0) return std::numeric_limits<double>::max();
  return static_cast<double>(log_counts[n] - log_counts[slot]) / static_cast<double>(log_weight);
}

}  // namespace craft::CRAFT_ISA
