// The pruning order.
#include "../prune_order.h"

#include <atomic>

#include "../thread_pool.h"
#include "bindings.h"

namespace craft {

namespace py = pybind11;
using py::literals::operator""_a;

void bind_prune_order(py::module_& m) {
  m.attr("PRUNE_SCRATCH_BYTES") = kPruneScratchBytes;
  m.def(
      "prune_order",
      [](int64_t batch, int64_t height, int64_t width, int64_t neighbors, double isolation_weight,
         uintptr_t ids, uintptr_t residual_sq, uintptr_t prior, uintptr_t log_counts,
         uintptr_t distances, uintptr_t offsets, uintptr_t order, uintptr_t scratch, int lanes,
         int threads) {
        const PruneOrderArgs args{height,
                                  width,
                                  neighbors,
                                  isolation_weight,
                                  at<const int64_t>(ids),
                                  at<const float>(residual_sq),
                                  at<const float>(prior),
                                  at<const int64_t>(log_counts),
                                  at<const int64_t>(distances),
                                  at<const int32_t>(offsets),
                                  at<int64_t>(order)};
        py::gil_scoped_release release;
        std::atomic<int64_t> next{0};
        parallel_for(lanes, 1, threads, [&](int64_t lane, int64_t) {
          char* room = at<char>(scratch) + lane * height * width * kPruneScratchBytes;
          for (int64_t image; (image = next.fetch_add(1)) < batch;) {
            CRAFT_DISPATCH(prune_order(args, image, room));
          }
        });
      },
      "Write the pruning order of each image; see csrc/prune_order.h. At most `lanes` images are "
      "worked on at once; `scratch` has PRUNE_SCRATCH_BYTES for each of [lanes, N] tokens.");
}

}  // namespace craft
