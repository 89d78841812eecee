#include "coordinator/store/schema.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <initializer_list>

#include "absl/strings/str_cat.h"
#include "coordinator/store/files.h"

namespace potluck {
namespace {

constexpr int64_t kApplicationId = 0x50744c6b;  // "PtLk"

constexpr uint64_t kSmallestDatabase = 512;  // One page of the least size; SQLite's format, section 1.3.2.

constexpr char kTables[] = R"sql(
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO meta VALUES ('epoch', 0), ('last_job', 0);
CREATE TABLE jobs(job INTEGER PRIMARY KEY, request_id BLOB NOT NULL UNIQUE, workload TEXT, name TEXT, spec BLOB,
  submitted_by TEXT, priority INTEGER, weight REAL, at INTEGER);
CREATE TABLE job_settings(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, paused INTEGER, priority INTEGER, weight REAL,
  at INTEGER);
CREATE INDEX job_settings_by_job ON job_settings(job);
CREATE TABLE job_ends(job INTEGER PRIMARY KEY, outcome INTEGER, result BLOB, message TEXT, contributions TEXT, at INTEGER);
CREATE TABLE rounds(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, round INTEGER NOT NULL, size INTEGER NOT NULL,
  durability INTEGER, planner_state BLOB, at INTEGER, UNIQUE(job, round));
CREATE TABLE commits(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, round INTEGER NOT NULL, begin INTEGER NOT NULL,
  "end" INTEGER NOT NULL, digest BLOB NOT NULL, payload BLOB NOT NULL, worker INTEGER, busy REAL, at INTEGER,
  checksum INTEGER);
CREATE TABLE live(job INTEGER NOT NULL, round INTEGER NOT NULL, begin INTEGER NOT NULL, "end" INTEGER NOT NULL,
  seq INTEGER NOT NULL, PRIMARY KEY(job, round, begin)) WITHOUT ROWID;
CREATE TABLE retractions(commit_seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, reason TEXT, at INTEGER);
CREATE INDEX retractions_by_job ON retractions(job);
CREATE TABLE disagreements(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, round INTEGER NOT NULL,
  begin INTEGER NOT NULL, "end" INTEGER NOT NULL, digest BLOB NOT NULL, worker INTEGER NOT NULL, at INTEGER,
  UNIQUE(job, round, begin, "end", digest, worker));
CREATE TABLE workers(seq INTEGER PRIMARY KEY, worker INTEGER NOT NULL UNIQUE, installation TEXT NOT NULL UNIQUE,
  name TEXT, at INTEGER);
CREATE TABLE tokens(seq INTEGER PRIMARY KEY, token INTEGER NOT NULL UNIQUE, hash BLOB NOT NULL UNIQUE, name TEXT,
  role INTEGER, at INTEGER, expires INTEGER);
CREATE TABLE token_revocations(token INTEGER PRIMARY KEY, at INTEGER);
CREATE TABLE blobs(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, digest BLOB NOT NULL, UNIQUE(job, digest));
CREATE TABLE purges(job INTEGER PRIMARY KEY);
)sql";

// What version 2 adds: what workers said of themselves ...
constexpr char kWorkerDescriptions[] = R"sql(
CREATE TABLE worker_descriptions(seq INTEGER PRIMARY KEY, worker INTEGER NOT NULL, name TEXT, version TEXT,
  platform TEXT, devices TEXT, at INTEGER);
CREATE INDEX worker_descriptions_by_worker ON worker_descriptions(worker);
)sql";

// ... and verification.
constexpr char kVerification[] = R"sql(
ALTER TABLE jobs ADD COLUMN verify REAL NOT NULL DEFAULT 0;
CREATE TABLE verifications(commit_seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, first INTEGER NOT NULL,
  second INTEGER NOT NULL, implementation TEXT, at INTEGER);
