#include "launch.h"
#include "launch_error.cuh"
#include "prune_token.h"

namespace craft {

namespace {

using namespace CRAFT_ISA;

constexpr int kThreads = 128;

using Step = void (*)(const PruneOrderArgs&, const PruneScratch&, int64_t, int64_t);

// One thread per token. The threads of a block go through the other tokens of one image in step, so
// that a warp reads one address at a time.
template <Step step>
__global__ void __launch_bounds__(kThreads)
    prune_step(const PruneOrderArgs args, const PruneScratch scratch) {
  const int64_t N = args.height * args.width, blocks = (N + kThreads - 1) / kThreads;
  const int64_t i = blockIdx.x % blocks * kThreads + threadIdx.x;
  if (i < N) step(args, scratch, blockIdx.x / blocks, i);
}

}  // namespace

int64_t prune_scratch_bytes(int64_t tokens) { return PruneScratch::bytes(tokens); }

const char* prune_order(const PruneOrderArgs& args, int64_t batch, void* memory, void* stream) {
  const int64_t N = args.height * args.width;
  const auto on = static_cast<cudaStream_t>(stream);
  const auto grid = static_cast<unsigned>(batch * ((N + kThreads - 1) / kThreads));
  const PruneScratch scratch(memory, batch * N);
  prune_step<measure_cues><<<grid, kThreads, 0, on>>>(args, scratch);
  prune_step<score_token><<<grid, kThreads, 0, on>>>(args, scratch);
  prune_step<set_critical_value><<<grid, kThreads, 0, on>>>(args, scratch);
  prune_step<place_token><<<grid, kThreads, 0, on>>>(args, scratch);
  return launch_error();
}

}  // namespace craft
