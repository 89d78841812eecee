#include "kernels/cnn/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/cnn/philox_row.h"
#include "kernels/cnn/random.h"

namespace potluck::cnn {

namespace {

constexpr uint64_t kBlock = 16 * kQuantumGroup;  // Values whose random words are drawn at once.
constexpr uint16_t kMostHalf = 0x7bff;           // 65504
constexpr uint32_t kSign = 0x80000000u;
constexpr uint32_t kLeastNormalHalf = 0x38800000u;  // 2^-14, as a float's bits.

// UnitFloat() of random.h, by a conversion that every instruction set has for vectors.
inline float Unit(uint32_t word) { return static_cast<float>(static_cast<int>(word >> 8)) * (1.0f / 16777216.0f); }

uint64_t Groups(uint64_t count) { return (count + kQuantumGroup - 1) / kQuantumGroup; }

int MostCode(Compression compression) {
  return compression == Compression::kInt8 ? 127 : compression == Compression::kInt4 ? 7 : 1;
}

uint64_t GroupBytes(Compression compression) {
  return compression == Compression::kInt8 ? 64 : compression == Compression::kInt4 ? 32 : 16;
}

// The least half `scale` with most <= scale * most_code, 65504 if there is none.
uint16_t ScaleFor(float most, int most_code) {
  const float codes = static_cast<float>(most_code);
  const float wanted = most / codes;
  if (!(wanted < 65504.0f)) return kMostHalf;
  uint16_t scale = HalfFromFloat(wanted);
  // The product is exact: 11 and 7 bits. Halves of one sign are ordered as their bits are.
  while (FloatFromHalf(scale) * codes < most) ++scale;
  return std::min(scale, kMostHalf);
}

// A neighbouring integer of each values[i] / scale: the upper one with a probability of the part beyond the lower one.
void RoundGroup(const float* values, const uint32_t* words, float scale, int most_code, int8_t* codes) {
  const float most = static_cast<float>(most_code);
  for (uint64_t i = 0; i < kQuantumGroup; ++i) {
    float quotient = values[i] / scale;
    quotient = quotient > most ? most : quotient;  // Only where the scale is the greatest half.
    quotient = quotient < -most ? -most : quotient;
    int lower = static_cast<int>(quotient);
    lower -= quotient < static_cast<float>(lower);
    const float part = quotient - static_cast<float>(lower);  // Exact.
    codes[i] = static_cast<int8_t>(lower + (Unit(words[i]) < part));
  }
}

void Pack(Compression compression, const int8_t* codes, char* out) {
  switch (compression) {
    case Compression::kInt8:
      std::memcpy(out, codes, kQuantumGroup);
      return;
    case Compression::kInt4:
      for (int i = 0; i < 32; ++i) out[i] = static_cast<char>((codes[2 * i] + 8) | (codes[2 * i + 1] + 8) << 4);
      return;
    default:
      for (int i = 0; i < 16; ++i) {
        const int8_t* const four = codes + 4 * i;
        out[i] = static_cast<char>((four[0] + 1) | (four[1] + 1) << 2 | (four[2] + 1) << 4 | (four[3] + 1) << 6);
      }
  }
}

void Unpack(Compression compression, const char* bytes, int8_t* codes) {
  switch (compression) {
    case Compression::kInt8:
      std::memcpy(codes, bytes, kQuantumGroup);
      return;
    case Compression::kInt4:
      for (int i = 0; i < 32; ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        codes[2 * i] = static_cast<int8_t>((byte & 15) - 8);
        codes[2 * i + 1] = static_cast<int8_t>((byte >> 4) - 8);
      }
      return;
    default:
      for (int i = 0; i < 16; ++i) {
        const auto byte = static_cast<unsigned char>(bytes[i]);
        for (int j = 0; j < 4; ++j) codes[4 * i + j] = static_cast<int8_t>((byte >> (2 * j) & 3) - 1);
      }
  }
}

// One value to a neighbouring half. Normal halves: random bits are added below those that stay, and carry with the
// right probability. Below, halves are multiples of 2^-24.
uint16_t RoundHalf(float value, uint32_t word) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & ~kSign;
  const uint32_t carried = (magnitude + (word >> 19)) >> 13;
  const uint32_t normal = carried - (112u << 10);
  const float small = magnitude < kLeastNormalHalf ? std::bit_cast<float>(magnitude) * 16777216.0f : 0.0f;
  const auto lower = static_cast<int>(small);
  const auto subnormal = static_cast<uint32_t>(lower + (Unit(word) < small - static_cast<float>(lower)));
  uint32_t half = magnitude < kLeastNormalHalf ? subnormal : normal;
  half = half > kMostHalf ? kMostHalf : half;
  return static_cast<uint16_t>(half | (bits >> 16 & 0x8000u));
}

void StoreHalf(uint16_t half, char* out) {
  out[0] = static_cast<char>(half);
  out[1] = static_cast<char>(half >> 8);
}

uint16_t LoadHalf(const char* bytes) {
  return static_cast<uint16_t>(static_cast<unsigned char>(bytes[0]) | static_cast<unsigned char>(bytes[1]) << 8);
}

void EncodeHalves(std::span<const float> values, const RoundingKey& key, char* out) {
  uint32_t words[kBlock];
  for (uint64_t first = 0; first < values.size(); first += kBlock) {
    const uint64_t count = std::min<uint64_t>(kBlock, values.size() - first);
    PhiloxRow(key.seed, static_cast<uint32_t>(first / 4), (count + 3) / 4, key.index, key.round, Word3(Purpose::kRound),
              words);
    for (uint64_t i = 0; i < count; ++i) StoreHalf(RoundHalf(values[first + i], words[i]), out + 2 * (first + i));
  }
}

void EncodeGroups(Compression compression, std::span<const float> values, const RoundingKey& key, char* out) {
  const int most_code = MostCode(compression);
  char* codes_out = out + 2 * Groups(values.size());
  uint32_t words[kBlock];
  float block[kBlock];
  int8_t codes[kQuantumGroup];
  for (uint64_t first = 0; first < values.size(); first += kBlock) {
    const uint64_t count = std::min<uint64_t>(kBlock, values.size() - first);
    PhiloxRow(key.seed, static_cast<uint32_t>(first / 4), kBlock / 4, key.index, key.round, Word3(Purpose::kRound),
              words);
    std::copy_n(values.data() + first, count, block);
    std::fill(block + count, block + kBlock, 0.0f);
    for (uint64_t group = 0; group < count; group += kQuantumGroup) {
      float most = 0;
      for (uint64_t i = group; i < group + kQuantumGroup; ++i) {
        const float magnitude = std::fabs(block[i]);
        most = magnitude > most ? magnitude : most;
      }
      const uint16_t scale = ScaleFor(most, most_code);
      StoreHalf(scale, out);
      out += 2;
      RoundGroup(block + group, words + group, scale == 0 ? 1.0f : FloatFromHalf(scale), most_code, codes);
      Pack(compression, codes, codes_out);
      codes_out += GroupBytes(compression);
    }
  }
}

Status WrongCode(Compression compression, uint64_t group) {
  return Status::Error("A code of group " + std::to_string(group) + " is out of range for " +
                       std::string(ToString(compression)) + ", or one past the last value is not 0.");
}

// Whether some byte holds a code that Pack never writes.
bool HasWrongCode(Compression compression, const char* bytes) {
  unsigned wrong = 0;
  for (uint64_t i = 0; i < GroupBytes(compression); ++i) {
    const auto byte = static_cast<unsigned char>(bytes[i]);
    if (compression == Compression::kInt8) {
      wrong |= byte == 0x80;
    } else if (compression == Compression::kInt4) {
      wrong |= (byte & 0x0f) == 0;
      wrong |= (byte & 0xf0) == 0;
    } else {
      wrong |= byte & byte >> 1 & 0x55;
    }
  }
  return wrong != 0;
}

Status CheckGroups(Compression compression, std::string_view bytes, uint64_t count) {
  const uint64_t groups = Groups(count);
  const char* codes = bytes.data() + 2 * groups;
  for (uint64_t group = 0; group < groups; ++group, codes += GroupBytes(compression)) {
    const uint16_t scale = LoadHalf(bytes.data() + 2 * group);
    if (scale > kMostHalf) {
      return Status::Error("The scale of group " + std::to_string(group) + " is negative or not finite.");
    }
    if (HasWrongCode(compression, codes)) return WrongCode(compression, group);
  }
  if (count % kQuantumGroup == 0) return {};
  int8_t last[kQuantumGroup];
  Unpack(compression, codes - GroupBytes(compression), last);
  for (uint64_t i = count % kQuantumGroup; i < kQuantumGroup; ++i) {
    if (last[i] != 0) return WrongCode(compression, groups - 1);
  }
  return {};
}

Status CheckFloats(std::string_view bytes, uint64_t count) {
  constexpr uint32_t kInfinite = 0x7f800000u;
  uint32_t wrong = 0;
  for (uint64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, bytes.data() + 4 * i, 4);
    wrong |= (bits & kInfinite) == kInfinite;
  }
  return wrong == 0 ? Status() : Status::Error("A value is not a finite number.");
}

