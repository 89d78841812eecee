#include "cli/output.h"

#include <gtest/gtest.h>

namespace potluck {
namespace {

TEST(OutputTest, DigitsAreGroupedByThree) {
  EXPECT_EQ(WithSeparators("0"), "0");
  EXPECT_EQ(WithSeparators("724"), "724");
  EXPECT_EQ(WithSeparators("2680"), "2,680");
  EXPECT_EQ(WithSeparators("14772512"), "14,772,512");
  EXPECT_EQ(WithSeparators("234907967154122528"), "234,907,967,154,122,528");
}

TEST(OutputTest, RatesHaveThreeDigitsAndAPrefix) {
  EXPECT_EQ(Metric(0), "0");
  EXPECT_EQ(Metric(-1), "0");
  EXPECT_EQ(Metric(0.5), "0.50");
  EXPECT_EQ(Metric(9.996), "10.0");
  EXPECT_EQ(Metric(12.34), "12.3");
  EXPECT_EQ(Metric(999.7), "1.00 k");
  EXPECT_EQ(Metric(1.9e8), "190 M");
  EXPECT_EQ(Metric(1.234e9), "1.23 G");
}

TEST(OutputTest, TimesGetCoarserAsTheyGrow) {
  EXPECT_EQ(TimeText(absl::Milliseconds(420)), "0.42 s");
  EXPECT_EQ(TimeText(absl::Seconds(12.34)), "12.3 s");
  EXPECT_EQ(TimeText(absl::Seconds(59.99)), "1 min");
  EXPECT_EQ(TimeText(absl::Seconds(200)), "3 min 20 s");
  EXPECT_EQ(TimeText(absl::Minutes(125)), "2 h 05 min");
  EXPECT_EQ(TimeText(absl::Hours(76)), "3 d 04 h");
  EXPECT_EQ(TimeText(absl::InfiniteDuration()), "for ever");
  EXPECT_EQ(TimeText(-absl::Seconds(1)), "0.00 s");
}

TEST(OutputTest, OnlyWhatIsDoneIsAHundredPercent) {
  EXPECT_EQ(Percent(0), "0.0 %");
  EXPECT_EQ(Percent(0.4212), "42.1 %");
  EXPECT_EQ(Percent(0.99999), "99.9 %");
  EXPECT_EQ(Percent(1), "100.0 %");
}

TEST(OutputTest, ControlCharactersAreReplaced) {
  EXPECT_EQ(Printable("my worker"), "my worker");
  EXPECT_EQ(Printable("a\x1b[31mb\n\tc\x7f"), "a?[31mb??c?");
  EXPECT_EQ(Printable("Jürgen 工"), "Jürgen 工");
  EXPECT_EQ(Printable("\xc2\x9b"
                      "31m"),
            "??31m");  // A C1 control.
  EXPECT_EQ(Printable("\xe2\x80\xae"
                      "x"),
            "???x");                       // Right-to-left override.
  EXPECT_EQ(Printable("\xff\xc3"), "??");  // No UTF-8.
  EXPECT_EQ(Printable("\xc0\xaf"), "??");  // Overlong.
}

TEST(OutputTest, TablesAlignTheirColumns) {
  EXPECT_EQ(Table({{"worker", "share"}, {"ü", "9 %"}, {"local-1", "91 %"}}, {1}),
            "worker   share\n"
            "ü          9 %\n"
            "local-1   91 %\n");
  EXPECT_EQ(Table({{"a", "b"}, {"long", ""}}), "a     b\nlong\n");
}

TEST(OutputTest, DatesAreInUniversalTime) {
  EXPECT_EQ(DateText(0), "never");
  EXPECT_EQ(DateText(1772366400000), "2026-03-01 12:00:00 UTC");
}

}  // namespace
}  // namespace potluck
