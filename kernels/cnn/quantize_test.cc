#include "kernels/cnn/quantize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "kernels/cnn/random.h"

namespace potluck::cnn {
namespace {

constexpr Compression kAll[] = {Compression::kNone, Compression::kHalf, Compression::kInt8, Compression::kInt4,
                                Compression::kTernary};

std::string Encoded(Compression compression, const std::vector<float>& values, const RoundingKey& key = {}) {
  std::string bytes;
  Encode(compression, values, key, bytes);
  return bytes;
}

std::vector<float> Decoded(Compression compression, std::string_view bytes, size_t count) {
  std::vector<float> values(count);
  const Status status = Decode(compression, bytes, values);
  EXPECT_TRUE(status.ok()) << status.message();
  return values;
}

std::vector<float> SomeValues(size_t count, float size = 1) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) {
    values[i] = size * (UnitFloat(Philox(11, static_cast<uint32_t>(i), 0, 0, 0).word[0]) - 0.5f);
  }
  return values;
}

std::string Hex(std::string_view bytes) {
  std::string hex;
  for (const char byte : bytes) {
    hex += "0123456789abcdef"[static_cast<unsigned char>(byte) >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

TEST(QuantizeTest, HalvesAreIeee) {
  const std::pair<float, uint16_t> known[] = {
      {0.0f, 0x0000},       {-0.0f, 0x8000},      {1.0f, 0x3c00},       {-2.0f, 0xc000},
      {65504.0f, 0x7bff},   {65519.0f, 0x7bff},   {65520.0f, 0x7c00},   {1e30f, 0x7c00},
      {0x1p-14f, 0x0400},   {0x1p-24f, 0x0001},   {0x1p-25f, 0x0000},   {0x1.8p-25f, 0x0001},
      {0x1.8p-24f, 0x0002}, {0x1.002p0f, 0x3c00}, {0x1.006p0f, 0x3c02}, {1.0f / 3, 0x3555}};
  for (const auto& [value, half] : known) EXPECT_EQ(HalfFromFloat(value), half) << value;
  EXPECT_TRUE(std::isnan(FloatFromHalf(HalfFromFloat(std::nanf("")))));
  EXPECT_EQ(FloatFromHalf(0x7c00), std::numeric_limits<float>::infinity());
  for (uint32_t half = 0; half <= 0xffff; ++half) {
    const float value = FloatFromHalf(static_cast<uint16_t>(half));
    if (std::isnan(value)) continue;
    EXPECT_EQ(HalfFromFloat(value), half);
  }
}

TEST(QuantizeTest, SizesAreAsDocumented) {
  EXPECT_EQ(EncodedBytes(Compression::kNone, 100), 400u);
  EXPECT_EQ(EncodedBytes(Compression::kHalf, 100), 200u);
  EXPECT_EQ(EncodedBytes(Compression::kInt8, 100), 132u);
  EXPECT_EQ(EncodedBytes(Compression::kInt4, 100), 68u);
  EXPECT_EQ(EncodedBytes(Compression::kTernary, 100), 36u);
  for (const Compression compression : kAll) EXPECT_EQ(EncodedBytes(compression, 0), 0u);
  EXPECT_EQ(EncodedBytes(Compression::kTernary, 1'199'882), 337'482u);
}

// If these change, workers of different versions no longer agree.
TEST(QuantizeTest, BytesAreKnown) {
  const std::vector<float> values = {1, -1, 0.5f, -0.25f, 0.3f, 0, 0.9f, -0.7f};
  const RoundingKey key{7, 3, 2};
  std::string start = Encoded(Compression::kInt8, values, key);
  EXPECT_EQ(Hex(start.substr(0, 10)), "09207f8140e0260072a7");
  start = Encoded(Compression::kInt4, values, key);
  EXPECT_EQ(Hex(start.substr(0, 6)), "93301f6c8a3e");
  EXPECT_EQ(Hex(start.substr(6)), std::string(56, '8'));
  start = Encoded(Compression::kTernary, values, key);
  EXPECT_EQ(Hex(start.substr(0, 4)), "003c2255");
  EXPECT_EQ(Hex(start.substr(4)), "5555555555555555555555555555");
  EXPECT_EQ(Hex(Encoded(Compression::kHalf, values, key)), "003c00bc003800b4cd340000343b99b9");
  EXPECT_EQ(Hex(Encoded(Compression::kNone, {1.0f, -2.0f})), "0000803f000000c0");
}

// The distance of neighbouring codes, for values of up to `most` in a group.
double StepOf(Compression compression, double value, double most) {
  switch (compression) {
    case Compression::kNone:
      return 0;
    case Compression::kHalf:
      return std::max(std::ldexp(std::fabs(value), -10), 0x1p-24);
    case Compression::kInt8:
      return most / 127 * 1.001 + 0x1p-24;
    case Compression::kInt4:
      return most / 7 * 1.001 + 0x1p-24;
    case Compression::kTernary:
      return most * 1.001 + 0x1p-24;
  }
  return 0;
}

TEST(QuantizeTest, WhatIsDecodedIsANeighbourOfWhatWasEncoded) {
  for (const float size : {1.0f, 3e-5f, 1e-9f}) {
    const std::vector<float> values = SomeValues(1000, size);
    for (const Compression compression : kAll) {
      const std::vector<float> decoded = Decoded(compression, Encoded(compression, values), values.size());
      for (size_t i = 0; i < values.size(); ++i) {
        EXPECT_TRUE(std::fabs(decoded[i] - values[i]) <= StepOf(compression, values[i], size / 2))
            << ToString(compression) << " " << values[i] << " " << decoded[i];
      }
    }
  }
}

TEST(QuantizeTest, MeansComeOutRight) {
  // Small ones too: halves below 2^-14 are rounded another way.
  for (const float size : {1.0f, 3e-5f}) {
    const std::vector<float> values = SomeValues(200, size);
    for (const Compression compression : kAll) {
      constexpr int kDraws = 4000;
      std::vector<double> sums(values.size());
      for (uint32_t draw = 0; draw < kDraws; ++draw) {
        const auto decoded = Decoded(compression, Encoded(compression, values, {3, draw, 5}), values.size());
        for (size_t i = 0; i < values.size(); ++i) sums[i] += decoded[i] - values[i];
      }
      double total = 0;
      for (size_t i = 0; i < values.size(); ++i) {
        // In steps; a draw's standard deviation is half a step at most. Five of the mean's; the seed is fixed.
        const double step = StepOf(compression, values[i], size / 2);
        const double off = step == 0 ? sums[i] : sums[i] / step;
        EXPECT_TRUE(std::fabs(off) <= 2.5 * std::sqrt(kDraws)) << ToString(compression) << " " << values[i];
        total += off;
      }
      EXPECT_TRUE(std::fabs(total) <= 2.5 * std::sqrt(kDraws * 200.0)) << ToString(compression) << " " << total;
    }
  }
}

TEST(QuantizeTest, RoundingUsesTheDocumentedNumbers) {
  // A scale of 1: the group holds a 1.
  std::vector<float> values(200, 0.4f);
  for (size_t i = 0; i < values.size(); i += 64) values[i] = 1;
  const auto decoded = Decoded(Compression::kTernary, Encoded(Compression::kTernary, values, {77, 8, 9}), 200);
  for (uint32_t i = 0; i < 200; ++i) {
    const uint32_t word = Philox(77, i / 4, 9, 8, Word3(Purpose::kRound)).word[i % 4];
    EXPECT_EQ(decoded[i], UnitFloat(word) < values[i] ? 1.0f : 0.0f) << i;
  }
}

TEST(QuantizeTest, KeysAndPlacesDrawDifferently) {
  const std::vector<float> values = SomeValues(64);
  const std::string bytes = Encoded(Compression::kInt4, values, {1, 2, 3});
  EXPECT_EQ(Encoded(Compression::kInt4, values, {1, 2, 3}), bytes);
  EXPECT_NE(Encoded(Compression::kInt4, values, {2, 2, 3}), bytes);
  EXPECT_NE(Encoded(Compression::kInt4, values, {1, 3, 3}), bytes);
  EXPECT_NE(Encoded(Compression::kInt4, values, {1, 2, 4}), bytes);
}

TEST(QuantizeTest, AppendsAndTakesAnyCount) {
  for (const Compression compression : kAll) {
    for (const size_t count : {0, 1, 3, 63, 64, 65, 1023, 1024, 1025, 2049}) {
      const std::vector<float> values = SomeValues(count);
      std::string bytes = "before";
      Encode(compression, values, {}, bytes);
      ASSERT_EQ(bytes.size(), 6 + EncodedBytes(compression, count));
      EXPECT_EQ(bytes.substr(0, 6), "before");
      Decoded(compression, std::string_view(bytes).substr(6), count);
    }
  }
}

TEST(QuantizeTest, ZerosExtremesAndTinyValuesStayInRange) {
  constexpr float kMost = std::numeric_limits<float>::max();
  for (const Compression compression :
       {Compression::kHalf, Compression::kInt8, Compression::kInt4, Compression::kTernary}) {
    EXPECT_EQ(Decoded(compression, Encoded(compression, {0, 0, 0}), 3), (std::vector<float>{0, 0, 0}));
    for (const float value : {kMost, 1e6f, 65504.0f, 65503.9f, 1.0f, 6e-8f, 1e-20f, 1e-45f, 0.99951171875f}) {
      const auto decoded = Decoded(compression, Encoded(compression, {value, -value, 0}), 3);
      EXPECT_TRUE(std::isfinite(decoded[0]));
      EXPECT_GE(decoded[0], 0);
      EXPECT_LE(decoded[1], 0);
      EXPECT_EQ(decoded[2], 0);
    }
  }
  // The greatest value of a group never rounds past the greatest code.
  for (uint32_t i = 0; i < 3000; ++i) {
    const float value = std::ldexp(1.0f + UnitFloat(Philox(5, i, 0, 0, 0).word[0]), static_cast<int>(i % 40) - 30);
    for (const Compression compression : {Compression::kInt8, Compression::kInt4, Compression::kTernary}) {
      const std::string bytes = Encoded(compression, {value, -value});
      EXPECT_TRUE(CheckEncoded(compression, bytes, 2).ok()) << value;
      const double most = FloatFromHalf(static_cast<uint16_t>(static_cast<unsigned char>(bytes[0]) |
                                                              static_cast<unsigned char>(bytes[1]) << 8)) *
                          (compression == Compression::kInt8   ? 127.0
                           : compression == Compression::kInt4 ? 7.0
                                                               : 1.0);
      EXPECT_GE(most, value);
      EXPECT_LE(most, value * 1.001 + 127 * 0x1p-24);
    }
  }
}

std::string Complaint(Compression compression, std::string_view bytes, uint64_t count) {
  std::vector<float> values(count);
  const Status status = Decode(compression, bytes, values);
  EXPECT_EQ(CheckEncoded(compression, bytes, count).message(), status.message());
  return status.message();
}

TEST(QuantizeTest, DamagedBytesAreRefused) {
  const std::vector<float> values = SomeValues(70);
  EXPECT_EQ(Complaint(Compression::kInt8, std::string(131, '\0'), 70),
            "There are 131 bytes of int8; allowed for 70 values: 132.");
  for (const Compression compression : {Compression::kInt8, Compression::kInt4, Compression::kTernary}) {
    const std::string name(ToString(compression));
    const std::string good = Encoded(compression, values);
    for (const char high : {'\x80', '\x7c', '\xff'}) {  // Negative, infinite, NaN.
      std::string bytes = good;
      bytes[3] = high;
      EXPECT_EQ(Complaint(compression, bytes, 70), "The scale of group 1 is negative or not finite.");
    }
    std::string bytes = good;
    bytes[4] = compression == Compression::kInt8 ? '\x80' : compression == Compression::kInt4 ? '\x80' : '\x0c';
    EXPECT_EQ(Complaint(compression, bytes, 70),
              "A code of group 0 is out of range for " + name + ", or one past the last value is not 0.");
    bytes = good;
    bytes.back() = compression == Compression::kInt8 ? '\x01' : compression == Compression::kInt4 ? '\x89' : '\x56';
    EXPECT_EQ(Complaint(compression, bytes, 70),
              "A code of group 1 is out of range for " + name + ", or one past the last value is not 0.");
  }
  EXPECT_EQ(Complaint(Compression::kHalf, std::string("\x00\x7c", 2), 1), "An fp16 value is not a finite number.");
  EXPECT_EQ(Complaint(Compression::kHalf, std::string("\x01\xfe", 2), 1), "An fp16 value is not a finite number.");
  EXPECT_EQ(Complaint(Compression::kNone, std::string("\x00\x00\xc0\x7f", 4), 1), "A value is not a finite number.");
}

}  // namespace
}  // namespace potluck::cnn
