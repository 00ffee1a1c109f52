// Quantisation by one product per level, whose scores are not kept.
#include "../shortlist.h"

#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <vector>

#include "../thread_pool.h"
#include "bindings.h"

namespace craft {

namespace py = pybind11;
using py::literals::operator""_a;

namespace {

// Takes a tile through one level: product, shortlists, decision. Returns false if a residual is not
// finite.
bool advance_by_product(const Codewords& book, const ShortlistTile& tile, bool first, int64_t L,
                        int64_t* codes, float* quantized, float* sq_norms, int threads) {
  pack_all_tokens(book, tile.screen, threads);
  const int64_t groups = groups_of(tile.screen);
  const int64_t chunks = (groups + kChunkGroups - 1) / kChunkGroups;
  parallel_for(chunks * tile.parts, 1, threads, [&](int64_t item, int64_t) {
    const int64_t begin = item % chunks * kChunkGroups;
    const int64_t end = std::min(begin + kChunkGroups, groups);
    CRAFT_DISPATCH(list_candidates(book, tile, begin, end, item / chunks));
  });
  std::atomic<bool> finite = true;
  parallel_for(tile.screen.T, 4, threads, [&](int64_t begin, int64_t end) {
    if (!CRAFT_DISPATCH(settle(book, tile, first, L, codes, quantized, sq_norms, begin, end))) {
      finite = false;
    }
  });
  return finite;
}

}  // namespace

void bind_shortlist(py::module_& m) {
  m.def("product_depth", [] { return CRAFT_DISPATCH(product_depth()); });
  m.attr("CHUNK_TOKENS") = kChunkGroups * kTokenGroup;
  m.attr("SHORTLIST_BYTES") = sizeof(Shortlist);
  m.attr("CANDIDATES_BYTES") = Shortlist::kRoom * sizeof(Candidate);
  m.def(
      "quantize_by_products",
      [](const std::vector<const Codewords*>& books, const ScreenTile& screen, int64_t T,
         uintptr_t source, int64_t parts, uintptr_t lists, uintptr_t candidates, int64_t L,
         uintptr_t quantized, uintptr_t codes, uintptr_t sq_norms, int threads) {
        ShortlistTile tile{.screen = holding(screen, T, source),
                           .parts = parts,
                           .lists = at<Shortlist>(lists),
                           .candidates = at<Candidate>(candidates)};
        py::gil_scoped_release release;
        for (int64_t level = 0; level < L; ++level) {
          const Codewords& book = *books[books.size() == 1 ? 0 : level];
          if (!advance_by_product(book, tile, level == 0, L, at<int64_t>(codes) + level,
                                  at<float>(quantized), at<float>(sq_norms) + level, threads)) {
            return false;
          }
          tile.screen.source = nullptr;
        }
        return true;
      },
      "books"_a, "tile"_a, py::kw_only(), "T"_a, "source"_a, "parts"_a, "lists"_a, "candidates"_a,
      "L"_a, "quantized"_a, "codes"_a, "sq_norms"_a, "threads"_a,
      "Take a tile through all levels, one product per level; see csrc/shortlist.h. Return False "
      "if "
      "a residual is not finite.");
}

}  // namespace craft
