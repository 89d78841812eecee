// The rows of sessions and of the coordinator's runs in SQLite. The rules are rules.h's; errors stick in the database
// (database.h). Not thread-safe.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "coordinator/store/database.h"
#include "coordinator/store/facts.h"
#include "coordinator/store/store.h"

namespace potluck {

// Writes, inside the caller's transaction.
class SessionRows {
 public:
  explicit SessionRows(Database& database);

  Verdict Apply(const SessionOpened& fact);
  Verdict Apply(const SessionClosed& fact);
  Verdict Apply(const CoordinatorRan& fact);
  Verdict Apply(const SessionsForgotten& fact);

 private:
  Query find_, insert_, drop_oldest_, close_;
  Query find_run_, save_run_, drop_old_runs_;
  Query forget_, forget_runs_;
};

// What StoreContents tells of them, in the caller's transaction.
void ReadOpenSessions(Database& database, StoreContents& contents);

// As Store::ReadSessions and Store::ReadRuns.
absl::StatusOr<std::vector<StoredSession>> ReadSessionPage(Database& database, const SessionPage& page);
absl::StatusOr<std::vector<CoordinatorRan>> ReadRuns(Database& database, absl::Time since);

}  // namespace potluck
