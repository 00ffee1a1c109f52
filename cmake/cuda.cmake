# The CUDA kernels, a module of their own: where it is not built, everything else works.
set(CRAFT_CUDA AUTO CACHE STRING "Build the CUDA kernels: ON, OFF, or AUTO, which looks for nvcc")
set_property(CACHE CRAFT_CUDA PROPERTY STRINGS AUTO ON OFF)
if(NOT CRAFT_CUDA MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "CRAFT_CUDA must be AUTO, ON or OFF, got '${CRAFT_CUDA}'.")
endif()
if(CRAFT_CUDA STREQUAL "OFF")
  return()
endif()

check_language(CUDA)
if(CMAKE_CUDA_COMPILER)
  # Before enable_language, which would choose one itself. Code for three architectures, and PTX of
  # the oldest for the driver to compile for all others.
  set(CMAKE_CUDA_ARCHITECTURES 80 90a-real 100a-real CACHE STRING "GPUs that code is made for")
  enable_language(CUDA)
endif()
if(NOT CMAKE_CUDA_COMPILER OR CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  set(CRAFT_CUDA_WHY "nvcc 12.8 or newer is needed and was not found")
  if(CMAKE_CUDA_COMPILER)
    string(APPEND CRAFT_CUDA_WHY ": ${CMAKE_CUDA_COMPILER} is ${CMAKE_CUDA_COMPILER_VERSION}")
  endif()
  if(CRAFT_CUDA STREQUAL "ON")
    message(FATAL_ERROR
      "CRAFT_CUDA is ON, but ${CRAFT_CUDA_WHY}. "
      "Point CUDACXX at one, or leave the CUDA kernels out with CRAFT_CUDA=OFF.")
  endif()
  message(STATUS "CUDA kernels are left out: ${CRAFT_CUDA_WHY}")
  return()
endif()

set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)  # it looks for the driver when first called
pybind11_add_module(_cuda MODULE NO_EXTRAS
  csrc/cuda/bindings.cpp csrc/cuda/prune_order.cu csrc/cuda/gram_walk.cu
  csrc/cuda/gradient.cu)
target_compile_definitions(_cuda PRIVATE CRAFT_ISA=cuda)
# The order of tokens and the gradient promise the CPU's bits, and the CPU does not fuse.
target_compile_options(_cuda PRIVATE
  $<$<COMPILE_LANGUAGE:CUDA>:--fmad=false --expt-relaxed-constexpr>
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra>)
install(TARGETS _cuda LIBRARY DESTINATION craft_kernels)
