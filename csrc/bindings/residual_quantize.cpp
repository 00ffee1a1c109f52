// Quantisation by Gram rows, and the gradient of the squared norms.
#include "../residual_quantize.h"

#include <algorithm>

#include "../thread_pool.h"
#include "bindings.h"

namespace craft {

namespace py = pybind11;
using py::literals::operator""_a;

namespace {

// Writes to `missing` the distinct codes whose Gram rows the last pass lacked. Returns how many
// there are, or -1 if a residual was not finite.
int64_t collect_missing(const QuantizeTile& tile, int64_t* missing) {
  int64_t count = 0;
  for (int64_t t = 0; t < tile.screen.T; ++t) {
    const int64_t level = tile.state[t].level;
    if (level == kNotFinite) return -1;
    if (level < tile.L) missing[count++] = tile.codes[t * tile.L + level - 1];
  }
  std::sort(missing, missing + count);
  return std::unique(missing, missing + count) - missing;
}

// How many tokens a thread takes through all levels before it asks for more: few enough that their
// scores stay in its second-level cache and that all threads stay busy to the end.
constexpr int64_t kTokensAtATime = 16;

}  // namespace

void bind_residual_quantize(py::module_& m) {
  m.attr("TOKEN_STATE_BYTES") = sizeof(TokenState);
  m.def(
      "quantize_by_gram_rows",
      [](const Codewords& book, const ScreenTile& screen, int64_t T, uintptr_t source, bool fresh,
         uintptr_t scores, uintptr_t maxima, int64_t L, uintptr_t quantized, uintptr_t codes,
         uintptr_t sq_norms, uintptr_t state, uintptr_t gram_row_at, uintptr_t missing,
         int threads) {
        const QuantizeTile tile{.screen = holding(screen, T, source),
                                .scores = at<int16_t>(scores),
                                .maxima = at<int16_t>(maxima),
                                .L = L,
                                .quantized = at<float>(quantized),
                                .codes = at<int64_t>(codes),
                                .sq_norms = at<float>(sq_norms),
                                .state = at<TokenState>(state),
                                .gram_row_at = at<const int64_t>(gram_row_at)};
        py::gil_scoped_release release;
        if (fresh) {
          parallel_for(groups_of(tile.screen), 1, threads, [&](int64_t begin, int64_t end) {
            CRAFT_DISPATCH(start_tokens(book, tile, begin, end));
          });
          parallel_for(book.blocks(), 1, threads, [&](int64_t begin, int64_t end) {
            CRAFT_DISPATCH(score(book, tile, begin, end));
          });
        }
        const int64_t grain = std::clamp<int64_t>(T / (4 * threads), 1, kTokensAtATime);
        parallel_for(T, grain, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(advance(book, tile, begin, end));
        });
        return collect_missing(tile, at<int64_t>(missing));
      },
      "book"_a, "tile"_a, py::kw_only(), "T"_a, "source"_a, "fresh"_a, "scores"_a, "maxima"_a,
      "L"_a, "quantized"_a, "codes"_a, "sq_norms"_a, "state"_a, "gram_row_at"_a, "missing"_a,
      "threads"_a,
      "Take a tile through the levels as far as the available Gram rows allow, from the start or "
      "from where the last call stopped; see csrc/residual_quantize.h. Return how many codes were "
      "written to `missing`, those whose rows are needed next, or -1 if a residual is not finite.");
  m.def(
      "add_sq_norms_gradient",
      [](uintptr_t words, int64_t level_stride, int64_t D, int64_t T, int64_t L, uintptr_t codes,
         uintptr_t grad_sq_norms, uintptr_t residual, uintptr_t grad, int threads) {
        py::gil_scoped_release release;
        parallel_for(T, 16, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(add_sq_norms_gradient(
              at<const float>(words), level_stride, D, L, at<const int64_t>(codes),
              at<const float>(grad_sq_norms), at<float>(residual), at<float>(grad), begin, end));
        });
      },
      py::kw_only(), "words"_a, "level_stride"_a, "D"_a, "T"_a, "L"_a, "codes"_a, "grad_sq_norms"_a,
      "residual"_a, "grad"_a, "threads"_a,
      "Add the sum over levels of 2 grad_sq_norms r_l to grad; see csrc/residual_quantize.h.");
}

}  // namespace craft
