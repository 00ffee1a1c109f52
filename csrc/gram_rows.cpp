#include "gram_rows.h"

#include "ieee_denormals.h"
#include "product.h"
#include "short_vector.h"

namespace craft::CRAFT_ISA {
namespace {

constexpr float kSteps = 32760;  // entries stay below 2^15 even if the quotient is rounded up
constexpr float kLeastRowStep = 0x1p-110f;

// Writes the entries of one block and returns their step. Products that overflowed give meaningless
// entries or an infinite step, and then the bounds are infinite.
float store_block(const float* products, const float* along_mean, int16_t* entries) {
  FloatVector values[kBlock / kFloats], greatest = {};
#pragma GCC unroll 12
  for (int v = 0; v < kBlock / kFloats; ++v) {
    values[v] = load(products + v * kFloats);
    if (along_mean != nullptr) values[v] += load(along_mean + v * kFloats);
    greatest = max(max(values[v], -values[v]), greatest);
  }
  const float quotient = max_lane(greatest) / kSteps;
  const float step = quotient > kLeastRowStep ? quotient : kLeastRowStep;
  const FloatVector per_step = splat(1 / step);
  for (int v = 0; v < kBlock / kFloats; v += 2) {
    store(entries + v * kFloats, to_shorts(values[v] * per_step, values[v + 1] * per_step));
  }
  return step;
}

}  // namespace

void store_gram_rows(const Codewords& book, const ScreenTile& tile, void* rows, int64_t begin,
                     int64_t end) {
  const IeeeDenormals denormals;
  const MatrixUnit unit;
  const int64_t depth = packed_depth(book.D);
  const auto* tokens = static_cast<const Packed*>(tile.tokens);
  const auto* panels = static_cast<const Packed*>(book.panels);
  alignas(64) float products[kTokenGroup * kBlock];
  for (int64_t b = begin; b < end; ++b) {
    const float* along_mean = book.mean == nullptr ? nullptr : book.along_mean + b * kBlock;
    for (int64_t first = 0; first < tile.T; first += kTokenGroup) {
      const int64_t count = tile.T - first < kTokenGroup ? tile.T - first : kTokenGroup;
      multiply_block(tokens + first * depth, count, panels + b * kBlock * depth, book.D, kBlock,
                     products, kBlock);
      for (int64_t t = 0; t < count; ++t) {
        char* row = static_cast<char*>(rows) + (first + t) * GramRow::bytes(book.P);
        reinterpret_cast<float*>(row)[b] = store_block(
            products + t * kBlock, along_mean,
            reinterpret_cast<int16_t*>(row + GramRow::header_bytes(book.P)) + b * kBlock);
      }
    }
  }
}

}  // namespace craft::CRAFT_ISA
