#include "worker/frames.h"

#include <gtest/gtest.h>

#include <limits>

namespace potluck {
namespace {

Frame SliceFrame() {
  Frame frame;
  frame.kind = FrameKind::kSlice;
  frame.lease = {3, std::numeric_limits<uint64_t>::max()};
  frame.interval = {uint64_t{1} << 40, (uint64_t{1} << 40) + 5};
  frame.number = 7;
  frame.seconds = 1.25;
  frame.text = "text";
  frame.bytes = std::string("\0\xff bytes", 8);
  return frame;
}

TEST(FramesTest, EveryFieldComesBack) {
  FrameDecoder decoder;
  decoder.Append(EncodeFrame(SliceFrame()));
  const absl::StatusOr<std::optional<Frame>> frame = decoder.Next();
  ASSERT_TRUE(frame.ok()) << frame.status();
  EXPECT_EQ(**frame, SliceFrame());
  EXPECT_FALSE(decoder.Next()->has_value());
}

TEST(FramesTest, FramesAreCutHoweverTheBytesArrive) {
  Frame empty;
  empty.kind = FrameKind::kCancel;
  const std::string stream = EncodeFrame(SliceFrame()) + EncodeFrame(empty) + EncodeFrame(SliceFrame());
  for (size_t step = 1; step <= stream.size(); ++step) {
    FrameDecoder decoder;
    std::vector<Frame> frames;
    for (size_t at = 0; at < stream.size(); at += step) {
      decoder.Append(std::string_view(stream).substr(at, step));
      while (true) {
        absl::StatusOr<std::optional<Frame>> frame = decoder.Next();
        ASSERT_TRUE(frame.ok()) << frame.status();
        if (!frame->has_value()) break;
        frames.push_back(**frame);
      }
    }
    EXPECT_EQ(frames, (std::vector<Frame>{SliceFrame(), empty, SliceFrame()})) << step;
  }
}

TEST(FramesTest, TheLayoutOfVersion1IsFixed) {
  Frame frame;
  frame.kind = FrameKind::kRun;
  frame.lease = {1, 2};
  frame.interval = {3, 4};
  frame.number = 5;
  frame.text = "t";
  frame.bytes = "b";
  const auto number = [](char low) { return std::string(1, low) + std::string(7, '\0'); };
  EXPECT_EQ(EncodeFrame(frame), std::string("\x37\0\0\0\x11", 5) + number(1) + number(2) + number(3) + number(4) +
                                    number(5) + number(0) + std::string("\1\0\0\0tb", 6));
}

std::string ErrorOf(const std::string& bytes) {
  FrameDecoder decoder;
  decoder.Append(bytes);
  return std::string(decoder.Next().status().message());
}

TEST(FramesTest, AFrameThatIsTooLongIsRefusedByItsLength) {
  EXPECT_EQ(ErrorOf(std::string("\x01\x00\x80\x00", 4)), "A frame has 8388609 bytes; allowed: 53 to 8388608.");
  EXPECT_EQ(ErrorOf(std::string("\x34\x00\x00\x00", 4)), "A frame has 52 bytes; allowed: 53 to 8388608.");
}

TEST(FramesTest, FieldsThatCannotBeAreRefused) {
  Frame frame = SliceFrame();
  frame.kind = static_cast<FrameKind>(15);
  EXPECT_EQ(ErrorOf(EncodeFrame(frame)), "A frame of kind 15 is not known.");
  frame = SliceFrame();
  frame.interval = {5, 4};
  EXPECT_EQ(ErrorOf(EncodeFrame(frame)), "A frame has the interval [5, 4), whose end is before its begin.");
  frame = SliceFrame();
  frame.seconds = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(ErrorOf(EncodeFrame(frame)), "A frame has nan seconds; allowed: 0 or more.");
  std::string bytes = EncodeFrame(SliceFrame());
  bytes[4 + 1 + 48] = 13;
  EXPECT_EQ(ErrorOf(bytes), "A frame says that its text has 13 bytes; there are 12.");
}

TEST(FramesTest, TheLargestPayloadFitsIntoAFrame) {
  Frame frame;
  frame.kind = FrameKind::kSlice;
  frame.bytes.assign(kMaxFramePayload, 'x');
  FrameDecoder decoder;
  decoder.Append(EncodeFrame(frame));
  const absl::StatusOr<std::optional<Frame>> decoded = decoder.Next();
  ASSERT_TRUE(decoded.ok()) << decoded.status();
  EXPECT_EQ(**decoded, frame);
}

}  // namespace
}  // namespace potluck
