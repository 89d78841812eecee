// The rules that every store applies, whatever keeps its rows. Pure functions.
//
// What a store answers to each fact, besides the slices' verdicts of store.h:
//   JobSubmitted    kRepeat if the request id is known (the new id is then not used up); kDisagreement if the job id is
//                   not above the highest one ever given.
//   JobSettings     kUnknown without the job, or when it has ended. The latest counts.
//   JobEnded        kRepeat of an equal end, kDisagreement with another one.
//   JobDeleted      kUnknown without the job.
//   RoundOpened     kRepeat of an equal one (whatever the time), kDisagreement if a round of that number or a later one
//                   was opened, kUnknown without the job or when it has ended.
//   SliceCommitted  kUnknown if the interval is empty or beyond the round, or, unless it is a repeat, if the job ended.
//   SliceRetracted  kUnknown unless exactly this interval is committed, or when the job has ended.
//   SliceDisagreed  kUnknown unless exactly this interval is committed; kRepeat of an equal one.
//   SliceVerified   kUnknown unless exactly this interval is committed with this digest, or when the job has ended;
//                   kRepeat if it was verified before.
//   WorkerQuarantined  kRepeat if it is quarantined.
//   WorkerPardoned     kUnknown unless it is quarantined.
//   WorkerSeen      kRepeat if the name is the same; kDisagreement if the id or the installation belongs to another.
//   WorkerDescribed kRepeat if it is, but for the time, what the worker said last.
//   TokenCreated    kRepeat of the same id and hash; kDisagreement if either is taken otherwise.
//   TokenRevoked    kUnknown without the token; kRepeat if it was revoked.
//   BlobNamed       kUnknown without the job; kRepeat if the job named it before.
//   StateSaved      kUnknown without the job; kRepeat if it is, but for contributions and time, the job's newest; else
//                   kUnknown when the job has ended. Of more than two the oldest goes; an older one that is saved again
//                   becomes the newest.
//   SessionOpened   kRepeat of the same worker and time; kDisagreement if the number is taken otherwise. Those whose
//                   number is kKeptSessions below, or more, go.
//   SessionClosed   kUnknown without the session; kRepeat of an equal one; kDisagreement if it was closed otherwise.
//   CoordinatorRan  kRepeat unless it goes beyond what is known of the same beginning. Of more than kKeptRuns the
//                   oldest go.
//   SessionsForgotten  kRepeat if there was nothing to forget.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "coordinator/store/facts.h"
#include "kernels/workload/interval.h"
#include "proto/ids.h"

namespace potluck {

inline constexpr size_t kKeptStates = 2;  // Of a job.
inline constexpr uint64_t kKeptSessions = 100'000;
inline constexpr uint64_t kKeptRuns = 10'000;  // Of the coordinator.

// Indices, sizes of rounds and job ids end here: SQLite's integers are signed.
inline constexpr uint64_t kMaxStoredNumber = std::numeric_limits<int64_t>::max();

// How a slice lies among the committed ones, which are disjoint: only the one with the greatest begin below the slice's
// end can touch it, given as `last`.
enum class Fit { kDisjoint, kSameBounds, kOverlap };

inline Fit FitOf(Interval slice, const std::optional<Interval>& last) {
  if (!last.has_value() || last->end <= slice.begin) return Fit::kDisjoint;
  return *last == slice ? Fit::kSameBounds : Fit::kOverlap;
}

// InvalidArgument if a number is beyond what stores keep.
inline absl::Status CheckNumbers(const std::vector<Fact>& facts) {
  for (const Fact& fact : facts) {
    if (const auto* job = std::get_if<JobSubmitted>(&fact)) {
      const uint64_t id = static_cast<uint64_t>(job->job);
      if (id >= 1 && id <= kMaxStoredNumber) continue;
      return absl::InvalidArgumentError(absl::StrCat("job id ", id, " is outside 1 to 2^63-1"));
    }
    if (const auto* round = std::get_if<RoundOpened>(&fact)) {
      if (round->size <= kMaxStoredNumber) continue;
      return absl::InvalidArgumentError(absl::StrCat("round ", round->key.round, " of job ", ToString(round->key.job),
                                                     " has ", round->size, " indices; at most 2^63-1 can be stored"));
    }
  }
  return absl::OkStatus();
}

inline absl::Status StaleEpoch(Epoch given, Epoch stored) {
  return absl::AbortedError(absl::StrCat("this coordinator's epoch ", static_cast<uint64_t>(given), " is over: epoch ",
                                         static_cast<uint64_t>(stored), " owns the state now; stop this coordinator"));
}

}  // namespace potluck
