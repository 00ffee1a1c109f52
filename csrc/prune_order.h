// The pruning order of images: token positions, the last to be pruned first. Defined, in readable
// form, by craft_kernels/prune/reference.py: the same integers and the same IEEE operations here.
#pragma once

#include <cstdint>

#include "dispatch.h"
#include "prune_order_args.h"

namespace craft {

// Images [begin, end) of the batch; they are independent of each other.
#define CRAFT_DECLARE_PRUNE_ORDER(isa)                                      \
  namespace isa {                                                           \
  void prune_order(const PruneOrderArgs& args, int64_t begin, int64_t end); \
  }
CRAFT_FOR_EACH_ISA(CRAFT_DECLARE_PRUNE_ORDER)
#undef CRAFT_DECLARE_PRUNE_ORDER

}  // namespace craft
