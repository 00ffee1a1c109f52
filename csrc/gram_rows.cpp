#include "gram_rows.h"

#include "ieee_denormals.h"
#include "simd.h"

namespace craft::CRAFT_ISA {
namespace {

constexpr float kSteps = 32760;  // below 2^15 even when the quotient is rounded up
constexpr float kLeastStep = 0x1p-110f;
constexpr float kRounder = 0x1.8p23f;  // adding and subtracting it rounds to an integer

float greatest_magnitude(const float* x, int64_t n) {
  FloatVector greatest = {};
  for (int64_t j = 0; j < n; j += kFloats) {
    const FloatVector v = load(x + j);
    greatest = max(max(v, -v), greatest);
  }
  return max_lane(greatest);
}

// Products that overflowed give meaningless entries or an infinite step, and infinite bounds.
void store_row(const float* products, int64_t P, GramRow* row, int16_t* entries) {
  const float step = greatest_magnitude(products, P) / kSteps;
  row->step = step > kLeastStep ? step : kLeastStep;
  const float per_step = 1 / row->step;
  for (int64_t j = 0; j < P; j += kFloats) {
    store_integers(entries + j, load(products + j) * per_step + kRounder - kRounder);
  }
}

}  // namespace

void store_gram_rows(const Codewords& book, const ScreenTile& tile, void* rows, int64_t begin,
                     int64_t end) {
  const IeeeDenormals denormals;
  for (int64_t t = begin; t < end; ++t) {
    char* row = static_cast<char*>(rows) + t * GramRow::bytes(book.P);
    store_row(tile.scores + t * book.P, book.P, reinterpret_cast<GramRow*>(row),
              reinterpret_cast<int16_t*>(row + GramRow::kHeaderBytes));
  }
}

}  // namespace craft::CRAFT_ISA