Status CheckHalves(std::string_view bytes, uint64_t count) {
  uint32_t wrong = 0;
  for (uint64_t i = 0; i < count; ++i) wrong |= (LoadHalf(bytes.data() + 2 * i) & 0x7fff) > kMostHalf;
  return wrong == 0 ? Status() : Status::Error("An fp16 value is not a finite number.");
}

void DecodeGroups(Compression compression, std::string_view bytes, std::span<float> values) {
  const char* codes = bytes.data() + 2 * Groups(values.size());
  int8_t unpacked[kQuantumGroup];
  for (uint64_t first = 0; first < values.size(); first += kQuantumGroup, codes += GroupBytes(compression)) {
    const float scale = FloatFromHalf(LoadHalf(bytes.data() + first / kQuantumGroup * 2));
    Unpack(compression, codes, unpacked);
    const uint64_t count = std::min<uint64_t>(kQuantumGroup, values.size() - first);
    for (uint64_t i = 0; i < count; ++i) values[first + i] = scale * static_cast<float>(unpacked[i]);
  }
}

}  // namespace

std::string_view ToString(Compression compression) {
  switch (compression) {
    case Compression::kNone:
      return "none";
    case Compression::kHalf:
      return "fp16";
    case Compression::kInt8:
      return "int8";
    case Compression::kInt4:
      return "int4";
    case Compression::kTernary:
      return "ternary";
  }
  return "unknown";
}

