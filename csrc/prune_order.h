// The pruning order of images: token positions, the last to be pruned first. Defined, in readable
// form, by craft_kernels/prune/reference.py: the same integers and the same IEEE operations here.
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "prune_order_args.h"

namespace craft {

// What an image takes of `scratch` for each of its tokens.
inline constexpr int64_t kPruneScratchBytes = 80;

// One image of the batch; they are independent of each other.
#define CRAFT_DECLARE_PRUNE_ORDER(isa)                                        \
  namespace isa {                                                             \
  void prune_order(const PruneOrderArgs& args, int64_t image, void* scratch); \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_PRUNE_ORDER)
#undef CRAFT_DECLARE_PRUNE_ORDER

}  // namespace craft
