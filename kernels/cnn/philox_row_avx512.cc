#include "kernels/cnn/philox_row_impl.h"

namespace potluck::cnn {

uint64_t PhiloxGroupsAvx512(uint64_t key, uint32_t first, uint64_t counters, uint32_t c1, uint32_t c2, uint32_t c3,
                            uint32_t* words) {
  return WholeGroups(key, first, counters, c1, c2, c3, words);
}

}  // namespace potluck::cnn
