// Keeps facts in memory: for tests, and for a job that needs no server. The rules are those of the durable store.
//
// Thread-safe. Append commits at once and calls `done` before it returns, with no lock held: `done` may call Append.
// The hooks below let a test play a slow disk, a failing one, and a crash that loses what was not yet acknowledged.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "coordinator/store/memory_sessions.h"
#include "coordinator/store/pending_append.h"
#include "coordinator/store/store.h"

namespace potluck {

// The rows behind MemoryStore. Not thread-safe.
class MemoryFacts {
 public:
  Verdict Write(const Fact& fact);
  StoreContents Contents() const;
  void ForEachSlice(RoundKey key, const std::function<void(const SliceCommitted&)>& visit) const;
  std::vector<StoredSlice> ReadPage(const SlicePage& page) const;
  void ForEachVerification(RoundKey key, const std::function<void(const SliceVerified&)>& visit) const;
  const MemorySessions& sessions() const { return sessions_; }

 private:
  struct RoundRows {
    RoundOpened opened;
    std::map<uint64_t, SliceCommitted> live;     // By begin; disjoint.
    std::map<uint64_t, SliceVerified> verified;  // Of those.
  };
  struct JobRows {
    JobSubmitted submitted;
    JobSettings settings;
    std::map<uint32_t, RoundRows> rounds;
    std::optional<JobEnded> ended;
    std::vector<StateSaved> states = {};  // The newest last.
  };
  struct TokenRow {
    TokenCreated created;
    bool revoked = false;
  };
  using Disagreement = std::tuple<RoundKey, uint64_t, uint64_t, std::string, WorkerId>;

  Verdict Apply(const JobSubmitted& fact);
  Verdict Apply(const JobSettings& fact);
  Verdict Apply(const JobEnded& fact);
  Verdict Apply(const JobDeleted& fact);
  Verdict Apply(const RoundOpened& fact);
  Verdict Apply(const SliceCommitted& fact);
  Verdict Apply(const SliceRetracted& fact);
  Verdict Apply(const SliceDisagreed& fact);
  Verdict Apply(const SliceVerified& fact);
  Verdict Apply(const WorkerSeen& fact);
  Verdict Apply(const WorkerDescribed& fact);
  Verdict Apply(const WorkerQuarantined& fact);
  Verdict Apply(const WorkerPardoned& fact);
  Verdict Apply(const TokenCreated& fact);
  Verdict Apply(const TokenRevoked& fact);
  Verdict Apply(const BlobNamed& fact);
  Verdict Apply(const StateSaved& fact);
  template <typename SessionFact>
  Verdict Apply(const SessionFact& fact) {
    return sessions_.Apply(fact);
  }

  JobRows* FindJob(JobId job);
  RoundRows* FindRound(RoundKey key);
  const RoundRows* FindRound(RoundKey key) const;
  // The live slice with the greatest begin below `end`.
  static const SliceCommitted* LastBelow(const RoundRows& round, uint64_t end);
  static bool HasExactly(const RoundRows& round, Interval interval);

  std::map<JobId, JobRows> jobs_;
  JobId last_job_{};
  std::set<Disagreement> disagreements_;
  std::vector<WorkerSeen> workers_;
  std::vector<WorkerDescribed> descriptions_;
  std::vector<WorkerQuarantined> quarantined_;
  std::vector<TokenRow> tokens_;
  std::vector<BlobNamed> blobs_;
  MemorySessions sessions_;
};

class MemoryStore final : public Store {
 public:
  MemoryStore() = default;

  Epoch epoch() const override ABSL_LOCKS_EXCLUDED(mutex_);
  void Append(Epoch epoch, std::vector<Fact> facts, Done done) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<StoreContents> Load() override ABSL_LOCKS_EXCLUDED(mutex_);
  // Holds the lock: `visit` must not call the store.
  absl::Status ForEachSlice(RoundKey key, const std::function<void(const SliceCommitted&)>& visit) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<StoredSlice>> ReadPage(const SlicePage& page) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::Status ForEachVerification(RoundKey key, const std::function<void(const SliceVerified&)>& visit) override
      ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<StoredSession>> ReadSessions(const SessionPage& page) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<std::vector<CoordinatorRan>> ReadRuns(absl::Time since) override ABSL_LOCKS_EXCLUDED(mutex_);
  // FailedPrecondition: there is no file to copy.
  absl::Status BackUp(const std::string& file) override;
  uint64_t SizeBytes() override { return 0; }

  // What another coordinator does by opening the state: appends with the old epoch are refused from now on.
  Epoch RaiseEpoch() ABSL_LOCKS_EXCLUDED(mutex_);
  // From now on appends wait, uncommitted, until one of the next two is called.
  void HoldCommits() ABSL_LOCKS_EXCLUDED(mutex_);
  // Commits what waits, in order, and no longer holds.
  void ReleaseHeld() ABSL_LOCKS_EXCLUDED(mutex_);
  // A crash: what waits is gone, its `done` is never called, and the store no longer holds.
  void LoseHeld() ABSL_LOCKS_EXCLUDED(mutex_);
  // The next append to be committed fails with `status`, which is not ok.
  void FailNext(absl::Status status) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Commit(PendingAppend& append) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  mutable Mutex mutex_;
  Epoch epoch_ ABSL_GUARDED_BY(mutex_){1};
  bool holding_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status fail_next_ ABSL_GUARDED_BY(mutex_);
  std::deque<PendingAppend> held_ ABSL_GUARDED_BY(mutex_);
  MemoryFacts facts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