CREATE INDEX verifications_by_job ON verifications(job);
CREATE TABLE quarantines(seq INTEGER PRIMARY KEY, worker INTEGER NOT NULL, quarantined INTEGER NOT NULL, reason TEXT,
  at INTEGER);
CREATE INDEX quarantines_by_worker ON quarantines(worker);
)sql";

// What version 3 adds: saved states of jobs whose rounds are volatile.
constexpr char kStates[] = R"sql(
CREATE TABLE states(seq INTEGER PRIMARY KEY, job INTEGER NOT NULL, round INTEGER NOT NULL,
  digest BLOB NOT NULL, contributions TEXT, at INTEGER);
CREATE INDEX states_by_job ON states(job);
)sql";

// What version 4 adds: who was at the table, and when the coordinator ran.
constexpr char kSessions[] = R"sql(
CREATE TABLE sessions(number INTEGER PRIMARY KEY, worker INTEGER NOT NULL, token INTEGER, name TEXT, place TEXT,
  began INTEGER, gpu INTEGER, devices TEXT, at INTEGER NOT NULL, closed_at INTEGER, ending INTEGER);
CREATE INDEX open_sessions ON sessions(number) WHERE closed_at IS NULL;
CREATE TABLE runs(began INTEGER PRIMARY KEY, until INTEGER NOT NULL);
)sql";

// Takes the tables from `version` to this build's, inside the caller's transaction.
void Upgrade(Database& db, int64_t version) {
  if (version < 2) {
    db.Execute(kWorkerDescriptions);
    db.Execute(kVerification);
  }
  if (version < 3) db.Execute(kStates);
  if (version < 4) db.Execute(kSessions);
  db.Execute(absl::StrCat("PRAGMA user_version = ", kSchemaVersion).c_str());
}

// Builds the file under another name and renames it when it is complete and on the disk.
absl::Status CreateDatabase(const std::string& directory) {
  const std::string file = DatabaseFile(directory);
  const std::string building = absl::StrCat(file, ".new");
  for (const char* suffix : {"", "-journal", "-wal", "-shm"}) unlink(absl::StrCat(building, suffix).c_str());
  {
    const Descriptor created(open(building.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (created.get() < 0) return FileError("create", building, errno);
  }
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(building, Database::Mode::kReadWrite);
  if (!database.ok()) return database.status();
  Database& db = **database;
  db.Execute("PRAGMA auto_vacuum = INCREMENTAL");
  db.Begin();
  db.Execute(kTables);
  db.Execute(absl::StrCat("PRAGMA application_id = ", kApplicationId).c_str());
  Upgrade(db, 1);
  db.Commit();
  if (!db.status().ok()) return db.status();
  database->reset();
  if (absl::Status status = SyncFile(building); !status.ok()) return status;
  if (std::rename(building.c_str(), file.c_str()) != 0) return FileError("create", file, errno);
  return SyncDirectory(directory);
}

absl::Status CheckVersion(Database& db) {
  const int64_t application = db.ReadInteger("PRAGMA application_id");
  const int64_t version = db.ReadInteger("PRAGMA user_version");
  if (!db.status().ok()) return db.status();
  if (application != kApplicationId || version < 1) {
    return absl::FailedPreconditionError(
        absl::StrCat(db.file(), " is another program's database; choose another --state"));
  }
  if (version > kSchemaVersion) {
    return absl::FailedPreconditionError(absl::StrCat(db.file(), " has format version ", version,
                                                      ", this build reads up to version ", kSchemaVersion,
                                                      "; use a newer potluck or another --state"));
  }
  return absl::OkStatus();
}

// A file of an older version becomes one of this build's, or stays as it is.
absl::Status Migrate(Database& db) {
  const int64_t version = db.ReadInteger("PRAGMA user_version");
  if (!db.status().ok() || version == kSchemaVersion) return db.status();
  db.Begin();
  Upgrade(db, version);
  db.Commit();
  const absl::Status status = db.status();
  if (!status.ok()) db.Rollback();
  return status;
}

absl::Status CheckIntegrity(Database& db) {
  const std::string found = db.ReadText("PRAGMA quick_check(1)");
  if (!db.status().ok()) return db.status();
  if (found != "ok") return DamagedDatabase(db.file(), found);
  const int64_t live = db.ReadInteger("SELECT count(*) FROM live");
  const int64_t retracted = db.ReadInteger("SELECT count(*) FROM retractions");
  const int64_t committed = db.ReadInteger("SELECT count(*) FROM commits");
  if (!db.status().ok()) return db.status();
  if (live + retracted == committed) return absl::OkStatus();
  return DamagedDatabase(
      db.file(), absl::StrCat(committed, " slices committed, but ", live, " counted and ", retracted, " retracted"));
}

absl::Status Configure(Database& db) {
  const std::string mode = db.ReadText("PRAGMA journal_mode = WAL");
  if (db.status().ok() && mode != "wal") {
    return absl::FailedPreconditionError(absl::StrCat(db.file(), " is on a file system without shared memory (mode ",
                                                      mode, "); choose a --state on a local disk"));
  }
  db.Execute("PRAGMA synchronous = FULL");
  db.ReadInteger("PRAGMA wal_autocheckpoint = 4000");
  db.ReadInteger("PRAGMA journal_size_limit = 67108864");
  db.Execute("PRAGMA cache_size = -65536");
  return db.status();
}

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

uint64_t Mix(uint64_t seed, const std::string& bytes) {
  uint64_t sum = Mix(seed + bytes.size());
  for (size_t i = 0; i < bytes.size(); i += sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min(sizeof(word), bytes.size() - i));
    sum = Mix(sum ^ word) + 0x9e3779b97f4a7c15;
  }
  return sum;
}

}  // namespace

