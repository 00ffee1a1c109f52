// A thread block with the interface that gram_walk.h expects.
#pragma once

#include <cstdint>

#include "../host_device.h"

namespace craft::CRAFT_ISA {

template <int kThreads>
class ThreadBlock {
 public:
  struct Memory {
    // One value from each warp, of one of these kinds.
    union {
      double sums[kThreads / 32];
      float maxima[kThreads / 32];
      int64_t minima[kThreads / 32];
    };
  };

  __device__ explicit ThreadBlock(Memory& memory) : memory_(memory) {}

  __device__ static constexpr int size() { return kThreads; }

  template <typename F>
  __device__ void each(F f) const {
    f(static_cast<int>(threadIdx.x));
    __syncthreads();
  }

  template <typename F>
  __device__ double sum(F f) const {
    return fold(f(static_cast<int>(threadIdx.x)), memory_.sums,
                [](double a, double b) { return a + b; });
  }

  template <typename F>
  __device__ float max(F f) const {
    return fold(f(static_cast<int>(threadIdx.x)), memory_.maxima,
                [](float a, float b) { return b > a ? b : a; });
  }

  template <typename F>
  __device__ int64_t min(F f) const {
    return fold(f(static_cast<int>(threadIdx.x)), memory_.minima,
                [](int64_t a, int64_t b) { return b < a ? b : a; });
  }

  // In two's complement, signed and unsigned addition are the same.
  __device__ static void add(int64_t& x, int64_t y) {
    if (y != 0) {
      atomicAdd(reinterpret_cast<unsigned long long*>(&x), static_cast<unsigned long long>(y));
    }
  }

 private:
  // Every warp folds its values; then every thread folds the results of the warps, in the same
  // order.
  template <typename T, typename Op>
  __device__ static T fold(T value, T (&of_warp)[kThreads / 32], Op op) {
    for (int other = 16; other > 0; other /= 2) {
      value = op(value, __shfl_xor_sync(0xffffffff, value, other));
    }
    if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = value;
    __syncthreads();
    T total = of_warp[0];
    for (int warp = 1; warp < kThreads / 32; ++warp) total = op(total, of_warp[warp]);
    __syncthreads();  // before the next fold writes there
    return total;
  }

  Memory& memory_;
};

}  // namespace craft::CRAFT_ISA
