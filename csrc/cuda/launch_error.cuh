#pragma once

#include <cuda_runtime.h>

namespace craft {

// What the launches before it gave, and forgets it: null, or the driver's words.
inline const char* launch_error() {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? nullptr : cudaGetErrorString(error);
}

}  // namespace craft
