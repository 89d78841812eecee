// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011).
//
// A number is a function of (seed, purpose, place), never of what was drawn before, so that every unit of work can be
// computed again anywhere. Shared by CPU and GPU code.
#pragma once

#include <cstdint>

#include "kernels/math/host_device.h"

namespace potluck::cnn {

// What a number is drawn for: the upper half of the fourth counter word; the lower half is a layer's number.
enum class Purpose : uint32_t { kInitial = 1, kShuffle = 2, kDropout = 3, kShift = 4, kRound = 5, kSynthesis = 6 };

struct Philox4 {
  uint32_t word[4];
};

POTLUCK_HOST_DEVICE Philox4 Philox(uint64_t key, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c0, p1 = uint64_t{0xCD9E8D57u} * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0, n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

constexpr uint32_t Word3(Purpose purpose, uint32_t layer = 0) { return static_cast<uint32_t>(purpose) << 16 | layer; }

// In [0, 1), 24 bits.
POTLUCK_HOST_DEVICE float UnitFloat(uint32_t word) { return static_cast<float>(word >> 8) * (1.0f / 16777216.0f); }

// Dropout. Element e (of the flattened activation, channel-major) of the sample at `position` in training step `step`
// is kept if word e % 4 of Philox(seed, e / 4, position, step, Word3(kDropout, layer)) is below this; what is kept is
// multiplied by the float nearest to 1 / (1 - rate). `position` counts samples over the whole run, modulo 2^32; layers
// count from 0.
constexpr uint32_t KeepBelow(double rate) {
  const double keep = (1.0 - rate) * 4294967296.0;
  return keep >= 4294967295.0 ? 0xffffffffu : static_cast<uint32_t>(keep);
}

}  // namespace potluck::cnn
