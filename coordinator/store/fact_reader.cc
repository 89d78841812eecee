#include "coordinator/store/fact_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "coordinator/store/rules.h"
#include "coordinator/store/schema.h"
#include "coordinator/store/session_rows.h"

namespace potluck {
namespace {

void ReadSettings(Database& db, StoredJob& job) {
  const JobSubmitted& submitted = job.submitted;
  job.settings = {submitted.job, false, submitted.priority, submitted.weight, submitted.at};
  Query query(db, "SELECT paused, priority, weight, at FROM job_settings WHERE job = ? ORDER BY seq DESC LIMIT 1");
  if (!query.With(submitted.job).First()) return;
  job.settings = {submitted.job, query.Integer(0) != 0, query.As<int32_t>(1), query.Real(2), query.Time(3)};
}

void ReadRounds(Database& db, StoredJob& job) {
  Query query(db, "SELECT round, size, durability, planner_state, at FROM rounds WHERE job = ? ORDER BY round");
  for (query.With(job.submitted.job); query.Next();) {
    job.rounds.push_back({{job.submitted.job, query.As<uint32_t>(0)},
                          query.As<uint64_t>(1),
                          query.As<Durability>(2),
                          query.Bytes(3),
                          query.Time(4)});
  }
}

void ReadEnd(Database& db, StoredJob& job) {
  Query query(db, "SELECT outcome, result, message, at, contributions FROM job_ends WHERE job = ?");
  if (!query.With(job.submitted.job).First()) return;
  job.has_ended = true;
  job.ended = {job.submitted.job, query.As<JobOutcome>(0), query.Bytes(1),
               query.Bytes(2),    query.Bytes(4),          query.Time(3)};
}

void ReadStates(Database& db, StoredJob& job) {
  Query query(db, "SELECT round, digest, contributions, at FROM states WHERE job = ? ORDER BY seq");
  for (query.With(job.submitted.job); query.Next();) {
    job.states.push_back({{job.submitted.job, query.As<uint32_t>(0)}, query.Bytes(1), query.Bytes(2), query.Time(3)});
  }
}

void ReadJobs(Database& db, StoreContents& contents) {
  Query query(db,
              "SELECT job, request_id, workload, name, spec, submitted_by, priority, weight, at, verify FROM jobs "
              "ORDER BY job");
  for (query.With(); query.Next();) {
    StoredJob job;
    job.submitted = {query.As<JobId>(0), query.Bytes(1),       query.Bytes(2), query.Bytes(3), query.Bytes(4),
                     query.Bytes(5),     query.As<int32_t>(6), query.Real(7),  query.Time(8),  query.Real(9)};
    ReadSettings(db, job);
    ReadRounds(db, job);
    ReadEnd(db, job);
    ReadStates(db, job);
    Query disagreements(db, "SELECT count(*) FROM disagreements WHERE job = ?");
    if (disagreements.With(job.submitted.job).First()) job.disagreements = disagreements.As<uint64_t>(0);
    contents.jobs.push_back(std::move(job));
  }
}

void ReadTokens(Database& db, StoreContents& contents) {
  Query query(db,
              "SELECT t.token, hash, name, role, t.at, expires, r.token FROM tokens t"
              " LEFT JOIN token_revocations r ON r.token = t.token ORDER BY seq");
  for (query.With(); query.Next();) {
    const TokenCreated token{query.As<TokenId>(0), query.Bytes(1), query.Bytes(2),
                             query.As<Role>(3),    query.Time(4),  query.Time(5)};
    (query.IsNull(6) ? contents.tokens : contents.revoked_tokens).push_back(token);
  }
}

// Columns from the first on: begin, end, digest, payload, worker, busy, at.
SliceCommitted SliceOf(RoundKey key, const Query& query) {
  SliceCommitted slice;
  slice.key = key;
  slice.interval = {query.As<uint64_t>(0), query.As<uint64_t>(1)};
  slice.digest = query.Bytes(2);
  slice.payload = query.Bytes(3);
  slice.worker = query.As<WorkerId>(4);
  slice.busy_seconds = query.Real(5);
  slice.at = query.Time(6);
  return slice;
}

absl::Status ChangedSlice(const Database& db, const SliceCommitted& slice) {
  return DamagedDatabase(db.file(), absl::StrCat("slice ", ToString(slice.interval), " of round ", slice.key.round,
                                                 " of job ", ToString(slice.key.job), " has changed"));
}

}  // namespace

absl::StatusOr<StoreContents> ReadContents(Database& db) {
  StoreContents contents;
  db.BeginReading();
  ReadJobs(db, contents);
  Query workers(db, "SELECT worker, installation, name, at FROM workers ORDER BY seq");
  for (workers.With(); workers.Next();) {
    contents.workers.push_back({workers.As<WorkerId>(0), workers.Bytes(1), workers.Bytes(2), workers.Time(3)});
  }
  Query descriptions(db, "SELECT worker, name, version, platform, devices, at FROM worker_descriptions ORDER BY seq");
  for (descriptions.With(); descriptions.Next();) {
    contents.worker_descriptions.push_back({descriptions.As<WorkerId>(0), descriptions.Bytes(1), descriptions.Bytes(2),
                                            descriptions.Bytes(3), descriptions.Bytes(4), descriptions.Time(5)});
  }
  Query quarantines(db,
                    "SELECT worker, reason, at FROM quarantines q WHERE quarantined"
                    " AND seq = (SELECT max(seq) FROM quarantines l WHERE l.worker = q.worker) ORDER BY seq");
  for (quarantines.With(); quarantines.Next();) {
    contents.quarantined.push_back({quarantines.As<WorkerId>(0), quarantines.Bytes(1), quarantines.Time(2)});
  }
  ReadTokens(db, contents);
  Query blobs(db, "SELECT job, digest FROM blobs ORDER BY seq");
  for (blobs.With(); blobs.Next();) contents.blobs.push_back({blobs.As<JobId>(0), blobs.Bytes(1)});
  ReadOpenSessions(db, contents);
  contents.last_job = JobId{static_cast<uint64_t>(db.ReadInteger("SELECT value FROM meta WHERE key = 'last_job'"))};
  db.Commit();
  if (!db.status().ok()) return db.status();
  return contents;
}

absl::Status ReadSlices(Database& db, RoundKey key, const std::function<void(const SliceCommitted&)>& visit) {
  // The round is looked up too: the slices of a deleted job may not have been purged yet.
  Query query(db,
              "SELECT l.begin, l.\"end\", digest, payload, worker, busy, at, checksum FROM live l"
              " LEFT JOIN commits c ON c.seq = l.seq WHERE l.job = ?1 AND l.round = ?2"
              " AND EXISTS (SELECT 1 FROM rounds r WHERE r.job = ?1 AND r.round = ?2) ORDER BY l.begin");
  for (query.With(key.job, key.round); query.Next();) {
    const SliceCommitted slice = SliceOf(key, query);
    if (SliceChecksum(slice) != query.As<uint64_t>(7)) return ChangedSlice(db, slice);
    visit(slice);
  }
  return db.status();
}

absl::StatusOr<std::vector<StoredSlice>> ReadSlicePage(Database& db, const SlicePage& page) {
  std::vector<StoredSlice> slices;
  if (page.begin > kMaxStoredNumber) return slices;  // Beyond every slice; SQLite would take it for a negative number.
  size_t bytes = 0;
  Query query(db,
              "SELECT l.begin, l.\"end\", digest, payload, worker, busy, c.at, checksum, l.round,"
              " coalesce(v.second, 0) FROM live l LEFT JOIN commits c ON c.seq = l.seq"
              " LEFT JOIN verifications v ON v.commit_seq = l.seq WHERE l.job = ?1 AND (l.round, l.begin) >= (?2, ?3)"
              " AND EXISTS (SELECT 1 FROM jobs j WHERE j.job = ?1) ORDER BY l.round, l.begin LIMIT ?4");
  for (query.With(page.job, page.round, page.begin, page.max_slices); query.Next();) {
    SliceCommitted slice = SliceOf({page.job, query.As<uint32_t>(8)}, query);
    if (SliceChecksum(slice) != query.As<uint64_t>(7)) return ChangedSlice(db, slice);
    bytes += slice.payload.size();
    if (!slices.empty() && bytes > page.max_bytes) break;
    slices.push_back({std::move(slice), query.As<WorkerId>(9)});
  }
  if (!db.status().ok()) return db.status();
  return slices;
}

absl::Status ReadVerifications(Database& db, RoundKey key, const std::function<void(const SliceVerified&)>& visit) {
  Query query(db,
              "SELECT l.begin, l.\"end\", c.digest, v.first, v.second, v.implementation, v.at FROM verifications v"
              " JOIN commits c ON c.seq = v.commit_seq"
              " JOIN live l ON l.job = c.job AND l.round = c.round AND l.begin = c.begin AND l.seq = c.seq"
              " WHERE v.job = ?1 AND c.round = ?2"
              " AND EXISTS (SELECT 1 FROM rounds r WHERE r.job = ?1 AND r.round = ?2) ORDER BY l.begin");
  for (query.With(key.job, key.round); query.Next();) {
    SliceVerified verified;
    verified.key = key;
    verified.interval = {query.As<uint64_t>(0), query.As<uint64_t>(1)};
    verified.digest = query.Bytes(2);
    verified.first = query.As<WorkerId>(3);
    verified.second = query.As<WorkerId>(4);
    verified.implementation = query.Bytes(5);
    verified.at = query.Time(6);
    visit(verified);
  }
  return db.status();
}

}  // namespace potluck
