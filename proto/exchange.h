// One Exchange between worker and coordinator as plain values: result, heartbeat, request for work and cancel at once.
//
// proto/workers.proto has the same on the wire and proto/exchange_codec.h translates; scheduler, core and lease book
// know only these.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "kernels/workload/interval.h"
#include "proto/ids.h"

namespace potluck {

struct DeviceInfo {
  std::string kind;  // "cpu", "cuda"
  std::string name;
  uint32_t threads = 0;
  uint64_t memory_bytes = 0;
  std::string numerics_class;
  std::string self_test;                          // Empty when passed, else the sentence.
  std::vector<std::string> implementations = {};  // Code paths that a lease may name, the default first.
};

// A lease as its worker sees it. `rest` starts at the first index whose result the worker has neither reported nor
// sends along.
struct HeldLease {
  LeaseId lease;
  RoundKey round;
  uint32_t slot = 0;
  Interval rest;
  // The lowest end that it was asked to shrink to and has dealt with (rest.end may be higher: what it is computing).
  uint64_t shrunk_to = std::numeric_limits<uint64_t>::max();
};

// Of rounds' bulk data and large results, since the worker was started.
struct LinkUse {
  uint64_t bytes_received = 0;
  double seconds_receiving = 0;
  uint64_t bytes_sent = 0;
  double seconds_sending = 0;
};

struct WorkerReport {
  std::vector<HeldLease> held;
  std::vector<uint32_t> free_capacity;  // By slot: how many more leases it can queue.
  bool draining = false;                // Wants no more work.
  LinkUse link;
};

struct Grant {
  LeaseId lease;
  RoundKey round;
  uint32_t slot = 0;
  Interval interval;
  std::string implementation = {};  // One of its device's; empty: the default.
};

struct Shrink {
  LeaseId lease;
  uint64_t end = 0;
};

struct Orders {
  std::vector<Grant> granted;
  std::vector<Shrink> shrunk;  // Give back all from `end` on that is not being computed yet, and report what you keep.
  std::vector<LeaseId> revoked;  // Drop it.
  bool empty() const { return granted.empty() && shrunk.empty() && revoked.empty(); }
};

struct ReportedSlice {
  RoundKey round;
  Interval interval;
  LeaseId lease;
  uint32_t slot = 0;
  double busy_seconds = 0;
  std::string payload;
  std::string digest;  // SHA-256 of the payload, 32 bytes; empty if what the worker sent was not.
  // The payload is (to be) handed over by PutResult: on the wire it is named by its digest only.
  bool is_put = false;
};

struct ExchangeRequest {
  SessionId session{};
  uint64_t seq = 0;
  std::vector<ReportedSlice> slices;
  WorkerReport report;
  std::vector<RoundKey> known_rounds;
  bool no_wait = false;  // Answer at once, even with nothing to say.
};

enum class SliceVerdict {
  kCommitted,     // Counted.
  kRepeat,        // Was counted already.
  kDisagreement,  // Somebody else's result for the same interval differs; recorded.
  kOverlap,       // Parts of it are counted already: not counted.
  kClosed,        // Its round is not open any more.
  kInvalid,       // Not a possible result.
  kNotHere,       // Its payload is to be handed over (again), and the slice to be reported again.
};

struct SliceAnswer {
  SliceVerdict verdict = SliceVerdict::kCommitted;
  std::string message;  // For kInvalid: what is wrong.
};

struct RoundInfo {
  RoundKey key;
  std::string workload;
  std::string payload;
  std::vector<std::string> blobs = {};  // Digests of what the job reads.
  std::vector<std::string> bulk = {};   // Digests of what this round reads besides (Round::bulk), in its order.
};

struct ExchangeReply {
  uint64_t seq = 0;
  std::vector<SliceAnswer> answers;  // One a reported slice, in order.
  Orders orders;
  std::vector<RoundInfo> rounds;  // Of granted leases, as far as the worker does not know them.
  bool drain = false;
  absl::Duration call_within;  // The next Exchange is due after this.
};

}  // namespace potluck
