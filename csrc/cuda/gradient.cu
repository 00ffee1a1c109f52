#include "../level_gradient.h"
#include "launch.h"
#include "launch_error.cuh"

namespace craft {

namespace {

constexpr int kThreads = 256;

// A thread for each component: its residuals stay in a register.
__global__ void __launch_bounds__(kThreads) add_sq_norms_gradient_kernel(const GradientArgs args) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at >= args.N * args.D) return;
  const int64_t token = at / args.D, d = at % args.D;
  float residual = args.z[at], grad = args.grad[at];
  for (int64_t l = 0; l < args.L; ++l) {
    const int64_t code = args.codes[token * args.L + l];
    const float word = args.words[l * args.level_stride + code * args.D + d];
    CRAFT_ISA::add_level(word, 2 * args.grad_sq_norms[token * args.L + l], residual, grad);
  }
  args.grad[at] = grad;
}

}  // namespace

const char* add_sq_norms_gradient(const GradientArgs& args, void* stream) {
  const auto grid = static_cast<unsigned>((args.N * args.D + kThreads - 1) / kThreads);
  const auto on = static_cast<cudaStream_t>(stream);
  add_sq_norms_gradient_kernel<<<grid, kThreads, 0, on>>>(args);
  return launch_error();
}

}  // namespace craft
