// Many counter-based random numbers at once: the same words as Philox() of random.h gives one by one, several times as
// fast, as it fills vectors.
#pragma once

#include <cstdint>

namespace potluck::cnn {

// words[4 i + j] = word j of Philox(key, first + i, c1, c2, c3), for i in [0, counters).
void PhiloxRow(uint64_t key, uint32_t first, uint64_t counters, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t* words);

// The code paths of that: each fills a first part of the row and returns of how many counters.
using PhiloxGroups = uint64_t(uint64_t key, uint32_t first, uint64_t counters, uint32_t c1, uint32_t c2, uint32_t c3,
                              uint32_t* words);
PhiloxGroups PhiloxGroupsScalar, PhiloxGroupsAvx2, PhiloxGroupsAvx512;

}  // namespace potluck::cnn
