#pragma once

#include "host_device.h"

namespace craft::CRAFT_ISA {

// For one component at one level, subtracts the codeword from the residual and adds the gradient of
// the squared residual. `scale` is twice the gradient of |r_l|^2.
CRAFT_INLINE CRAFT_HOST_DEVICE void add_level(float word, float scale, float& residual,
                                              float& grad) {
  residual -= word;
  grad += scale * residual;
}

}  // namespace craft::CRAFT_ISA
