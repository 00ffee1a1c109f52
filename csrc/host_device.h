// Marks code that the CPU and the CUDA kernels share line for line, so that what the tests run on
// the CPU is what a GPU runs. Such code uses integers and single IEEE operations, whose results do
// not depend on the machine; CUDA sources are compiled without fused multiply-add.
#pragma once

#if defined(__CUDACC__)
#define CRAFT_HOST_DEVICE __host__ __device__
// Marks code that calls what only one side has: a thread block, or the CPU's vectors. Tests on the
// CPU simulate the thread block.
#define CRAFT_BLOCK_CODE __device__
#else
#define CRAFT_HOST_DEVICE
#define CRAFT_BLOCK_CODE
#endif

#define CRAFT_INLINE [[gnu::always_inline]] static inline
