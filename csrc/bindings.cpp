// The Python face of the kernels: addresses and sizes in, as integers. Python owns all memory, has
// checked shapes and types, and keeps the tensors alive during the call. No torch here, so that one
// build serves every torch version.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <iterator>
#include <string>
#include <vector>

#include "dispatch.h"
#include "prune_order.h"
#include "residual_quantize.h"
#include "shortlist.h"
#include "thread_pool.h"

namespace py = pybind11;
using py::literals::operator""_a;

namespace {

void use_isa(const std::string& name) {
  for (int i = 0; i < static_cast<int>(std::size(craft::kIsaNames)); ++i) {
    const auto isa = static_cast<craft::Isa>(i);
    if (name == craft::kIsaNames[i] && craft::isa_available(isa)) {
      craft::current_isa = isa;
      return;
    }
  }
  throw py::value_error(
      "the instruction set must be baseline, avx2, avx512, avx512_bf16 or amx, built in and known "
      "to this processor; got '" +
      name + "'");
}

void bind_dispatch(py::module_& m) {
  m.def("use_isa", &use_isa,
        "Force an instruction set (baseline, avx2, avx512, avx512_bf16, amx), for tests.");
  m.def("isa", [] { return std::string(craft::kIsaNames[static_cast<int>(craft::current_isa)]); });
  craft::current_isa = craft::best_isa();
}

template <typename T>
T* at(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

// Packs the codewords, and keeps nothing: Python owns every array.
craft::Codewords pack_codewords(int64_t K, int64_t D, int64_t P, uintptr_t words,
                                uintptr_t half_sq_norms64, uintptr_t mean,
                                uintptr_t centred_half_sq_norms64, uintptr_t order,
                                uintptr_t panels, uintptr_t along_mean, uintptr_t half_sq_norms,
                                uintptr_t block_norm, uintptr_t block_rounding, int threads) {
  craft::Codewords book{.K = K,
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
  craft::parallel_for(book.blocks(), 1, threads, [&](int64_t begin, int64_t end) {
    CRAFT_DISPATCH(pack_codewords(book, centred, begin, end));
  });
  for (int64_t j = 0; book.mean != nullptr && j < P; ++j) {
    const double along = std::fabs(book.along_mean[j]);
    book.greatest_along_mean = std::max(book.greatest_along_mean, kOutwards * along);
  }
  return book;
}

void bind_codewords(py::module_& m) {
  m.attr("BLOCK") = craft::kBlock;
  m.attr("BLOCK_GROUP") = craft::kBlockGroup;
  m.attr("TOKEN_GROUP") = craft::kTokenGroup;
  m.attr("TOKEN_PARTS_BYTES") = sizeof(craft::TokenParts);
  m.attr("TOKEN_STATE_BYTES") = sizeof(craft::TokenState);
  m.def("gram_row_bytes", &craft::GramRow::bytes, "P"_a);
  m.def("rounds_operands", [] { return CRAFT_DISPATCH(rounds_operands()); });
  m.def(
      "codewords_bytes", [](int64_t P, int64_t D) { return CRAFT_DISPATCH(codewords_bytes(P, D)); },
      "P"_a, "D"_a);
  m.def(
      "tokens_bytes", [](int64_t T, int64_t D) { return CRAFT_DISPATCH(tokens_bytes(T, D)); },
      "T"_a, "D"_a);
  m.def(
      "half_sq_norms",
      [](int64_t K, int64_t D, uintptr_t words, uintptr_t mean, uintptr_t half_sq_norms,
         int threads) {
        py::gil_scoped_release release;
        craft::parallel_for(K, 256, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(half_sq_norms(at<const float>(words), at<const float>(mean), D,
                                       at<double>(half_sq_norms), begin, end));
        });
      },
      py::kw_only(), "K"_a, "D"_a, "words"_a, "mean"_a, "half_sq_norms"_a, "threads"_a);
  py::class_<craft::Codewords>(m, "Codewords", "See csrc/codewords.h.", py::module_local());
  m.def("pack_codewords", &pack_codewords, py::kw_only(), "K"_a, "D"_a, "P"_a, "words"_a,
        "half_sq_norms64"_a, "mean"_a, "centred_half_sq_norms64"_a, "order"_a, "panels"_a,
        "along_mean"_a, "half_sq_norms"_a, "block_norm"_a, "block_rounding"_a, "threads"_a);
}

int64_t groups_of(const craft::ScreenTile& tile) {
  return (tile.T + craft::kTokenGroup - 1) / craft::kTokenGroup;
}

void pack_tokens(const craft::Codewords& book, const craft::ScreenTile& tile, int threads) {
  craft::parallel_for(groups_of(tile), 1, threads, [&](int64_t begin, int64_t end) {
    CRAFT_DISPATCH(pack_tokens(book, tile, begin, end));
  });
}

// The buffers with T residuals in them; source: where they come from, or 0 if they are there.
craft::ScreenTile holding(craft::ScreenTile buffers, int64_t T, uintptr_t source) {
  buffers.T = T;
  buffers.source = at<const float>(source);
  return buffers;
}

void bind_screen(py::module_& m) {
  py::class_<craft::ScreenTile>(m, "ScreenTile", "See csrc/screen.h.", py::module_local())
      .def(py::init([](uintptr_t residual, uintptr_t tokens, uintptr_t rounding, uintptr_t parts) {
             return craft::ScreenTile{.T = 0,
                                      .source = nullptr,
                                      .residual = at<float>(residual),
                                      .tokens = at<void>(tokens),
                                      .rounding = at<float>(rounding),
                                      .parts = at<craft::TokenParts>(parts)};
           }),
           py::kw_only(), "residual"_a, "tokens"_a, "rounding"_a, "parts"_a);
  m.def(
      "gram_rows",
      [](const craft::Codewords& book, const craft::ScreenTile& screen, int64_t T, uintptr_t source,
         uintptr_t rows, int threads) {
        py::gil_scoped_release release;
        const craft::ScreenTile tile = holding(screen, T, source);
        craft::Codewords centred = book;
        centred.mean = nullptr;
        pack_tokens(centred, tile, threads);
        craft::parallel_for(book.blocks(), 1, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(store_gram_rows(book, tile, at<void>(rows), begin, end));
        });
      },
      "book"_a, "tile"_a, py::kw_only(), "T"_a, "source"_a, "rows"_a, "threads"_a,
      "Gram rows of the codewords that stand in the tile as residuals, less the mean; see "
      "csrc/gram_rows.h.");
}

// One level of a tile: product, shortlists, decision. Returns false where a residual is not finite.
bool advance_by_product(const craft::Codewords& book, const craft::ShortlistTile& tile, bool first,
                        int64_t L, int64_t* codes, float* quantized, float* sq_norms, int threads) {
  pack_tokens(book, tile.screen, threads);
  const int64_t groups = groups_of(tile.screen);
  const int64_t chunks = (groups + craft::kChunkGroups - 1) / craft::kChunkGroups;
  craft::parallel_for(chunks * tile.parts, 1, threads, [&](int64_t item, int64_t) {
    const int64_t begin = item % chunks * craft::kChunkGroups;
    const int64_t end = std::min(begin + craft::kChunkGroups, groups);
    CRAFT_DISPATCH(list_candidates(book, tile, begin, end, item / chunks));
  });
  std::atomic<bool> finite = true;
  craft::parallel_for(tile.screen.T, 4, threads, [&](int64_t begin, int64_t end) {
    if (!CRAFT_DISPATCH(settle(book, tile, first, L, codes, quantized, sq_norms, begin, end))) {
      finite = false;
    }
  });
  return finite;
}

void bind_shortlist(py::module_& m) {
  m.def("product_depth", [] { return CRAFT_DISPATCH(product_depth()); });
  m.attr("CHUNK_TOKENS") = craft::kChunkGroups * craft::kTokenGroup;
  m.attr("SHORTLIST_BYTES") = sizeof(craft::Shortlist);
  m.attr("CANDIDATES_BYTES") = craft::Shortlist::kRoom * sizeof(craft::Candidate);
  m.def(
      "quantize_by_products",
      [](const std::vector<const craft::Codewords*>& books, const craft::ScreenTile& screen,
         int64_t T, uintptr_t source, int64_t parts, uintptr_t lists, uintptr_t candidates,
         int64_t L, uintptr_t quantized, uintptr_t codes, uintptr_t sq_norms, int threads) {
        craft::ShortlistTile tile{.screen = holding(screen, T, source),
                                  .parts = parts,
                                  .lists = at<craft::Shortlist>(lists),
                                  .candidates = at<craft::Candidate>(candidates)};
        py::gil_scoped_release release;
        for (int64_t level = 0; level < L; ++level) {
          const craft::Codewords& book = *books[books.size() == 1 ? 0 : level];
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
      "All levels of a tile, a product each; see csrc/shortlist.h. Returns False where a residual "
      "is not finite.");
}

// After a pass: the codes whose Gram rows were missing, each once, into `missing`. Returns how
// many, or -1 if a residual was not finite.
int64_t collect_missing(const craft::QuantizeTile& tile, int64_t* missing) {
  int64_t count = 0;
  for (int64_t t = 0; t < tile.screen.T; ++t) {
    const int64_t level = tile.state[t].level;
    if (level == craft::kNotFinite) return -1;
    if (level < tile.L) missing[count++] = tile.codes[t * tile.L + level - 1];
  }
  std::sort(missing, missing + count);
  return std::unique(missing, missing + count) - missing;
}

// Tokens that one thread takes through all levels before it asks for more: their scores stay in its
// second-level cache, and all threads are busy to the end.
constexpr int64_t kTokensAtATime = 16;

void bind_residual_quantize(py::module_& m) {
  m.def(
      "quantize_by_gram_rows",
      [](const craft::Codewords& book, const craft::ScreenTile& screen, int64_t T, uintptr_t source,
         bool fresh, uintptr_t scores, uintptr_t maxima, int64_t L, uintptr_t quantized,
         uintptr_t codes, uintptr_t sq_norms, uintptr_t state, uintptr_t gram_row_at,
         uintptr_t missing, int threads) {
        const craft::QuantizeTile tile{.screen = holding(screen, T, source),
                                       .scores = at<int16_t>(scores),
                                       .maxima = at<int16_t>(maxima),
                                       .L = L,
                                       .quantized = at<float>(quantized),
                                       .codes = at<int64_t>(codes),
                                       .sq_norms = at<float>(sq_norms),
                                       .state = at<craft::TokenState>(state),
                                       .gram_row_at = at<const int64_t>(gram_row_at)};
        py::gil_scoped_release release;
        if (fresh) {
          craft::parallel_for(groups_of(tile.screen), 1, threads, [&](int64_t begin, int64_t end) {
            CRAFT_DISPATCH(start_tokens(book, tile, begin, end));
          });
          craft::parallel_for(book.blocks(), 1, threads, [&](int64_t begin, int64_t end) {
            CRAFT_DISPATCH(score(book, tile, begin, end));
          });
        }
        const int64_t grain = std::clamp<int64_t>(T / (4 * threads), 1, kTokensAtATime);
        craft::parallel_for(T, grain, threads, [&](int64_t begin, int64_t end) {
          CRAFT_DISPATCH(advance(book, tile, begin, end));
        });
        return collect_missing(tile, at<int64_t>(missing));
      },
      "book"_a, "tile"_a, py::kw_only(), "T"_a, "source"_a, "fresh"_a, "scores"_a, "maxima"_a,
      "L"_a, "quantized"_a, "codes"_a, "sq_norms"_a, "state"_a, "gram_row_at"_a, "missing"_a,
      "threads"_a,
      "All levels of a tile as far as the Gram rows at hand allow, from the start or from where "
      "the "
      "last call stopped; see csrc/residual_quantize.h. Returns the number of codes written to "
      "`missing`, whose rows are wanted, or -1 where a residual is not finite.");
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
  m.attr("PRUNE_SCRATCH_BYTES") = craft::kPruneScratchBytes;
  m.def(
      "prune_order",
      [](int64_t batch, int64_t height, int64_t width, int64_t neighbors, double isolation_weight,
         uintptr_t ids, uintptr_t residual_sq, uintptr_t prior, uintptr_t log_counts,
         uintptr_t distances, uintptr_t offsets, uintptr_t order, uintptr_t scratch, int lanes,
         int threads) {
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
        std::atomic<int64_t> next{0};
        craft::parallel_for(lanes, 1, threads, [&](int64_t lane, int64_t) {
          char* room = at<char>(scratch) + lane * height * width * craft::kPruneScratchBytes;
          for (int64_t image; (image = next.fetch_add(1)) < batch;) {
            CRAFT_DISPATCH(prune_order(args, image, room));
          }
        });
      },
      "Writes the pruning order of each image; see csrc/prune_order.h. scratch: [lanes, N] times "
      "PRUNE_SCRATCH_BYTES; as many images as there are lanes are worked on at once.");
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  bind_dispatch(m);
  bind_codewords(m);
  bind_screen(m);
  bind_shortlist(m);
  bind_residual_quantize(m);
  bind_prune_order(m);
}
