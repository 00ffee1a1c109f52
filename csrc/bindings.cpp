// The Python face of the kernels: addresses and sizes in, as integers. Python owns all memory, has
// checked shapes and types, and keeps the tensors alive during the call. No torch here, so that one
// build serves every torch version.
#include <pybind11/pybind11.h>

#include <algorithm>
#include <string>

#include "dispatch.h"
#include "prune_order.h"
#include "residual_quantize.h"
#include "thread_pool.h"

namespace py = pybind11;
using py::literals::operator""_a;

namespace {

void use_isa(const std::string& name) {
  for (int i = 0; i < 3; ++i) {
    const auto isa = static_cast<craft::Isa>(i);
    if (name == craft::kIsaNames[i] && craft::isa_available(isa)) {
      craft::current_isa = isa;
      return;
    }
  }
  throw py::value_error(
      "the instruction set must be baseline, avx2 or avx512, built in and known to "
      "this processor; got '" +
      name + "'");
}

void bind_dispatch(py::module_& m) {
  m.def("use_isa", &use_isa, "Force an instruction set (baseline, avx2, avx512), for tests.");
  m.def("isa", [] { return std::string(craft::kIsaNames[static_cast<int>(craft::current_isa)]); });
  craft::current_isa = craft::best_isa();
}

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// After a pass: the codes whose Gram rows were missing, each once, into `missing`. Returns how
// many, or -1 if a residual was not finite.
int64_t collect_missing(const craft::Tile& tile, int64_t* missing) {
  int64_t count = 0;
  for (int64_t t = 0; t < tile.T; ++t) {
    if (tile.level[t] == craft::kNotFinite) return -1;
    if (tile.level[t] < tile.stop) missing[count++] = tile.codes[t * tile.L + tile.level[t] - 1];
  }
  std::sort(missing, missing + count);
  return std::unique(missing, missing + count) - missing;
}

void bind_residual_quantize(py::module_& m) {
  m.def(
      "advance",
      [](int64_t K, int64_t D, double max_norm, uintptr_t words, uintptr_t half_sq_norms,
         uintptr_t half_sq_norms64, int64_t T, int64_t L, int64_t first, int64_t stop,
         uintptr_t scores, uintptr_t residual, uintptr_t quantized, uintptr_t codes,
         uintptr_t sq_norms, uintptr_t level, uintptr_t bound, uintptr_t gram_row_at,
         uintptr_t missing, int threads) {
        const craft::Codewords book{.words = at<const float>(words),
                                    .half_sq_norms = at<const float>(half_sq_norms),
                                    .half_sq_norms64 = at<const double>(half_sq_norms64),
                                    .max_norm = max_norm,
                                    .K = K,
                                    .D = D};
        const craft::Tile tile{.T = T,
                               .L = L,
                               .first = first,
                               .stop = stop,
                               .scores = at<float>(scores),
                               .residual = at<float>(residual),
                               .quantized = at<float>(quantized),
                               .codes = at<int64_t>(codes),
                               .sq_norms = at<float>(sq_norms),
                               .level = at<int32_t>(level),
                               .bound = at<double>(bound),
                               .gram_row_at = at<const int64_t>(gram_row_at)};
        py::gil_scoped_release release;
        craft::parallel_for(T, 1, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(advance(book, tile, begin, end));
        });
        return collect_missing(tile, at<int64_t>(missing));
      },
      py::kw_only(), "K"_a, "D"_a, "max_norm"_a, "words"_a, "half_sq_norms"_a, "half_sq_norms64"_a,
      "T"_a, "L"_a, "first"_a, "stop"_a, "scores"_a, "residual"_a, "quantized"_a, "codes"_a,
      "sq_norms"_a, "level"_a, "bound"_a, "gram_row_at"_a, "missing"_a, "threads"_a,
      "One pass over a tile of tokens; see csrc/residual_quantize.h. Returns the number of codes "
      "written to `missing`, or -1 where a residual is not finite.");
  m.def(
      "add_sq_norms_gradient",
      [](uintptr_t words, int64_t level_stride, int64_t D, int64_t T, int64_t L, uintptr_t codes,
         uintptr_t grad_sq_norms, uintptr_t residual, uintptr_t grad, int threads) {
        py::gil_scoped_release release;
        craft::parallel_for(T, 16, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(add_sq_norms_gradient(
              at<const float>(words), level_stride, D, L, at<const int64_t>(codes),
              at<const float>(grad_sq_norms), at<float>(residual), at<float>(grad), begin, end));
        });
      },
      py::kw_only(), "words"_a, "level_stride"_a, "D"_a, "T"_a, "L"_a, "codes"_a, "grad_sq_norms"_a,
      "residual"_a, "grad"_a, "threads"_a,
      "grad += sum over levels of 2 grad_sq_norms r_l; see csrc/residual_quantize.h.");
}

void bind_prune_order(py::module_& m) {
  m.def(
      "prune_order",
      [](int64_t batch, int64_t height, int64_t width, int64_t neighbors, double isolation_weight,
         uintptr_t ids, uintptr_t residual_sq, uintptr_t prior, uintptr_t log_counts,
         uintptr_t distances, uintptr_t offsets, uintptr_t order, int threads) {
        const craft::PruneOrderArgs args{height,
                                         width,
                                         neighbors,
                                         isolation_weight,
                                         reinterpret_cast<const int64_t*>(ids),
                                         reinterpret_cast<const float*>(residual_sq),
                                         reinterpret_cast<const float*>(prior),
                                         reinterpret_cast<const int64_t*>(log_counts),
                                         reinterpret_cast<const int64_t*>(distances),
                                         reinterpret_cast<const int32_t*>(offsets),
                                         reinterpret_cast<int64_t*>(order)};
        py::gil_scoped_release release;
        craft::parallel_for(batch, 1, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(prune_order(args, begin, end));
        });
      },
      "Writes the pruning order of each image; see csrc/prune_order.h.");
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  bind_dispatch(m);
  bind_residual_quantize(m);
  bind_prune_order(m);
}
