#include "coordinator/store/fact_writer.h"

#include "coordinator/store/rules.h"
#include "coordinator/store/schema.h"

namespace potluck {

FactWriter::FactWriter(Database& db)
    : sessions_(db),
      find_job_(db, "SELECT 1 FROM jobs WHERE job = ?"),
      find_request_(db, "SELECT 1 FROM jobs WHERE request_id = ?"),
      last_job_(db, "SELECT value FROM meta WHERE key = 'last_job'"),
      insert_job_(db, "INSERT INTO jobs VALUES (?,?,?,?,?,?,?,?,?,?)"),
      raise_last_job_(db, "UPDATE meta SET value = ? WHERE key = 'last_job'"),
      insert_settings_(db, "INSERT INTO job_settings VALUES (NULL,?,?,?,?,?)"),
      find_end_(db, "SELECT outcome, result, message FROM job_ends WHERE job = ?"),
      insert_end_(db, "INSERT INTO job_ends VALUES (?,?,?,?,?,?)"),
      delete_job_(db, "DELETE FROM jobs WHERE job = ?"),
      delete_settings_(db, "DELETE FROM job_settings WHERE job = ?"),
      delete_end_(db, "DELETE FROM job_ends WHERE job = ?"),
      delete_rounds_(db, "DELETE FROM rounds WHERE job = ?"),
      delete_blobs_(db, "DELETE FROM blobs WHERE job = ?"),
      delete_states_(db, "DELETE FROM states WHERE job = ?"),
      insert_purge_(db, "INSERT INTO purges VALUES (?)"),
      next_purge_(db, "SELECT job FROM purges LIMIT 1"),
      end_purge_(db, "DELETE FROM purges WHERE job = ?"),
      find_round_(db,
                  "SELECT size, (SELECT 1 FROM job_ends e WHERE e.job = r.job) FROM rounds r"
                  " WHERE job = ? AND round = ?"),
      last_round_(db,
                  "SELECT round, size, durability, planner_state FROM rounds WHERE job = ? AND round >= ?"
                  " ORDER BY round LIMIT 1"),
      insert_round_(db, "INSERT INTO rounds VALUES (NULL,?,?,?,?,?,?)"),
      last_live_(db,
                 "SELECT begin, \"end\", seq FROM live WHERE job = ? AND round = ? AND begin < ?"
                 " ORDER BY begin DESC LIMIT 1"),
      find_digest_(db, "SELECT digest FROM commits WHERE seq = ?"),
      insert_commit_(db, "INSERT INTO commits VALUES (NULL,?,?,?,?,?,?,?,?,?,?)"),
      insert_live_(db, "INSERT INTO live VALUES (?,?,?,?,last_insert_rowid())"),
      delete_live_(db, "DELETE FROM live WHERE job = ? AND round = ? AND begin = ?"),
      insert_retraction_(db, "INSERT INTO retractions VALUES (?,?,?,?)"),
      insert_disagreement_(db, "INSERT OR IGNORE INTO disagreements VALUES (NULL,?,?,?,?,?,?,?)"),
      insert_verification_(db, "INSERT OR IGNORE INTO verifications VALUES (?,?,?,?,?,?)"),
      find_quarantine_(db, "SELECT quarantined FROM quarantines WHERE worker = ? ORDER BY seq DESC LIMIT 1"),
      insert_quarantine_(db, "INSERT INTO quarantines VALUES (NULL,?,?,?,?)"),
      find_worker_(db, "SELECT worker, installation, name FROM workers WHERE worker = ? OR installation = ?"),
      save_worker_(db,
                   "INSERT INTO workers VALUES (NULL,?,?,?,?)"
                   " ON CONFLICT(worker) DO UPDATE SET name = excluded.name, at = excluded.at"),
      last_description_(db,
                        "SELECT name, version, platform, devices FROM worker_descriptions WHERE worker = ? ORDER BY "
                        "seq DESC LIMIT 1"),
      insert_description_(db, "INSERT INTO worker_descriptions VALUES (NULL,?,?,?,?,?,?)"),
      find_token_(db, "SELECT token, hash FROM tokens WHERE token = ? OR hash = ?"),
      insert_token_(db, "INSERT INTO tokens VALUES (NULL,?,?,?,?,?,?)"),
      insert_revocation_(db, "INSERT OR IGNORE INTO token_revocations VALUES (?,?)"),
      insert_blob_(db, "INSERT OR IGNORE INTO blobs VALUES (NULL,?,?)"),
      last_state_(db, "SELECT round, digest FROM states WHERE job = ? ORDER BY seq DESC LIMIT 1"),
      remove_state_(db, "DELETE FROM states WHERE job = ? AND round = ? AND digest = ?"),
      insert_state_(db, "INSERT INTO states VALUES (NULL,?,?,?,?,?)"),
      drop_old_states_(db,
                       "DELETE FROM states WHERE job = ?1 AND seq NOT IN"
                       " (SELECT seq FROM states WHERE job = ?1 ORDER BY seq DESC LIMIT ?2)"),
      purge_live_commits_(
          db, "DELETE FROM commits WHERE seq IN (SELECT seq FROM live WHERE job = ? ORDER BY round, begin LIMIT ?)"),
      purge_live_(db,
                  "DELETE FROM live WHERE (job, round, begin) IN"
                  " (SELECT job, round, begin FROM live WHERE job = ? ORDER BY round, begin LIMIT ?)"),
      purge_retracted_commits_(db,
                               "DELETE FROM commits WHERE seq IN"
                               " (SELECT commit_seq FROM retractions WHERE job = ? ORDER BY commit_seq LIMIT ?)"),
      purge_retractions_(db,
                         "DELETE FROM retractions WHERE commit_seq IN"
                         " (SELECT commit_seq FROM retractions WHERE job = ? ORDER BY commit_seq LIMIT ?)"),
      purge_disagreements_(
          db, "DELETE FROM disagreements WHERE seq IN (SELECT seq FROM disagreements WHERE job = ? LIMIT ?)"),
      purge_verifications_(db,
                           "DELETE FROM verifications WHERE commit_seq IN"
                           " (SELECT commit_seq FROM verifications WHERE job = ? LIMIT ?)") {}

Verdict FactWriter::Write(const Fact& fact) {
  const bool slice = std::holds_alternative<SliceCommitted>(fact) || std::holds_alternative<SliceRetracted>(fact) ||
                     std::holds_alternative<SliceVerified>(fact);
  if (!slice) round_.reset();
  return std::visit([this](const auto& f) { return Apply(f); }, fact);
}

Verdict FactWriter::Apply(const JobSubmitted& fact) {
  if (find_request_.With(fact.request_id).First()) return Verdict::kRepeat;
  if (last_job_.With().First() && last_job_.As<JobId>(0) >= fact.job) return Verdict::kDisagreement;
  insert_job_
      .With(fact.job, fact.request_id, Text{fact.workload}, Text{fact.name}, fact.spec, Text{fact.submitted_by},
            fact.priority, fact.weight, fact.at, fact.verify)
      .Run();
  last_job_.Reset();
  raise_last_job_.With(fact.job).Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const JobSettings& fact) {
  if (!JobExists(fact.job) || JobEndedAlready(fact.job)) return Verdict::kUnknown;
  insert_settings_.With(fact.job, fact.paused, fact.priority, fact.weight, fact.at).Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const JobEnded& fact) {
  if (!JobExists(fact.job)) return Verdict::kUnknown;
  if (JobEndedAlready(fact.job)) {
    const bool equal = find_end_.As<JobOutcome>(0) == fact.outcome && find_end_.Bytes(1) == fact.result &&
                       find_end_.Bytes(2) == fact.message;
    return equal ? Verdict::kRepeat : Verdict::kDisagreement;
  }
  insert_end_.With(fact.job, fact.outcome, fact.result, Text{fact.message}, Text{fact.contributions}, fact.at).Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const JobDeleted& fact) {
  if (!JobExists(fact.job)) return Verdict::kUnknown;
  find_job_.Reset();
  for (Query* query : {&delete_job_, &delete_settings_, &delete_end_, &delete_rounds_, &delete_blobs_, &delete_states_,
                       &insert_purge_}) {
    query->With(fact.job).Run();
  }
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const RoundOpened& fact) {
  if (!JobExists(fact.key.job)) return Verdict::kUnknown;
  if (last_round_.With(fact.key.job, fact.key.round).First()) {
    const bool equal = last_round_.As<uint32_t>(0) == fact.key.round && last_round_.As<uint64_t>(1) == fact.size &&
                       last_round_.As<Durability>(2) == fact.durability && last_round_.Bytes(3) == fact.planner_state;
    return equal ? Verdict::kRepeat : Verdict::kDisagreement;
  }
  if (JobEndedAlready(fact.key.job)) return Verdict::kUnknown;
  insert_round_.With(fact.key.job, fact.key.round, fact.size, fact.durability, fact.planner_state, fact.at).Run();
  return Verdict::kStored;
}

const FactWriter::RoundState* FactWriter::FindRound(RoundKey key) {
  if (round_.has_value() && round_->key == key) return &*round_;
  round_.reset();
  if (!find_round_.With(key.job, key.round).First()) return nullptr;
  round_ = RoundState{key, find_round_.As<uint64_t>(0), find_round_.Integer(1) != 0};
  return &*round_;
}

std::optional<FactWriter::LiveRow> FactWriter::LastBelow(RoundKey key, uint64_t end) {
  if (!last_live_.With(key.job, key.round, end).First()) return std::nullopt;
  const LiveRow row{{last_live_.As<uint64_t>(0), last_live_.As<uint64_t>(1)}, last_live_.Integer(2)};
  // An open cursor would make SQLite keep its position through the insertion that follows.
  last_live_.Reset();
  return row;
}

std::optional<FactWriter::LiveRow> FactWriter::Exactly(RoundKey key, Interval interval) {
  if (interval.empty() || interval.end > kMaxStoredNumber) return std::nullopt;
  const std::optional<LiveRow> last = LastBelow(key, interval.end);
  return last.has_value() && last->interval == interval ? last : std::nullopt;
}

Verdict FactWriter::Apply(const SliceCommitted& fact) {
  const RoundState* round = FindRound(fact.key);
  if (round == nullptr || fact.interval.empty() || fact.interval.end > round->size) return Verdict::kUnknown;
  const std::optional<LiveRow> last = LastBelow(fact.key, fact.interval.end);
  switch (FitOf(fact.interval, last.has_value() ? std::optional(last->interval) : std::nullopt)) {
    case Fit::kOverlap:
      return Verdict::kOverlap;
    case Fit::kSameBounds:
      if (!find_digest_.With(last->seq).First()) return Verdict::kUnknown;
      return find_digest_.Bytes(0) == fact.digest ? Verdict::kRepeat : Verdict::kDisagreement;
    case Fit::kDisjoint:
      break;
  }
  if (round->ended) return Verdict::kUnknown;
  InsertSlice(fact);
  return Verdict::kStored;
}

void FactWriter::InsertSlice(const SliceCommitted& fact) {
  insert_commit_
      .With(fact.key.job, fact.key.round, fact.interval.begin, fact.interval.end, fact.digest, fact.payload,
            fact.worker, fact.busy_seconds, fact.at, SliceChecksum(fact))
      .Run();
  insert_live_.With(fact.key.job, fact.key.round, fact.interval.begin, fact.interval.end).Run();
}

Verdict FactWriter::Apply(const SliceRetracted& fact) {
  const RoundState* round = FindRound(fact.key);
  if (round == nullptr || round->ended) return Verdict::kUnknown;
  const std::optional<LiveRow> row = Exactly(fact.key, fact.interval);
  if (!row.has_value()) return Verdict::kUnknown;
  delete_live_.With(fact.key.job, fact.key.round, fact.interval.begin).Run();
  insert_retraction_.With(row->seq, fact.key.job, Text{fact.reason}, fact.at).Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const SliceDisagreed& fact) {
  if (!JobExists(fact.key.job) || !Exactly(fact.key, fact.interval).has_value()) return Verdict::kUnknown;
  const int64_t added =
      insert_disagreement_
          .With(fact.key.job, fact.key.round, fact.interval.begin, fact.interval.end, fact.digest, fact.worker, fact.at)
          .Run();
  return added > 0 ? Verdict::kStored : Verdict::kRepeat;
}

Verdict FactWriter::Apply(const SliceVerified& fact) {
  const RoundState* round = FindRound(fact.key);
  if (round == nullptr || round->ended) return Verdict::kUnknown;
  const std::optional<LiveRow> row = Exactly(fact.key, fact.interval);
  if (!row.has_value() || !find_digest_.With(row->seq).First()) return Verdict::kUnknown;
  if (find_digest_.Bytes(0) != fact.digest) return Verdict::kUnknown;
  find_digest_.Reset();
  const int64_t added =
      insert_verification_.With(row->seq, fact.key.job, fact.first, fact.second, Text{fact.implementation}, fact.at)
          .Run();
  return added > 0 ? Verdict::kStored : Verdict::kRepeat;
}

bool FactWriter::IsQuarantined(WorkerId worker) {
  const bool quarantined = find_quarantine_.With(worker).First() && find_quarantine_.Integer(0) != 0;
  find_quarantine_.Reset();
  return quarantined;
}

Verdict FactWriter::Apply(const WorkerQuarantined& fact) {
  if (IsQuarantined(fact.worker)) return Verdict::kRepeat;
  insert_quarantine_.With(fact.worker, true, Text{fact.reason}, fact.at).Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const WorkerPardoned& fact) {
  static const std::string kNoReason;
  if (!IsQuarantined(fact.worker)) return Verdict::kUnknown;
  insert_quarantine_.With(fact.worker, false, Text{kNoReason}, fact.at).Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const WorkerSeen& fact) {
  bool renamed = true;
  for (find_worker_.With(fact.worker, Text{fact.installation}); find_worker_.Next();) {
    if (find_worker_.As<WorkerId>(0) != fact.worker || find_worker_.Bytes(1) != fact.installation) {
      return Verdict::kDisagreement;
    }
    renamed = find_worker_.Bytes(2) != fact.name;
  }
  if (!renamed) return Verdict::kRepeat;
  save_worker_.With(fact.worker, Text{fact.installation}, Text{fact.name}, fact.at).Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const WorkerDescribed& fact) {
  Query& last = last_description_;
  const bool repeated = last.With(fact.worker).First() && last.Bytes(0) == fact.name && last.Bytes(1) == fact.version &&
                        last.Bytes(2) == fact.platform && last.Bytes(3) == fact.devices;
  last.Reset();
  if (repeated) return Verdict::kRepeat;
  insert_description_
      .With(fact.worker, Text{fact.name}, Text{fact.version}, Text{fact.platform}, Text{fact.devices}, fact.at)
      .Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const TokenCreated& fact) {
  bool known = false;
  for (find_token_.With(fact.token, fact.hash); find_token_.Next(); known = true) {
    if (find_token_.As<TokenId>(0) != fact.token || find_token_.Bytes(1) != fact.hash) return Verdict::kDisagreement;
  }
  if (known) return Verdict::kRepeat;
  insert_token_.With(fact.token, fact.hash, Text{fact.name}, fact.role, fact.at, fact.expires).Run();
  return Verdict::kStored;
}

Verdict FactWriter::Apply(const TokenRevoked& fact) {
  static const std::string kNoHash;
  if (!find_token_.With(fact.token, kNoHash).First()) return Verdict::kUnknown;
  return insert_revocation_.With(fact.token, fact.at).Run() > 0 ? Verdict::kStored : Verdict::kRepeat;
}

Verdict FactWriter::Apply(const BlobNamed& fact) {
  if (!JobExists(fact.job)) return Verdict::kUnknown;
  return insert_blob_.With(fact.job, fact.digest).Run() > 0 ? Verdict::kStored : Verdict::kRepeat;
}

Verdict FactWriter::Apply(const StateSaved& fact) {
  const JobId job = fact.key.job;
  if (!JobExists(job)) return Verdict::kUnknown;
  const bool repeated = last_state_.With(job).First() && last_state_.As<uint32_t>(0) == fact.key.round &&
                        last_state_.Bytes(1) == fact.digest;
  last_state_.Reset();
  if (repeated) return Verdict::kRepeat;
  if (JobEndedAlready(job)) return Verdict::kUnknown;
  remove_state_.With(job, fact.key.round, fact.digest).Run();
  insert_state_.With(job, fact.key.round, fact.digest, Text{fact.contributions}, fact.at).Run();
  drop_old_states_.With(job, static_cast<uint64_t>(kKeptStates)).Run();
  return Verdict::kStored;
}

bool FactWriter::Purge(int limit) {
  if (!next_purge_.With().First()) return false;
  const JobId job = next_purge_.As<JobId>(0);
  next_purge_.Reset();
  int64_t removed = 0;
  // Rows are chosen by the entry that leads to them, which is therefore removed after them.
  purge_live_commits_.With(job, limit).Run();
  removed += purge_live_.With(job, limit).Run();
  purge_retracted_commits_.With(job, limit).Run();
  removed += purge_retractions_.With(job, limit).Run();
  removed += purge_disagreements_.With(job, limit).Run();
  removed += purge_verifications_.With(job, limit).Run();
  if (removed == 0) end_purge_.With(job).Run();
  return true;
}

}  // namespace potluck
