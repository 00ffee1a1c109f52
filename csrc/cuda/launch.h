// The arguments of the CUDA kernels: addresses on the GPU, sizes, and a stream (a cudaStream_t). No
// CUDA header here, so that bindings.cpp needs none. The functions do not wait for the GPU. They
// return null, or the driver's error message.
#pragma once

#include <cstdint>

#include "../prune_order_args.h"

namespace craft {

// The pruning orders of `batch` images. `memory` has prune_scratch_bytes(tokens of all images)
// bytes.
int64_t prune_scratch_bytes(int64_t tokens);
const char* prune_order(const PruneOrderArgs& args, int64_t batch, void* memory, void* stream);

// All levels of N tokens with one codebook, starting from the products of the first level.
struct GramWalkArgs {
  int64_t N, K, D, L;
  const float* words;             // [K, D]
  const float* half_sq_norms;     // [K] |c|^2 / 2
  const double* half_sq_norms64;  // [K]
  const float* gram;              // [K, K] <c_i, c_j>
  const float* products;          // [N, K] <z_n, c_j>
  double max_norm;                // an upper bound of |c_j|
  double product_unit;            // the error of a product per term; see score_bound.h
  double rounding;                // the relative error of rounding an operand of a product
  float* residual;                // [N, D] in: z, out: after the last level
  float* quantized;               // [N, D] out
  int64_t* codes;                 // [N, L] out
  float* sq_norms;                // [N, L] out
};

// A token's scores must fit into the shared memory of a block, 99 KiB on the smallest GPUs.
inline constexpr int64_t kGramWalkMaxK = 24 << 10;
const char* gram_walk(const GramWalkArgs& args, void* stream);

// grad += sum over l of 2 grad_sq_norms[., l] r_l.
struct GradientArgs {
  int64_t N, D, L;
  int64_t level_stride;        // from one level's codewords to the next, 0 if all levels share them
  const float* z;              // [N, D]
  const float* words;          // [K, D] or [L, K, D]
  const int64_t* codes;        // [N, L]
  const float* grad_sq_norms;  // [N, L]
  float* grad;                 // [N, D] in and out
};

const char* add_sq_norms_gradient(const GradientArgs& args, void* stream);

}  // namespace craft
