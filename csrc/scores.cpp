#include "ieee_denormals.h"
#include "product.h"
#include "residual_quantize.h"
#include "short_scores.h"

namespace craft::CRAFT_ISA {
namespace {

template <bool kHasMean>
void score_block(const Codewords& book, const QuantizeTile& tile, int64_t b, float* products) {
  const int64_t depth = packed_depth(book.D), at = b * kBlock, T = tile.screen.T;
  const auto* tokens = static_cast<const Packed*>(tile.screen.tokens);
  const auto* panels = static_cast<const Packed*>(book.panels);
  for (int64_t first = 0; first < T; first += kTokenGroup) {
    const int64_t count = T - first < kTokenGroup ? T - first : kTokenGroup;
    multiply_block(tokens + first * depth, count, panels + at * depth, book.D, kBlock, products,
                   kBlock);
    for (int64_t t = first; t < first + count; ++t) {
      const TokenState& state = tile.state[t];
      tile.maxima[t * book.padded_blocks() + b] = store_scores<kHasMean>(
          products + (t - first) * kBlock, book.half_sq_norms + at,
          kHasMean ? book.along_mean + at : nullptr, static_cast<float>(state.along), state.step,
          tile.scores + t * book.P + at);
    }
  }
}

}  // namespace

void score(const Codewords& book, const QuantizeTile& tile, int64_t begin, int64_t end) {
  const IeeeDenormals denormals;
  const MatrixUnit unit;
  alignas(64) float products[kTokenGroup * kBlock];
  for (int64_t b = begin; b < end; ++b) {
    if (book.mean == nullptr) {
      score_block<false>(book, tile, b, products);
    } else {
      score_block<true>(book, tile, b, products);
    }
  }
}

}  // namespace craft::CRAFT_ISA
