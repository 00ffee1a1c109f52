// The CUDA kernels' code compiled for the host: threads run one after the other.
#include <initializer_list>

#include "cuda/gradient.h"
#include "cuda/gram_walk.h"
#include "cuda/prune_token.h"

namespace {

using namespace craft;
using namespace craft::CRAFT_ISA;

// Acts out a block. Threads run in ascending or in descending order: where that matters, two of
// them race for something.
struct HostBlock {
  int threads;
  bool descending;

  int size() const { return threads; }

  template <typename F>
  void each(F f) const {
    for (int i = 0; i < threads; ++i) f(descending ? threads - 1 - i : i);
  }
  template <typename F>
  double sum(F f) const {
    double total = 0;
    each([&](int thread) { total += f(thread); });
    return total;
  }
  template <typename F>
  float max(F f) const {
    float greatest = -std::numeric_limits<float>::infinity();
    each([&](int thread) { greatest = std::fmax(greatest, f(thread)); });
    return greatest;
  }
  template <typename F>
  int64_t min(F f) const {
    int64_t least = std::numeric_limits<int64_t>::max();
    each([&](int thread) {
      const int64_t value = f(thread);
      if (value < least) least = value;
    });
    return least;
  }
  static void add(int64_t& x, int64_t y) { x += y; }
};

}  // namespace

extern "C" {

void prune_order(const PruneOrderArgs* args, int64_t batch, void* memory) {
  const PruneScratch scratch(memory, batch * args->height * args->width);
  for (auto* step : {&measure_cues, &score_token, &set_critical_value, &place_token}) {
    for (int64_t image = 0; image < batch; ++image) {
      for (int64_t i = 0; i < args->height * args->width; ++i) step(*args, scratch, image, i);
    }
  }
}

int64_t prune_scratch_bytes(int64_t tokens) { return PruneScratch::bytes(tokens); }

void gram_walk(const GramWalkArgs* args, float* scores, int threads, bool descending) {
  WalkMemory memory;
  for (int64_t token = 0; token < args->N; ++token) {
    walk_token(*args, token, scores, memory, HostBlock{threads, descending});
  }
}

void add_sq_norms_gradient(const GradientArgs* args) {
  for (int64_t at = 0; at < args->N * args->D; ++at) add_to_component(*args, at);
}
}
