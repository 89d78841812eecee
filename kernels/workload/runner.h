// The worker's side of a workload: computes intervals of a round on one device.
//
// A Runner takes bytes and intervals; it knows nothing of sockets, leases or protobuf. It lives in an executor (a child
// process a device), so that a hung or crashed one takes nothing else down.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "kernels/workload/interval.h"
#include "kernels/workload/run_control.h"
#include "kernels/workload/status.h"

namespace potluck {

// Called for each finished slice: consecutive, disjoint, ascending. `busy_seconds` is the time that the device spent on
// it.
using SliceSink = std::function<void(Interval interval, std::string_view payload, double busy_seconds)>;

struct RunOptions {
  double slice_seconds = 2.0;  // Aim for slices of at most about this length.
};

// Where a runner gets what is too large for a round's payload. Outlives the runner. Thread-safe.
class BlobSource {
 public:
  virtual ~BlobSource() = default;
  // The path of a file with the blob's bytes, verified against its digest. The file may go once another round is
  // opened: open or map it at once. Blocks while the blob is fetched; fails when that fails or the run is cancelled.
  virtual Result<std::string> Fetch(const std::string& digest) = 0;
  // These will be wanted soon, in this order. Returns at once.
  virtual void Prefetch(std::span<const std::string> digests) = 0;
  // The digest of these bytes as a blob.
  virtual std::string DigestOf(std::string_view bytes) const = 0;
};

// What opens a round.
struct RoundInput {
  RoundInput(std::string_view round_payload) : payload(round_payload) {}    // NOLINT(google-explicit-constructor)
  RoundInput(const std::string& round_payload) : payload(round_payload) {}  // NOLINT(google-explicit-constructor)
  RoundInput(const char* round_payload) : payload(round_payload) {}         // NOLINT(google-explicit-constructor)
  RoundInput(std::string_view round_payload, std::span<const std::string> bulk_digests, BlobSource* source)
      : payload(round_payload), bulk(bulk_digests), blobs(source) {}

  std::string_view payload;           // Round::payload.
  std::span<const std::string> bulk;  // The digests of Round::bulk, in its order.
  BlobSource* blobs = nullptr;        // Null only for workloads that have none.
};

// One device, one workload. Not thread-safe, except that a RunControl may be used from other threads during Run.
class Runner {
 public:
  virtual ~Runner() = default;
  // Computes something with a known answer and compares. Takes at most about a second.
  virtual Status SelfTest() = 0;
  // Prepares for a round. Replaces the round that was open. What `round` refers to may be gone afterwards.
  virtual Status Open(const RoundInput& round) = 0;
  // Computes `interval` of the open round, reporting slices, until its (possibly shrunk) end or until cancelled.
  virtual Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) = 0;
};

}  // namespace potluck
