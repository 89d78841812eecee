// The tables of DIR/potluck.db, and opening the file with every check that can be made before work is entrusted to it.
//
// Versions (PRAGMA user_version): changes are additive only. A build of version N reads every version up to N and
// migrates it, in one transaction, when it opens the file; a newer file is refused with a sentence.
//   1  the first
//   2  verification: jobs.verify, `verifications`, `quarantines` (the latest row of a worker counts); what workers said
//      of themselves: `worker_descriptions`
//   3  volatile rounds: `states`, the newest two of a job
//   4  who was at the table and when the coordinator ran: `sessions`, `runs`
//
// Indices, round sizes and job ids are signed 64-bit integers, at most 2^63-1; larger numbers live inside payloads.
// Worker and token ids keep all their 64 bits, as signed numbers. Times are nanoseconds since 1970.
//
// `commits` holds slices as they were reported, for ever; `retractions` takes one back. `live` is derived: for each
// slice that counts, its bounds; it is what the overlap check reads. Deleting a job takes its few rows at once and
// leaves its slices to be purged little by little (`purges`), so that other jobs do not wait.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "coordinator/store/database.h"
#include "coordinator/store/facts.h"
#include "proto/ids.h"

namespace potluck {

inline constexpr int kSchemaVersion = 4;

// "DIR/potluck.db".
std::string DatabaseFile(const std::string& directory);

// Opens the directory's database for writing, creating it if there is none. Creation is atomic: a file that is there
// but incomplete is a damaged one, and is never replaced.
absl::StatusOr<std::unique_ptr<Database>> OpenDatabase(const std::string& directory, bool check_integrity);

// Makes this coordinator the owner of the state, durably.
absl::StatusOr<Epoch> RaiseEpoch(Database& database);

// A number over all of a slice that is merged, kept in its row: SQLite's own checks do not see a changed value.
uint64_t SliceChecksum(const SliceCommitted& slice);

}  // namespace potluck
