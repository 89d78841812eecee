// What a coordinator must not forget. Facts are only ever added: a retraction is a fact of its own.
//
// Plain values; no protobuf. Times are wall-clock.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "absl/time/time.h"
#include "kernels/workload/interval.h"
#include "kernels/workload/planner.h"
#include "proto/ids.h"

namespace potluck {

struct JobSubmitted {
  JobId job{};
  std::string request_id;  // The client's own random id: a Submit sent twice makes one job. Unique.
  std::string workload;
  std::string name;
  std::string spec;          // Bytes of the workload's own.
  std::string submitted_by;  // Token name.
  int32_t priority = 0;
  double weight = 1;
  absl::Time at;
  double verify = 0;  // Which share of its slices is computed again by another worker, 0 to 1.
};

// Replaces the settings given before.
struct JobSettings {
  JobId job{};
  bool paused = false;
  int32_t priority = 0;
  double weight = 1;
  absl::Time at;
};

enum class JobOutcome { kDone = 1, kCancelled = 2, kFailed = 3 };

struct JobEnded {
  JobId job{};
  JobOutcome outcome = JobOutcome::kDone;
  std::string result;         // The planner's Summary.
  std::string message;        // For kFailed: one sentence.
  std::string contributions;  // Who did how much (core/jobs.h writes and reads it).
  absl::Time at;
};

// Takes the job and all that belongs to it out of the store.
struct JobDeleted {
  JobId job{};
};

struct RoundOpened {
  RoundKey key;
  uint64_t size = 0;
  Durability durability = Durability::kLedger;
  std::string planner_state;  // Planner::State() at the opening; empty for a volatile round.
  absl::Time at;
};

// One slice of a ledger round: counted exactly once.
struct SliceCommitted {
  RoundKey key;
  Interval interval;
  std::string digest;  // SHA-256 of the payload, 32 bytes.
  std::string payload;
  WorkerId worker{};
  double busy_seconds = 0;
  absl::Time at;
};

// The committed slice with exactly this interval no longer counts.
struct SliceRetracted {
  RoundKey key;
  Interval interval;
  std::string reason;
  absl::Time at;
};

// A worker reported a committed slice's bounds with another digest. Recorded; nothing else changes.
struct SliceDisagreed {
  RoundKey key;
  Interval interval;
  std::string digest;
  WorkerId worker{};
  absl::Time at;
};

// Another worker computed a committed slice again and found the same.
struct SliceVerified {
  RoundKey key;
  Interval interval;
  std::string digest;  // The slice's: another one with its bounds is not meant.
  WorkerId first{};    // Whose slice it is.
  WorkerId second{};
  std::string implementation;  // The code path by which the second one computed; empty: its default, not named.
  absl::Time at;
};

// A worker was found wrong: it may not join, until it is pardoned.
struct WorkerQuarantined {
  WorkerId worker{};
  std::string reason;  // One sentence.
  absl::Time at;
};

struct WorkerPardoned {
  WorkerId worker{};
  absl::Time at;
};

// A worker's name, first seen or changed.
struct WorkerSeen {
  WorkerId worker{};
  std::string installation;  // Unique.
  std::string name;
  absl::Time at;
};

// What a worker said of itself when it joined; stored when that is not what it said the time before. A slice was
// computed by what its worker last said before the slice's time.
struct WorkerDescribed {
  WorkerId worker{};
  std::string name;
  std::string version;   // Of its potluck.
  std::string platform;  // Operating system and processor.
  std::string devices;   // Their numerics classes, each once.
  absl::Time at;
};

enum class Role { kWorker = 1, kViewer = 2, kAdmin = 3 };

struct TokenCreated {
  TokenId token{};
  std::string hash;  // SHA-256 of the secret, 32 bytes; the secret itself is not kept here.
  std::string name;
  Role role = Role::kWorker;
  absl::Time at;
  absl::Time expires = absl::InfiniteFuture();
};

struct TokenRevoked {
  TokenId token{};
  absl::Time at;
};

// The job refers to a blob: it is kept until the last job that names it is deleted.
struct BlobNamed {
  JobId job{};
  std::string digest;  // Of the manifest, 32 bytes.
};

// The state of a job whose rounds are volatile, at the opening of `round`, is the blob `digest`. The newest two of a
// job are kept, of which the last one stored is the newest, and the blobs with them.
struct StateSaved {
  RoundKey key;
  std::string digest;         // 32 bytes.
  std::string contributions;  // As in JobEnded, by then.
  absl::Time at;
};

// Whether a worker at the table had a GPU.
enum class GpuState {
  kNotSought = 1,  // It uses the CPU by its owner's choice.
  kHas = 2,
  kRefused = 3,  // It looked for one, and there is none that it can use.
};

// A worker came to the table: it joined, or was heard again after it had been given up. What was known of it by then.
struct SessionOpened {
  uint64_t number = 0;  // Counts from 1 in a state directory. Not the SessionId, which is a secret of the worker's.
  WorkerId worker{};
  TokenId token{};
  std::string name;
  std::string place;  // What kind of platform: "colab" ... "machine"; empty: an older worker, which does not say.
  absl::Time began = absl::InfinitePast();  // When the platform's session began; InfinitePast: not known.
  GpuState gpu = GpuState::kNotSought;
  std::string devices;  // Their numerics classes, each once.
  absl::Time at;
};

enum class SessionEnd {
  kDrained = 1,      // It left.
  kLost = 2,         // It was silent for too long.
  kReplaced = 3,     // The same installation joined again before it was missed.
  kRevoked = 4,      // Its token was.
  kQuarantined = 5,  // It was found wrong.
  kStopped = 6,      // The coordinator was stopped.
  kAway = 7,         // The coordinator was killed or asleep: the worker stayed for nobody knows how long.
};

struct SessionClosed {
  uint64_t number = 0;
  SessionEnd end = SessionEnd::kLost;
  absl::Time at;  // When it was last known to be there.
};

// The coordinator ran from `began` to `until` without a break. Replaces the one of the same beginning.
struct CoordinatorRan {
  absl::Time began, until;
};

// Sessions that were closed before, and times when the coordinator ran that ended before, are of no use any more.
struct SessionsForgotten {
  absl::Time before;
};

using Fact = std::variant<JobSubmitted, JobSettings, JobEnded, JobDeleted, RoundOpened, SliceCommitted, SliceRetracted,
                          SliceDisagreed, SliceVerified, WorkerSeen, WorkerQuarantined, WorkerPardoned, TokenCreated,
                          TokenRevoked, BlobNamed, WorkerDescribed, StateSaved, SessionOpened, SessionClosed,
                          CoordinatorRan, SessionsForgotten>;

}  // namespace potluck
