#include "kernels/workload/fields.h"

#include <gtest/gtest.h>

#include <random>

namespace potluck {
namespace {

TEST(FieldsTest, ValuesComeBackAsTheyWereWritten) {
  FieldWriter writer;
  writer.Uint(1, 300);
  writer.Fixed64(2, 0x8000000000000001);
  writer.Bytes(100, "soup");
  const std::string bytes = writer.Take();
  const auto fields = FieldReader::Parse(bytes);
  ASSERT_TRUE(fields.has_value());
  EXPECT_EQ(fields->Number(1), 300u);
  EXPECT_EQ(fields->Number(2), 0x8000000000000001u);
  EXPECT_EQ(fields->Bytes(100), "soup");
  EXPECT_EQ(fields->Number(3), 0u);
  EXPECT_EQ(fields->Bytes(3), "");
}

TEST(FieldsTest, WritesTheBytesThatProtobufWrites) {
  FieldWriter writer;
  writer.Uint(1, 150);
  writer.Bytes(2, "testing");
  // The examples of protobuf.dev/programming-guides/encoding.
  EXPECT_EQ(writer.Take(), std::string("\x08\x96\x01\x12\x07testing"));
}

TEST(FieldsTest, ZeroAndEmptyAreLeftOut) {
  FieldWriter writer;
  writer.Uint(1, 0);
  writer.Fixed64(2, 0);
  writer.Bytes(3, "");
  EXPECT_EQ(writer.Take(), "");
}

TEST(FieldsTest, DoublesBoolsAndRepeatedFieldsComeBack) {
  FieldWriter writer;
  writer.Double(1, -0.0);
  writer.Double(2, 0.0);
  writer.Bool(3, true);
  writer.Bool(4, false);
  writer.Doubles(5, std::vector<double>{1.5, 0.0});
  writer.Doubles(6, {});
  writer.Message(7, "");
  writer.Message(8, "a");
  writer.Message(8, "");
  writer.Message(8, "b");
  const std::string bytes = writer.Take();
  const auto fields = FieldReader::Parse(bytes);
  ASSERT_TRUE(fields.has_value());
  EXPECT_EQ(fields->Number(1), uint64_t{1} << 63);
  EXPECT_EQ(fields->Double(1), 0.0);
  EXPECT_EQ(fields->Double(2), 0.0);
  EXPECT_TRUE(fields->Bool(3));
  EXPECT_FALSE(fields->Bool(4));
  EXPECT_EQ(fields->Doubles(5), (std::vector<double>{1.5, 0.0}));
  EXPECT_EQ(fields->Doubles(6), std::vector<double>());
  EXPECT_TRUE(fields->HasBytes(7));
  EXPECT_FALSE(fields->HasBytes(6));
  EXPECT_EQ(fields->AllBytes(8), (std::vector<std::string_view>{"a", "", "b"}));
  EXPECT_EQ(fields->Bytes(8), "b");
}

TEST(FieldsTest, RepeatedDoublesNeedNotBePacked) {
  FieldWriter writer;
  writer.Double(1, 2.5);
  writer.Doubles(1, std::vector<double>{3.5, 4.5});
  writer.Double(1, 5.5);
  const std::string bytes = writer.Take();
  EXPECT_EQ(FieldReader::Parse(bytes)->Doubles(1), (std::vector<double>{2.5, 3.5, 4.5, 5.5}));
  EXPECT_EQ(FieldReader::Parse(std::string_view("\x0a\x03"
                                                "abc",
                                                5))
                ->Doubles(1),
            std::nullopt);
}

TEST(FieldsTest, UnknownFieldsAreSkipped) {
  FieldWriter writer;
  writer.Uint(1, 5);
  writer.Uint(77, 9);
  const std::string bytes = writer.Take() + std::string("\x25\x01\x02\x03\x04", 5);  // Field 4, 32 bits.
  const auto fields = FieldReader::Parse(bytes);
  ASSERT_TRUE(fields.has_value());
  EXPECT_EQ(fields->Number(1), 5u);
  EXPECT_EQ(fields->Number(4), 0x04030201u);
}

TEST(FieldsTest, TruncatedMessagesAreRefused) {
  FieldWriter writer;
  writer.Fixed64(1, 1);
  const std::string fixed = writer.Take();
  for (size_t length = 1; length < fixed.size(); ++length) {
    EXPECT_FALSE(FieldReader::Parse(std::string_view(fixed).substr(0, length)).has_value()) << length;
  }
  EXPECT_FALSE(FieldReader::Parse(std::string_view("\x12\x05test", 6)).has_value());  // A length past the end.
  EXPECT_FALSE(FieldReader::Parse(std::string_view("\x08", 1)).has_value());          // A key without a value.
  EXPECT_FALSE(FieldReader::Parse(std::string_view("\x00\x01", 2)).has_value());      // Field number 0.
  EXPECT_FALSE(FieldReader::Parse(std::string_view("\x0b", 1)).has_value());          // A group.
}

TEST(FieldsTest, GarbageNeverReadsOutside) {
  std::mt19937_64 random(7);
  int parsed = 0;
  for (int trial = 0; trial < 20000; ++trial) {
    std::string bytes(random() % 24, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    const auto fields = FieldReader::Parse(bytes);
    if (!fields) continue;
    ++parsed;
    for (uint32_t number = 1; number < 32; ++number) EXPECT_LE(fields->Bytes(number).size(), bytes.size());
  }
  EXPECT_GT(parsed, 0);
}

}  // namespace
}  // namespace potluck
