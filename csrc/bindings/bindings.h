// What the parts of the Python module share. The kernels take addresses and sizes, passed from
// Python as integers: Python owns all memory, has checked shapes and dtypes, and keeps the tensors
// alive during the call. No torch header here, so that one build serves every torch version.
#pragma once

#include <pybind11/pybind11.h>

#include <cstdint>

#include "../screen.h"

namespace craft {

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

inline int64_t groups_of(const ScreenTile& tile) {
  return (tile.T + kTokenGroup - 1) / kTokenGroup;
}

// The same buffers, holding T residuals. `source` is where to copy the residuals from, or 0 if they
// are already in place.
inline ScreenTile holding(ScreenTile buffers, int64_t T, uintptr_t source) {
  buffers.T = T;
  buffers.source = at<const float>(source);
  return buffers;
}

// Packs all tokens of the tile, in parallel.
void pack_all_tokens(const Codewords& book, const ScreenTile& tile, int threads);

// Each adds one subject's functions and constants to the module.
void bind_codewords(pybind11::module_& m);
void bind_screen(pybind11::module_& m);
void bind_shortlist(pybind11::module_& m);
void bind_residual_quantize(pybind11::module_& m);
void bind_prune_order(pybind11::module_& m);

}  // namespace craft
