// Turns facts into rows, inside the caller's transaction. The rules are rules.h's.
//
// Errors stick in the database (database.h); the verdict given then means nothing. Not thread-safe.
#pragma once

#include <optional>

#include "coordinator/store/database.h"
#include "coordinator/store/facts.h"
#include "coordinator/store/session_rows.h"
#include "coordinator/store/store.h"
#include "proto/ids.h"

namespace potluck {

class FactWriter {
 public:
  explicit FactWriter(Database& database);

  // To be called at the start of each transaction.
  void Forget() { round_.reset(); }

  Verdict Write(const Fact& fact);

  // Removes up to `limit` slices of deleted jobs. True if there may be more to remove.
  bool Purge(int limit);

 private:
  // What a slice is checked against, kept while slices of one round follow each other.
  struct RoundState {
    RoundKey key;
    uint64_t size = 0;
    bool ended = false;
  };
  struct LiveRow {
    Interval interval;
    int64_t seq = 0;
  };

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

  bool JobExists(JobId job) { return find_job_.With(job).First(); }
  bool JobEndedAlready(JobId job) { return find_end_.With(job).First(); }
  const RoundState* FindRound(RoundKey key);
  // The live slice with the greatest begin below `end`.
  std::optional<LiveRow> LastBelow(RoundKey key, uint64_t end);
  // The live slice with exactly these bounds.
  std::optional<LiveRow> Exactly(RoundKey key, Interval interval);
  bool IsQuarantined(WorkerId worker);
  void InsertSlice(const SliceCommitted& fact);

  std::optional<RoundState> round_;
  SessionRows sessions_;
  Query find_job_, find_request_, last_job_, insert_job_, raise_last_job_, insert_settings_;
  Query find_end_, insert_end_, delete_job_, delete_settings_, delete_end_, delete_rounds_, delete_blobs_,
      delete_states_;
  Query insert_purge_, next_purge_, end_purge_;
  Query find_round_, last_round_, insert_round_;
  Query last_live_, find_digest_, insert_commit_, insert_live_, delete_live_, insert_retraction_, insert_disagreement_;
  Query insert_verification_, find_quarantine_, insert_quarantine_;
  Query find_worker_, save_worker_, last_description_, insert_description_, find_token_, insert_token_,
      insert_revocation_, insert_blob_;
  Query last_state_, remove_state_, insert_state_, drop_old_states_;
  Query purge_live_commits_, purge_live_, purge_retracted_commits_, purge_retractions_, purge_disagreements_,
      purge_verifications_;
};

}  // namespace potluck
