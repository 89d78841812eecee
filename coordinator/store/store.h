// Keeps facts durably and in order. The only thing of the coordinator that survives a crash.
//
// Thread-safe. Appending is asynchronous: calls made while one transaction is being written share the next one (group
// commit). A failed append changes nothing. Nothing is read on the hot path: Load and the ForEach functions serve the
// start and the rare cases in which a round is looked at anew, ReadPage those who want to see a job's slices.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/store/facts.h"
#include "proto/ids.h"

namespace potluck {

// What became of one fact.
enum class Verdict {
  kStored,        // New, and durable now.
  kRepeat,        // A SliceCommitted with the bounds and digest of a committed slice: nothing to do.
  kDisagreement,  // ... with the bounds of a committed slice and another digest: not stored.
  kOverlap,       // A SliceCommitted that overlaps committed slices otherwise: not stored.
  kUnknown,       // It speaks of a job, round or slice that the store does not have: not stored.
};

// All that is stored but slices, in the order in which it happened.
struct StoredJob {
  JobSubmitted submitted;
  JobSettings settings;
  std::vector<RoundOpened> rounds;  // Ascending; the last one is open unless `ended`.
  bool has_ended = false;
  JobEnded ended;
  uint64_t disagreements = 0;           // SliceDisagreed facts.
  std::vector<StateSaved> states = {};  // The newest last; at most two.
};

struct StoreContents {
  std::vector<StoredJob> jobs;
  std::vector<WorkerSeen> workers;
  std::vector<WorkerDescribed> worker_descriptions;  // Each worker's in the order in which they were stored.
  std::vector<WorkerQuarantined> quarantined;        // Without the pardoned ones.
  std::vector<TokenCreated> tokens;                  // Without the revoked ones.
  std::vector<TokenCreated> revoked_tokens;
  std::vector<BlobNamed> blobs;
  JobId last_job{};                                  // Highest JobId ever given, deleted ones included.
  std::vector<SessionOpened> open_sessions;          // Of the sessions only those that were not closed.
  uint64_t last_session = 0;                         // Highest number of a session that is kept.
  absl::Time last_ran_until = absl::InfinitePast();  // When the coordinator was last known to run.
};

// A slice that counts, and what is known of it besides.
struct StoredSlice {
  SliceCommitted slice;
  WorkerId verified_by{};  // The second worker that came to the same result; 0: none did.
};

// Which slices of a job to read: those from (round, begin) on, at most so many and, after the first, so many bytes of
// payload.
struct SlicePage {
  JobId job{};
  uint32_t round = 0;
  uint64_t begin = 0;
  size_t max_slices = 0;
  size_t max_bytes = 0;
};

struct StoredSession {
  SessionOpened opened;
  std::optional<SessionClosed> closed;
};

// Which sessions to read: those above a number that were not closed before `since`, at most so many.
struct SessionPage {
  uint64_t after = 0;
  absl::Time since = absl::InfinitePast();
  size_t max_sessions = 0;
};

class Store {
 public:
  // `status` is not ok when the whole append failed (Aborted: the epoch is stale, another coordinator owns the state
  // now; ResourceExhausted: the disk is full; Internal: the database failed), and then nothing was stored and
  // `verdicts` is empty; else it holds one verdict a fact. Called once, from the store's own thread or from Append.
  using Done = std::function<void(const absl::Status& status, const std::vector<Verdict>& verdicts)>;

  virtual ~Store() = default;

  // The epoch that opening this store raised, durably.
  virtual Epoch epoch() const = 0;

  // Stores facts, all about one job (or about none), in order. A SliceCommitted is stored if and only if it is disjoint
  // from every committed, not retracted slice of its round: that is checked inside the transaction.
  virtual void Append(Epoch epoch, std::vector<Fact> facts, Done done) = 0;

  virtual absl::StatusOr<StoreContents> Load() = 0;

  // Calls `visit` for each committed, not retracted slice of the round, by ascending interval.
  virtual absl::Status ForEachSlice(RoundKey key, const std::function<void(const SliceCommitted&)>& visit) = 0;

  // The slices of the page that are committed and not retracted, ascending by round and interval; none when there are
  // no more, or no such job. Holds nothing once it has returned: who reads a long job page by page delays neither
  // commits nor the truncation of the log.
  virtual absl::StatusOr<std::vector<StoredSlice>> ReadPage(const SlicePage& page) = 0;

  // Calls `visit` for each committed, not retracted slice of the round that was verified, by ascending interval.
  virtual absl::Status ForEachVerification(RoundKey key, const std::function<void(const SliceVerified&)>& visit) = 0;

  // The sessions of the page, ascending by number; none when there are no more.
  virtual absl::StatusOr<std::vector<StoredSession>> ReadSessions(const SessionPage& page) = 0;

  // When the coordinator ran, ascending; what ended before `since` is left out.
  virtual absl::StatusOr<std::vector<CoordinatorRan>> ReadRuns(absl::Time since) = 0;

  // Writes a consistent copy to a new file while the store goes on; refuses to overwrite.
  virtual absl::Status BackUp(const std::string& file) = 0;

  // Bytes on disk (0 in memory).
  virtual uint64_t SizeBytes() = 0;
};

}  // namespace potluck
