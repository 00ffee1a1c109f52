#pragma once

#include <cstdint>

namespace craft {

struct PruneOrderArgs {
  int64_t height, width;      // N = height * width tokens per image
  int64_t neighbors;          // >= 1
  double isolation_weight;    // in [0, 1]
  const int64_t* ids;         // [B, N], in [0, K)
  const float* residual_sq;   // [B, N], finite, >= 0
  const float* prior;         // [K], finite, > 0
  const int64_t* log_counts;  // [N + 1]; this and the next two: craft_kernels/prune/tables.py
  const int64_t* distances;   // [height, width]
  const int32_t* offsets;     // [(2 height - 1)(2 width - 1) - 1, 2], nearest first
  int64_t* order;             // [B, N], written
};

}  // namespace craft
