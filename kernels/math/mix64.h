// A published 64-bit mixer, and the checksum term of one N-Queens rank.
//
// Mix64 is the finaliser of SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA
// 2014; constants: David Stafford's "Mix13"). It is a bijection of the 64-bit words. Pure functions, thread-safe.
#pragma once

#include "kernels/math/host_device.h"

namespace potluck {

POTLUCK_HOST_DEVICE constexpr uint64_t Mix64(uint64_t word) {
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
  return word ^ (word >> 31);
}

// What one rank adds (mod 2^64) to the checksum of an interval. The golden-ratio increment keeps (0, 0, 0) away from
// Mix64's fixed point 0.
POTLUCK_HOST_DEVICE constexpr uint64_t Mix64(uint64_t rank, uint64_t solutions, uint64_t nodes) {
  constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;
  uint64_t word = Mix64(rank + kGolden);
  word = Mix64((word ^ solutions) + kGolden);
  return Mix64((word ^ nodes) + kGolden);
}

}  // namespace potluck
