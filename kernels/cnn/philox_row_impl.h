// The one source of PhiloxRow: philox_row.cc and its neighbours include it, each for its own instruction set, hence the
// unnamed namespace. Uses nothing that another file may define, too (see kernels/cpu/PotluckSimd.cmake).
#pragma once

#include <cstdint>

#include "kernels/cnn/philox_row.h"

namespace potluck::cnn {
namespace {

// Counters of a group, worked on side by side.
constexpr int kLanes = 16;

struct Lanes {
  uint32_t word[4][kLanes];
};

// The ten rounds of Philox() in random.h.
void Rounds(uint64_t key, Lanes& lanes) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kLanes; ++i) {
      const uint64_t p0 = uint64_t{0xD2511F53u} * lanes.word[0][i], p1 = uint64_t{0xCD9E8D57u} * lanes.word[2][i];
      lanes.word[0][i] = static_cast<uint32_t>(p1 >> 32) ^ lanes.word[1][i] ^ k0;
      lanes.word[2][i] = static_cast<uint32_t>(p0 >> 32) ^ lanes.word[3][i] ^ k1;
      lanes.word[1][i] = static_cast<uint32_t>(p1);
      lanes.word[3][i] = static_cast<uint32_t>(p0);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// As PhiloxRow, for the first multiple of kLanes of the counters; returns how many those are.
uint64_t WholeGroups(uint64_t key, uint32_t first, uint64_t counters, uint32_t c1, uint32_t c2, uint32_t c3,
                     uint32_t* words) {
  uint64_t done = 0;
  for (; done + kLanes <= counters; done += kLanes) {
    Lanes lanes;
    for (int i = 0; i < kLanes; ++i) {
      lanes.word[0][i] = first + static_cast<uint32_t>(done) + i;
      lanes.word[1][i] = c1;
      lanes.word[2][i] = c2;
      lanes.word[3][i] = c3;
    }
    Rounds(key, lanes);
    for (int i = 0; i < kLanes; ++i) {
      for (int j = 0; j < 4; ++j) words[4 * (done + i) + j] = lanes.word[j][i];
    }
  }
  return done;
}

}  // namespace
}  // namespace potluck::cnn
