// One component of one token's gradient, which a GPU computes with one thread each.
#pragma once

#include <cstdint>

#include "../level_gradient.h"
#include "launch.h"

namespace craft::CRAFT_ISA {

CRAFT_INLINE CRAFT_HOST_DEVICE void add_to_component(const GradientArgs& args, int64_t at) {
  const int64_t token = at / args.D, d = at % args.D;
  float residual = args.z[at], grad = args.grad[at];
  for (int64_t l = 0; l < args.L; ++l) {
    const int64_t code = args.codes[token * args.L + l];
    const float word = args.words[l * args.level_stride + code * args.D + d];
    add_level(word, 2 * args.grad_sq_norms[token * args.L + l], residual, grad);
  }
  args.grad[at] = grad;
}

}  // namespace craft::CRAFT_ISA
