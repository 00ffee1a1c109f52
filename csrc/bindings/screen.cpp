// Screening buffers and rows of the Gram matrix.
#include "../gram_rows.h"
#include "../thread_pool.h"
#include "bindings.h"

namespace craft {

namespace py = pybind11;
using py::literals::operator""_a;

void pack_all_tokens(const Codewords& book, const ScreenTile& tile, int threads) {
  parallel_for(groups_of(tile), 1, threads, [&](int64_t begin, int64_t end) {
    CRAFT_DISPATCH(pack_tokens(book, tile, begin, end));
  });
}

void bind_screen(py::module_& m) {
  m.attr("TOKEN_GROUP") = kTokenGroup;
  m.attr("TOKEN_PARTS_BYTES") = sizeof(TokenParts);
  m.def(
      "tokens_bytes", [](int64_t T, int64_t D) { return CRAFT_DISPATCH(tokens_bytes(T, D)); },
      "T"_a, "D"_a);
  m.def("gram_row_bytes", &GramRow::bytes, "P"_a);
  py::class_<ScreenTile>(m, "ScreenTile", "See csrc/screen.h.", py::module_local())
      .def(py::init([](uintptr_t residual, uintptr_t tokens, uintptr_t rounding, uintptr_t parts) {
             return ScreenTile{.T = 0,
                               .source = nullptr,
                               .residual = at<float>(residual),
                               .tokens = at<void>(tokens),
                               .rounding = at<float>(rounding),
                               .parts = at<TokenParts>(parts)};
           }),
           py::kw_only(), "residual"_a, "tokens"_a, "rounding"_a, "parts"_a);
  m.def(
      "gram_rows",
      [](const Codewords& book, const ScreenTile& screen, int64_t T, uintptr_t source,
         uintptr_t rows, int threads) {
        py::gil_scoped_release release;
        const ScreenTile tile = holding(screen, T, source);
        Codewords centred = book;
        centred.mean = nullptr;
        pack_all_tokens(centred, tile, threads);
        parallel_for(book.blocks(), 1, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(store_gram_rows(book, tile, at<void>(rows), begin, end));
        });
      },
      "book"_a, "tile"_a, py::kw_only(), "T"_a, "source"_a, "rows"_a, "threads"_a,
      "Compute the Gram rows of the codewords that the tile holds as residuals, the mean already "
      "subtracted; see csrc/gram_rows.h.");
}

}  // namespace craft
