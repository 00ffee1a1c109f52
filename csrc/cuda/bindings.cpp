// The Python module of the CUDA kernels. It takes addresses and sizes as integers: Python owns all
// memory, has checked shapes and dtypes, and chooses the GPU and the stream. No CUDA or torch
// header here.
#include <pybind11/pybind11.h>

#include <stdexcept>
#include <string>

#include "launch.h"

namespace py = pybind11;

namespace {

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

void check(const char* error) {
  if (error != nullptr) throw std::runtime_error(std::string("CUDA: ") + error);
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  m.attr("GRAM_WALK_MAX_K") = craft::kGramWalkMaxK;
  m.def("prune_scratch_bytes", &craft::prune_scratch_bytes, py::arg("tokens"));
  m.def(
      "prune_order",
      [](int64_t batch, int64_t height, int64_t width, int64_t neighbors, double isolation_weight,
         uintptr_t ids, uintptr_t residual_sq, uintptr_t prior, uintptr_t log_counts,
         uintptr_t distances, uintptr_t offsets, uintptr_t order, uintptr_t scratch,
         uintptr_t stream) {
        check(craft::prune_order({.height = height,
                                  .width = width,
                                  .neighbors = neighbors,
                                  .isolation_weight = isolation_weight,
                                  .ids = at<const int64_t>(ids),
                                  .residual_sq = at<const float>(residual_sq),
                                  .prior = at<const float>(prior),
                                  .log_counts = at<const int64_t>(log_counts),
                                  .distances = at<const int64_t>(distances),
                                  .offsets = at<const int32_t>(offsets),
                                  .order = at<int64_t>(order)},
                                 batch, at<void>(scratch), at<void>(stream)));
      },
      py::kw_only(), py::arg("batch"), py::arg("height"), py::arg("width"), py::arg("neighbors"),
      py::arg("isolation_weight"), py::arg("ids"), py::arg("residual_sq"), py::arg("prior"),
      py::arg("log_counts"), py::arg("distances"), py::arg("offsets"), py::arg("order"),
      py::arg("scratch"), py::arg("stream"), "See csrc/prune_order_args.h.");
  m.def(
      "gram_walk",
      [](int64_t N, int64_t K, int64_t D, int64_t L, uintptr_t words, uintptr_t half_sq_norms,
         uintptr_t half_sq_norms64, uintptr_t gram, uintptr_t products, double max_norm,
         double product_unit, double rounding, uintptr_t residual, uintptr_t quantized,
         uintptr_t codes, uintptr_t sq_norms, uintptr_t stream) {
        check(craft::gram_walk({.N = N,
                                .K = K,
                                .D = D,
                                .L = L,
                                .words = at<const float>(words),
                                .half_sq_norms = at<const float>(half_sq_norms),
                                .half_sq_norms64 = at<const double>(half_sq_norms64),
                                .gram = at<const float>(gram),
                                .products = at<const float>(products),
                                .max_norm = max_norm,
                                .product_unit = product_unit,
                                .rounding = rounding,
                                .residual = at<float>(residual),
                                .quantized = at<float>(quantized),
                                .codes = at<int64_t>(codes),
                                .sq_norms = at<float>(sq_norms)},
                               at<void>(stream)));
      },
      py::kw_only(), py::arg("N"), py::arg("K"), py::arg("D"), py::arg("L"), py::arg("words"),
      py::arg("half_sq_norms"), py::arg("half_sq_norms64"), py::arg("gram"), py::arg("products"),
      py::arg("max_norm"), py::arg("product_unit"), py::arg("rounding"), py::arg("residual"),
      py::arg("quantized"), py::arg("codes"), py::arg("sq_norms"), py::arg("stream"),
      "See csrc/cuda/launch.h.");
  m.def(
      "add_sq_norms_gradient",
      [](int64_t N, int64_t D, int64_t L, int64_t level_stride, uintptr_t z, uintptr_t words,
         uintptr_t codes, uintptr_t grad_sq_norms, uintptr_t grad, uintptr_t stream) {
        check(craft::add_sq_norms_gradient({.N = N,
                                            .D = D,
                                            .L = L,
                                            .level_stride = level_stride,
                                            .z = at<const float>(z),
                                            .words = at<const float>(words),
                                            .codes = at<const int64_t>(codes),
                                            .grad_sq_norms = at<const float>(grad_sq_norms),
                                            .grad = at<float>(grad)},
                                           at<void>(stream)));
      },
      py::kw_only(), py::arg("N"), py::arg("D"), py::arg("L"), py::arg("level_stride"),
      py::arg("z"), py::arg("words"), py::arg("codes"), py::arg("grad_sq_norms"), py::arg("grad"),
      py::arg("stream"), "See csrc/cuda/launch.h.");
}
