#include "gradient.h"
#include "launch_error.cuh"

namespace craft {

namespace {

constexpr int kThreads = 256;

__global__ void __launch_bounds__(kThreads) gradient_kernel(const GradientArgs args) {
  const int64_t at = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (at < args.N * args.D) CRAFT_ISA::add_to_component(args, at);
}

}  // namespace

const char* add_sq_norms_gradient(const GradientArgs& args, void* stream) {
  const auto grid = static_cast<unsigned>((args.N * args.D + kThreads - 1) / kThreads);
  gradient_kernel<<<grid, kThreads, 0, static_cast<cudaStream_t>(stream)>>>(args);
  return launch_error();
}

}  // namespace craft
