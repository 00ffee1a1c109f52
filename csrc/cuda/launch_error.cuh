#pragma once

#include <cuda_runtime.h>

namespace craft {

// The error of the launches before it, which it clears: null, or the driver's message.
inline const char* launch_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace craft