uint64_t EncodedBytes(Compression compression, uint64_t count) {
  if (compression == Compression::kNone) return 4 * count;
  if (compression == Compression::kHalf) return 2 * count;
  return Groups(count) * (2 + GroupBytes(compression));
}

// Floats and halves lie in memory as they travel.
static_assert(std::endian::native == std::endian::little);

void Encode(Compression compression, std::span<const float> values, const RoundingKey& key, std::string& out) {
  const size_t start = out.size();
  out.resize(start + EncodedBytes(compression, values.size()));
  char* const to = out.data() + start;
  if (compression == Compression::kNone) {
    std::copy_n(reinterpret_cast<const char*>(values.data()), values.size_bytes(), to);
  } else if (compression == Compression::kHalf) {
    EncodeHalves(values, key, to);
  } else {
    EncodeGroups(compression, values, key, to);
  }
}

Status CheckEncoded(Compression compression, std::string_view bytes, uint64_t count) {
  if (bytes.size() != EncodedBytes(compression, count)) {
    return Status::Error("There are " + std::to_string(bytes.size()) + " bytes of " +
                         std::string(ToString(compression)) + "; allowed for " + std::to_string(count) +
                         " values: " + std::to_string(EncodedBytes(compression, count)) + ".");
  }
  if (compression == Compression::kNone) return CheckFloats(bytes, count);
  if (compression == Compression::kHalf) return CheckHalves(bytes, count);
  return CheckGroups(compression, bytes, count);
}

Status Decode(Compression compression, std::string_view bytes, std::span<float> values) {
  Status status = CheckEncoded(compression, bytes, values.size());
  if (!status.ok()) return status;
  if (compression == Compression::kNone) {
    std::copy_n(bytes.data(), bytes.size(), reinterpret_cast<char*>(values.data()));
  } else if (compression == Compression::kHalf) {
    for (uint64_t i = 0; i < values.size(); ++i) values[i] = FloatFromHalf(LoadHalf(bytes.data() + 2 * i));
  } else {
    DecodeGroups(compression, bytes, values);
  }
  return {};
}

uint16_t HalfFromFloat(float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value), magnitude = bits & ~kSign;
  const auto sign = static_cast<uint16_t>(bits >> 16 & 0x8000u);
  if (magnitude > 0x7f800000u) return sign | 0x7e00u;   // NaN.
  if (magnitude >= 0x47800000u) return sign | 0x7c00u;  // 65536 and more.
  if (magnitude < kLeastNormalHalf) {
    // Adding 0.5 leaves a float whose last bit is worth 2^-24, rounded to nearest even by the addition.
    const float sum = std::bit_cast<float>(magnitude) + 0.5f;
    return sign | static_cast<uint16_t>(std::bit_cast<uint32_t>(sum) - 0x3f000000u);
  }
  const uint32_t even = magnitude >> 13 & 1u;
  return sign | static_cast<uint16_t>(((magnitude + 0xfffu + even) >> 13) - (112u << 10));
}

float FloatFromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000u) << 16, magnitude = half & 0x7fffu;
  const uint32_t exponent = magnitude >> 10;
  const float small = static_cast<float>(static_cast<int>(magnitude)) * (1.0f / 16777216.0f);
  const uint32_t normal = (magnitude << 13) + (exponent == 31 ? 224u << 23 : 112u << 23);
  return std::bit_cast<float>(sign | (exponent == 0 ? std::bit_cast<uint32_t>(small) : normal));
}

}  // namespace potluck::cnn
