// ScoreBound::of_block in float32, for several tokens or several blocks at once.
#pragma once

#include <limits>

#include "score_bound.h"
#include "simd.h"

namespace craft::CRAFT_ISA {

// The fields of a ScoreBound, of kFloats tokens or of one token in every lane.
struct BoundLanes {
  FloatVector residual, path, per_norm, per_half_sq_norm, constant;

  explicit BoundLanes(const ScoreBound& bound)
      : residual(splat(static_cast<float>(bound.residual))),
        path(splat(static_cast<float>(bound.path))),
        per_norm(splat(static_cast<float>(bound.per_norm))),
        per_half_sq_norm(splat(static_cast<float>(bound.per_half_sq_norm))),
        constant(splat(static_cast<float>(bound.constant))) {}
  BoundLanes(FloatVector residual, FloatVector path, FloatVector per_norm,
             FloatVector per_half_sq_norm, FloatVector constant)
      : residual(residual),
        path(path),
        per_norm(per_norm),
        per_half_sq_norm(per_half_sq_norm),
        constant(constant) {}

  // Enlarged by another two per cent, far more than float32 can lose here (whatever underflows is
  // less than `constant`), which leaves room for the rounding of comparisons with scores.
  FloatVector of_blocks(FloatVector norm, FloatVector dropped) const {
    const FloatVector rounded_norm = norm + dropped, half_sq_norm = 0.5f * norm * norm;
    const FloatVector bound =
        residual * dropped + per_norm * rounded_norm + per_half_sq_norm * half_sq_norm + constant;
    const FloatVector range = path * rounded_norm + half_sq_norm + bound;
    return range < splat(static_cast<float>(0.99 * kHuge))
               ? 1.03f * bound
               : splat(std::numeric_limits<float>::infinity());
  }
};

}  // namespace craft::CRAFT_ISA
