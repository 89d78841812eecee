#include "kernels/cnn/philox_row.h"

#include "kernels/cnn/philox_row_impl.h"
#include "kernels/cnn/random.h"
#include "kernels/cpu/dispatch.h"

namespace potluck::cnn {

namespace {

PhiloxGroups* FastestGroups() {
#if defined(__x86_64__)
  if (IsSupported(Dispatch::kAvx512)) return PhiloxGroupsAvx512;
  if (IsSupported(Dispatch::kAvx2)) return PhiloxGroupsAvx2;
#endif
  return PhiloxGroupsScalar;
}

}  // namespace

uint64_t PhiloxGroupsScalar(uint64_t key, uint32_t first, uint64_t counters, uint32_t c1, uint32_t c2, uint32_t c3,
                            uint32_t* words) {
  return WholeGroups(key, first, counters, c1, c2, c3, words);
}

void PhiloxRow(uint64_t key, uint32_t first, uint64_t counters, uint32_t c1, uint32_t c2, uint32_t c3,
               uint32_t* words) {
  static PhiloxGroups* const groups = FastestGroups();
  for (uint64_t done = groups(key, first, counters, c1, c2, c3, words); done < counters; ++done) {
    const Philox4 random = Philox(key, first + static_cast<uint32_t>(done), c1, c2, c3);
    for (int j = 0; j < 4; ++j) words[4 * done + j] = random.word[j];
  }
}

}  // namespace potluck::cnn
