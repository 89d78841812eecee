// The frames that a worker and an executor (the child process that drives one device) exchange over a stream socket.
//
// A frame is its length (4 bytes, of what follows), its kind (1 byte) and then the same fields for every kind, so that
// a runner in another language needs one pack and one unpack: lease (2 x 8 bytes), interval (2 x 8), number (8),
// seconds (8, IEEE double), length of text (4), text, bytes. All numbers are little-endian. What a kind does not
// mention is 0. Nothing here knows a workload: rounds and slices are bytes.
//
// The child speaks first: kHello, then kReady. The parent then has at most one run open at a time. Whoever meets a
// frame that it does not understand gives the conversation up; versions are compared before anything else.
// Value types and a decoder; none is thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "kernels/workload/interval.h"
#include "proto/ids.h"

namespace potluck {

inline constexpr uint64_t kExecutorProtocolVersion = 3;
// Of everything after the length. A round's payload is at most 1 MiB; slices beyond kMaxInlineSliceBytes go as files.
inline constexpr size_t kMaxFrameBytes = size_t{8} << 20;
// What `text` and `bytes` may have together.
inline constexpr size_t kMaxFramePayload = kMaxFrameBytes - 64;
// A result up to this size is in its kSlice; a larger one is in a file in the scratch folder, which the parent takes.
inline constexpr size_t kMaxInlineSliceBytes = size_t{256} << 10;

enum class FrameKind : uint8_t {
  // From the child.
  kHello = 1,    // number: its protocol version. The first frame.
  kReady = 2,    // text: why the self-test failed, empty when it passed; seconds: how long it took; bytes: what the
                 // device's numerics class has besides what the worker knows of it, may be empty.
  kSlice = 3,    // lease, interval, seconds: the device's time, bytes: the partial result; or bytes empty and text: the
                 // path of a file with it, which is the parent's from then on.
  kShrunk = 4,   // lease, number: the end asked for, interval.end: the end that holds. Before the run's kRunOver.
  kRunOver = 5,  // lease; text: why it failed, empty when it reached its end or obeyed a cancel.
  kError = 6,    // text: why the child gives up. The last frame.
  kNeed = 7,     // lease: the run's, bytes: digests of blobs, 32 bytes each, at most kMaxFramePayload in all. number 0:
                 // one, which the run waits for, answered by kBlob; 1: wanted soon, in this order, not answered.
  // From the parent. kShrink, kCancel and kBlob of a run that is over are ignored.
  kOpen = 16,  // text: workload, bytes: the round's payload, then the digests of its bulk data, 32 bytes each; number:
               // how many. Replaces the open round; a failure fails the next run.
  kRun = 17,   // lease, interval, text: the implementation to compute by, empty: the device's default.
  kShrink = 18,  // lease, number: the new end.
  kCancel = 19,  // lease. What the run waits for will not come.
  kBlob = 20,    // lease, bytes: the digest; number 0: text is the path of a file with the blob, there until another
                 // round is opened; 1: text says why it cannot be had.
};

struct Frame {
  FrameKind kind{};
  LeaseId lease = {};
  Interval interval = {};
  uint64_t number = 0;
  double seconds = 0;
  std::string text = {};
  std::string bytes = {};

  friend bool operator==(const Frame&, const Frame&) = default;
};

// The bytes of a frame whose text and bytes have at most kMaxFramePayload bytes together.
std::string EncodeFrame(const Frame& frame);

// Cuts a stream of bytes into frames. Buffers at most one frame more than what one Append brought.
class FrameDecoder {
 public:
  void Append(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole frame, nullopt when there is none yet. After an error the stream is of no more use.
  absl::StatusOr<std::optional<Frame>> Next();

 private:
  std::string buffer_;
  size_t consumed_ = 0;
};

// Writes a frame to a blocking socket; fails when the other side is gone. Never raises SIGPIPE.
absl::Status WriteFrame(int fd, const Frame& frame);

}  // namespace potluck
