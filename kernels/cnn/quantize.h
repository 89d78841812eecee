// Compresses a vector of floats without memory, so that it can be computed again: groups of 64 values share one fp16
// scale, codes are rounded stochastically by counter-based random numbers (QSGD, Alistarh et al. 2017; ternary as
// TernGrad, Wen et al. 2017). Unbiased: the mean of what is decoded is what was encoded, but for the scale's rounding,
// which is upwards, so that no code is out of range.
//
// Layout of `count` values: all scales first (fp16, 2 bytes a group; none for kHalf), then the codes, a whole number of
// bytes a group:
//   kHalf     2 bytes a value, rounded stochastically to a neighbouring fp16
//   kInt8     1 byte a value, -127 to 127
//   kInt4     2 values a byte, -7 to 7 (stored + 8, the first in the low half)
//   kTernary  4 values a byte, -1 to 1 (stored + 1, the first in the lowest bits)
// A last group of fewer values is filled with zeros. The same bytes on every machine.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kernels/workload/status.h"

namespace potluck::cnn {

enum class Compression { kNone = 0, kHalf = 1, kInt8 = 2, kInt4 = 3, kTernary = 4 };

inline constexpr uint64_t kQuantumGroup = 64;

std::string_view ToString(Compression compression);  // none, fp16, int8, int4, ternary
// Bytes that `count` values take (kNone: 4 each).
uint64_t EncodedBytes(Compression compression, uint64_t count);

// Which numbers round: value i of stream (round, index) uses Philox(seed, i / 4, index, round, Word3(kRound)) word i
// % 4.
struct RoundingKey {
  uint64_t seed = 0;
  uint32_t round = 0;
  uint32_t index = 0;
};

// Appends to `out`. Values must be finite; those beyond 65504 times the greatest code become that.
void Encode(Compression compression, std::span<const float> values, const RoundingKey& key, std::string& out);
// Fails with a sentence if the bytes are not `count` encoded values: wrong length, a scale that is not finite or is
// negative, a code out of range or one past the last value that is not 0, a float (kNone, kHalf) that is not finite.
Status Decode(Compression compression, std::string_view bytes, std::span<float> values);
// Whether Decode would succeed; cheap.
Status CheckEncoded(Compression compression, std::string_view bytes, uint64_t count);

uint16_t HalfFromFloat(float value);  // Round to nearest even; overflow to infinity.
float FloatFromHalf(uint16_t half);

}  // namespace potluck::cnn
