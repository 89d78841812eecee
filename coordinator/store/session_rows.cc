#include "coordinator/store/session_rows.h"

#include <algorithm>
#include <utility>

#include "coordinator/store/rules.h"

namespace potluck {
namespace {

// Columns in this order.
constexpr char kOpenSessions[] =
    "SELECT number, worker, token, name, place, began, gpu, devices, at FROM sessions WHERE closed_at IS NULL"
    " ORDER BY number";
constexpr char kSessionPage[] =
    "SELECT number, worker, token, name, place, began, gpu, devices, at, closed_at, ending FROM sessions"
    " WHERE number > ? AND (closed_at IS NULL OR closed_at >= ?) ORDER BY number LIMIT ?";

SessionOpened SessionOf(const Query& query) {
  SessionOpened session;
  session.number = query.As<uint64_t>(0);
  session.worker = query.As<WorkerId>(1);
  session.token = query.As<TokenId>(2);
  session.name = query.Bytes(3);
  session.place = query.Bytes(4);
  session.began = query.Time(5);
  session.gpu = query.As<GpuState>(6);
  session.devices = query.Bytes(7);
  session.at = query.Time(8);
  return session;
}

}  // namespace

SessionRows::SessionRows(Database& db)
    : find_(db, "SELECT worker, at, closed_at, ending FROM sessions WHERE number = ?"),
      insert_(db, "INSERT INTO sessions VALUES (?,?,?,?,?,?,?,?,?,NULL,NULL)"),
      drop_oldest_(db, "DELETE FROM sessions WHERE number <= ?"),
      close_(db, "UPDATE sessions SET closed_at = ?2, ending = ?3 WHERE number = ?1"),
      find_run_(db, "SELECT until FROM runs WHERE began = ?"),
      save_run_(db, "INSERT INTO runs VALUES (?,?) ON CONFLICT(began) DO UPDATE SET until = excluded.until"),
      drop_old_runs_(db,
                     "DELETE FROM runs WHERE began <= (SELECT began FROM runs ORDER BY began DESC LIMIT 1 OFFSET ?)"),
      forget_(db, "DELETE FROM sessions WHERE closed_at < ?"),
      forget_runs_(db, "DELETE FROM runs WHERE until < ?") {}

Verdict SessionRows::Apply(const SessionOpened& fact) {
  if (find_.With(fact.number).First()) {
    const bool is_equal = find_.As<WorkerId>(0) == fact.worker && find_.Integer(1) == absl::ToUnixNanos(fact.at);
    return is_equal ? Verdict::kRepeat : Verdict::kDisagreement;
  }
  insert_
      .With(fact.number, fact.worker, fact.token, Text{fact.name}, Text{fact.place}, fact.began, fact.gpu,
            Text{fact.devices}, fact.at)
      .Run();
  if (fact.number > kKeptSessions) drop_oldest_.With(fact.number - kKeptSessions).Run();
  return Verdict::kStored;
}

Verdict SessionRows::Apply(const SessionClosed& fact) {
  if (!find_.With(fact.number).First()) return Verdict::kUnknown;
  if (!find_.IsNull(2)) {
    const bool is_equal = find_.Integer(2) == absl::ToUnixNanos(fact.at) && find_.As<SessionEnd>(3) == fact.end;
    return is_equal ? Verdict::kRepeat : Verdict::kDisagreement;
  }
  find_.Reset();
  close_.With(fact.number, fact.at, fact.end).Run();
  return Verdict::kStored;
}

Verdict SessionRows::Apply(const CoordinatorRan& fact) {
  const bool is_known = find_run_.With(fact.began).First();
  const bool is_repeat = is_known && absl::ToUnixNanos(fact.until) <= find_run_.Integer(0);
  find_run_.Reset();
  if (is_repeat) return Verdict::kRepeat;
  save_run_.With(fact.began, fact.until).Run();
  if (!is_known) drop_old_runs_.With(kKeptRuns).Run();
  return Verdict::kStored;
}

Verdict SessionRows::Apply(const SessionsForgotten& fact) {
  const int64_t forgotten = forget_.With(fact.before).Run() + forget_runs_.With(fact.before).Run();
  return forgotten > 0 ? Verdict::kStored : Verdict::kRepeat;
}

void ReadOpenSessions(Database& db, StoreContents& contents) {
  Query open(db, kOpenSessions);
  for (open.With(); open.Next();) contents.open_sessions.push_back(SessionOf(open));
  contents.last_session = static_cast<uint64_t>(db.ReadInteger("SELECT coalesce(max(number), 0) FROM sessions"));
  Query runs(db, "SELECT max(until) FROM runs");
  if (runs.With().First() && !runs.IsNull(0)) contents.last_ran_until = runs.Time(0);
}

absl::StatusOr<std::vector<StoredSession>> ReadSessionPage(Database& db, const SessionPage& page) {
  std::vector<StoredSession> sessions;
  Query query(db, kSessionPage);
  for (query.With(std::min(page.after, kMaxStoredNumber), page.since, page.max_sessions); query.Next();) {
    StoredSession session{SessionOf(query), {}};
    if (!query.IsNull(9)) session.closed = {session.opened.number, query.As<SessionEnd>(10), query.Time(9)};
    sessions.push_back(std::move(session));
  }
  if (!db.status().ok()) return db.status();
  return sessions;
}

absl::StatusOr<std::vector<CoordinatorRan>> ReadRuns(Database& db, absl::Time since) {
  std::vector<CoordinatorRan> runs;
  Query query(db, "SELECT began, until FROM runs WHERE until >= ? ORDER BY began");
  for (query.With(since); query.Next();) runs.push_back({query.Time(0), query.Time(1)});
  if (!db.status().ok()) return db.status();
  return runs;
}

}  // namespace potluck