std::string DatabaseFile(const std::string& directory) { return absl::StrCat(directory, "/potluck.db"); }

absl::StatusOr<std::unique_ptr<Database>> OpenDatabase(const std::string& directory, bool check_integrity) {
  const std::string file = DatabaseFile(directory);
  if (!FileExists(file)) {
    // SQLite would delete the log, and with it the facts that are only there.
    if (FileSize(absl::StrCat(file, "-wal")) > 0)
      return DamagedDatabase(file, "it is missing, but its -wal file is there");
    if (absl::Status status = CreateDatabase(directory); !status.ok()) return status;
  } else if (const uint64_t size = FileSize(file); size < kSmallestDatabase) {
    // SQLite would take it for a new one.
    return DamagedDatabase(file, absl::StrCat("it has only ", size, " bytes"));
  }
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(file, Database::Mode::kReadWrite);
  if (!database.ok()) return database.status();
  Database& db = **database;
  if (absl::Status status = CheckVersion(db); !status.ok()) return status;
  if (absl::Status status = Configure(db); !status.ok()) return status;
  if (check_integrity) {
    if (absl::Status status = CheckIntegrity(db); !status.ok()) return status;
  }
  if (absl::Status status = Migrate(db); !status.ok()) return status;
  return database;
}

absl::StatusOr<Epoch> RaiseEpoch(Database& db) {
  db.Begin();
  db.Execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'");
  const Epoch epoch{static_cast<uint64_t>(db.ReadInteger("SELECT value FROM meta WHERE key = 'epoch'"))};
  db.Commit();
  if (!db.status().ok()) return db.status();
  if (epoch == Epoch{}) return DamagedDatabase(db.file(), "it has no epoch");
  return epoch;
}

uint64_t SliceChecksum(const SliceCommitted& slice) {
  uint64_t sum = Mix(static_cast<uint64_t>(slice.key.job));
  sum = Mix(sum ^ slice.key.round);
  sum = Mix(sum ^ slice.interval.begin) + 1;
  sum = Mix(sum ^ slice.interval.end);
  sum = Mix(sum, slice.digest);
  return Mix(sum, slice.payload);
}

}  // namespace potluck
