#include "block.cuh"
#include "gram_walk.h"
#include "launch.h"
#include "launch_error.cuh"

namespace craft {

namespace {

using namespace CRAFT_ISA;

constexpr int kThreads = 256;
constexpr int kDefaultShared = 48 << 10;  // more than this must be requested

using Block = ThreadBlock<kThreads>;

__global__ void __launch_bounds__(kThreads) gram_walk_kernel(const GramWalkArgs args) {
  extern __shared__ float scores[];  // [K]
  __shared__ WalkMemory memory;
  __shared__ Block::Memory folds;
  walk_token(args, blockIdx.x, scores, memory, Block(folds));
}

}  // namespace

const char* gram_walk(const GramWalkArgs& args, void* stream) {
  const int bytes = static_cast<int>(args.K * sizeof(float));
  if (bytes + sizeof(WalkMemory) + sizeof(Block::Memory) > kDefaultShared) {
    cudaFuncSetAttribute(gram_walk_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  }
  const auto grid = static_cast<unsigned>(args.N);
  gram_walk_kernel<<<grid, kThreads, bytes, static_cast<cudaStream_t>(stream)>>>(args);
  return launch_error();
}

}  // namespace craft
