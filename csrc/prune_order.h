// The pruning order of images: token positions, the last to be pruned first. Its readable
// definition is craft_kernels/prune/reference.py; the integers and IEEE operations here are the
// same.
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "prune_order_args.h"

namespace craft {

// Bytes of `scratch` per token of an image.
inline constexpr int64_t kPruneScratchBytes = 80;

// Orders one image of the batch; images are independent of each other.
#define CRAFT_DECLARE_PRUNE_ORDER(isa)                                        \
  namespace isa {                                                             \
  void prune_order(const PruneOrderArgs& args, int64_t image, void* scratch); \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_PRUNE_ORDER)
#undef CRAFT_DECLARE_PRUNE_ORDER

}  // namespace craft
