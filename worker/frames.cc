#include "worker/frames.h"

#include <sys/socket.h>

#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"

namespace potluck {
namespace {

constexpr size_t kLengthBytes = 4;
constexpr size_t kHeaderBytes = 1 + 6 * 8 + 4;  // Kind, six numbers, length of text.

void PutNumber(uint64_t value, size_t size, std::string& out) {
  for (size_t i = 0; i < size; ++i) out.push_back(static_cast<char>(value >> (8 * i)));
}

// Takes a number off the front of `in`, which has that many bytes.
uint64_t TakeNumber(size_t size, std::string_view& in) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) value |= uint64_t{static_cast<uint8_t>(in[i])} << (8 * i);
  in.remove_prefix(size);
  return value;
}

bool IsKnown(uint8_t kind) {
  return (kind >= static_cast<uint8_t>(FrameKind::kHello) && kind <= static_cast<uint8_t>(FrameKind::kNeed)) ||
         (kind >= static_cast<uint8_t>(FrameKind::kOpen) && kind <= static_cast<uint8_t>(FrameKind::kBlob));
}

absl::StatusOr<Frame> DecodeBody(std::string_view body) {
  Frame frame;
  const auto kind = static_cast<uint8_t>(TakeNumber(1, body));
  if (!IsKnown(kind)) return absl::InvalidArgumentError(absl::StrCat("A frame of kind ", kind, " is not known."));
  frame.kind = static_cast<FrameKind>(kind);
  frame.lease.epoch = TakeNumber(8, body);
  frame.lease.counter = TakeNumber(8, body);
  frame.interval.begin = TakeNumber(8, body);
  frame.interval.end = TakeNumber(8, body);
  frame.number = TakeNumber(8, body);
  frame.seconds = std::bit_cast<double>(TakeNumber(8, body));
  const size_t text_size = TakeNumber(4, body);
  if (text_size > body.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("A frame says that its text has ", text_size, " bytes; there are ", body.size(), "."));
  }
  if (frame.interval.end < frame.interval.begin) {
    return absl::InvalidArgumentError(
        absl::StrCat("A frame has the interval ", ToString(frame.interval), ", whose end is before its begin."));
  }
  if (!std::isfinite(frame.seconds) || frame.seconds < 0) {
    return absl::InvalidArgumentError(absl::StrCat("A frame has ", frame.seconds, " seconds; allowed: 0 or more."));
  }
  frame.text = body.substr(0, text_size);
  frame.bytes = body.substr(text_size);
  return frame;
}

}  // namespace

std::string EncodeFrame(const Frame& frame) {
  const size_t size = kHeaderBytes + frame.text.size() + frame.bytes.size();
  std::string out;
  out.reserve(kLengthBytes + size);
  PutNumber(size, kLengthBytes, out);
  PutNumber(static_cast<uint64_t>(frame.kind), 1, out);
  PutNumber(frame.lease.epoch, 8, out);
  PutNumber(frame.lease.counter, 8, out);
  PutNumber(frame.interval.begin, 8, out);
  PutNumber(frame.interval.end, 8, out);
  PutNumber(frame.number, 8, out);
  PutNumber(std::bit_cast<uint64_t>(frame.seconds), 8, out);
  PutNumber(frame.text.size(), 4, out);
  out.append(frame.text);
  out.append(frame.bytes);
  return out;
}

absl::StatusOr<std::optional<Frame>> FrameDecoder::Next() {
  std::string_view rest = std::string_view(buffer_).substr(consumed_);
  if (rest.size() >= kLengthBytes) {
    const size_t size = TakeNumber(kLengthBytes, rest);
    // Before it is complete: a stream that is not ours must not make the buffer grow.
    if (size < kHeaderBytes || size > kMaxFrameBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat("A frame has ", size, " bytes; allowed: ", kHeaderBytes, " to ", kMaxFrameBytes, "."));
    }
    if (rest.size() >= size) {
      absl::StatusOr<Frame> frame = DecodeBody(rest.substr(0, size));
      if (!frame.ok()) return frame.status();
      consumed_ += kLengthBytes + size;
      return std::optional<Frame>(*std::move(frame));
    }
  }
  buffer_.erase(0, consumed_);
  consumed_ = 0;
  return std::nullopt;
}

absl::Status WriteFrame(int fd, const Frame& frame) {
  const std::string bytes = EncodeFrame(frame);
  std::string_view rest = bytes;
  while (!rest.empty()) {
    const ssize_t sent = send(fd, rest.data(), rest.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) return absl::UnavailableError(absl::StrCat("A frame cannot be written: ", std::strerror(errno), "."));
    rest.remove_prefix(static_cast<size_t>(sent));
  }
  return absl::OkStatus();
}

}  // namespace potluck
