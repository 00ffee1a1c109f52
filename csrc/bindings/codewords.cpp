// Packing a codebook.
#include <algorithm>
#include <cmath>

#include "../thread_pool.h"
#include "bindings.h"

namespace craft {

namespace py = pybind11;
using py::literals::operator""_a;

namespace {

// Packs the codewords. Nothing is kept here: Python owns every array.
Codewords pack_codewords(int64_t K, int64_t D, int64_t P, uintptr_t words,
                         uintptr_t half_sq_norms64, uintptr_t mean,
                         uintptr_t centred_half_sq_norms64, uintptr_t order, uintptr_t panels,
                         uintptr_t along_mean, uintptr_t half_sq_norms, uintptr_t block_norm,
                         uintptr_t block_rounding, int threads) {
  Codewords book{.K = K,
                 .D = D,
                 .P = P,
                 .words = at<const float>(words),
                 .half_sq_norms64 = at<const double>(half_sq_norms64),
                 .mean = at<const float>(mean),
                 .order = at<const int32_t>(order),
                 .panels = at<const void>(panels),
                 .along_mean = at<const float>(along_mean),
                 .half_sq_norms = at<const float>(half_sq_norms),
                 .block_norm = at<const float>(block_norm),
                 .block_rounding = at<const float>(block_rounding),
                 .greatest_norm = 0,
                 .least_centred_norm = 0,
                 .mean_norm = 0,
                 .greatest_along_mean = 0};
  py::gil_scoped_release release;
  const auto* centred = at<const double>(centred_half_sq_norms64);
  constexpr double kOutwards = 1 + 1e-6;
  for (int64_t d = 0; book.mean != nullptr && d < D; ++d) {
    book.mean_norm += static_cast<double>(book.mean[d]) * book.mean[d];
  }
  book.mean_norm = std::sqrt(book.mean_norm);
  const double greatest = *std::max_element(book.half_sq_norms64, book.half_sq_norms64 + K);
  book.greatest_norm = kOutwards * std::sqrt(2 * greatest);
  book.least_centred_norm = kOutwards * std::sqrt(2 * centred[book.order[0]]);
  parallel_for(book.blocks(), 1, threads, [&](int64_t begin, int64_t end) {
    CRAFT_DISPATCH(pack_codewords(book, centred, begin, end));
  });
  for (int64_t j = 0; book.mean != nullptr && j < P; ++j) {
    const double along = std::fabs(book.along_mean[j]);
    book.greatest_along_mean = std::max(book.greatest_along_mean, kOutwards * along);
  }
  return book;
}

}  // namespace

void bind_codewords(py::module_& m) {
  m.attr("BLOCK") = kBlock;
  m.attr("BLOCK_GROUP") = kBlockGroup;
  m.def("rounds_operands", [] { return CRAFT_DISPATCH(rounds_operands()); });
  m.def(
      "codewords_bytes", [](int64_t P, int64_t D) { return CRAFT_DISPATCH(codewords_bytes(P, D)); },
      "P"_a, "D"_a);
  m.def(
      "half_sq_norms",
      [](int64_t K, int64_t D, uintptr_t words, uintptr_t mean, uintptr_t half_sq_norms,
         int threads) {
        py::gil_scoped_release release;
        parallel_for(K, 256, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(half_sq_norms(at<const float>(words), at<const float>(mean), D,
                                       at<double>(half_sq_norms), begin, end));
        });
      },
      py::kw_only(), "K"_a, "D"_a, "words"_a, "mean"_a, "half_sq_norms"_a, "threads"_a);
  py::class_<Codewords>(m, "Codewords", "See csrc/codewords.h.", py::module_local());
  m.def("pack_codewords", &pack_codewords, py::kw_only(), "K"_a, "D"_a, "P"_a, "words"_a,
        "half_sq_norms64"_a, "mean"_a, "centred_half_sq_norms64"_a, "order"_a, "panels"_a,
        "along_mean"_a, "half_sq_norms"_a, "block_norm"_a, "block_rounding"_a, "threads"_a);
}

}  // namespace craft
