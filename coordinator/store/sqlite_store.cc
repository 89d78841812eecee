#include "coordinator/store/sqlite_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "coordinator/store/backup.h"
#include "coordinator/store/fact_reader.h"
#include "coordinator/store/schema.h"
#include "coordinator/store/session_rows.h"

namespace potluck {
namespace {

// A transaction takes this many facts or bytes of payload and the append that exceeds it: more gains nothing and makes
// everybody wait longer for an answer.
constexpr size_t kFactsATransaction = 8192;
constexpr size_t kBytesATransaction = 32 << 20;

constexpr uint64_t kPageBytes = 4096;

size_t PayloadBytes(const PendingAppend& append) {
  size_t bytes = 0;
  for (const Fact& fact : append.facts) {
    if (const auto* slice = std::get_if<SliceCommitted>(&fact)) bytes += slice->payload.size();
  }
  return bytes;
}

bool DeletesJobs(const std::vector<PendingAppend>& batch) {
  return std::any_of(batch.begin(), batch.end(), [](const PendingAppend& append) {
    return std::any_of(append.facts.begin(), append.facts.end(),
                       [](const Fact& fact) { return std::holds_alternative<JobDeleted>(fact); });
  });
}

absl::Status LimitSize(Database& db, uint64_t max_bytes) {
  if (max_bytes == 0) return absl::OkStatus();
  db.ReadInteger(absl::StrCat("PRAGMA max_page_count = ", std::max<uint64_t>(1, max_bytes / kPageBytes)).c_str());
  return db.status();
}

}  // namespace

absl::StatusOr<std::unique_ptr<SqliteStore>> SqliteStore::Open(const std::string& directory,
                                                               const SqliteStoreOptions& options) {
  if (absl::Status status = MakeDirectory(directory); !status.ok()) return status;
  absl::StatusOr<DirectoryLock> lock = DirectoryLock::Take(directory);
  if (!lock.ok()) return lock.status();
  absl::StatusOr<std::unique_ptr<Database>> database = OpenDatabase(directory, options.check_integrity);
  if (!database.ok()) return database.status();
  const absl::StatusOr<Epoch> epoch = RaiseEpoch(**database);
  if (!epoch.ok()) return epoch.status();
  if (absl::Status status = LimitSize(**database, options.max_bytes); !status.ok()) return status;
  return std::unique_ptr<SqliteStore>(
      new SqliteStore(DatabaseFile(directory), *std::move(lock), *epoch, *std::move(database)));
}

SqliteStore::SqliteStore(std::string file, DirectoryLock lock, Epoch epoch, std::unique_ptr<Database> database)
    : file_(std::move(file)), lock_(std::move(lock)), epoch_(epoch), batch_writer_(std::move(database)) {
  thread_ = std::thread([this] { RunWriter(); });
}

SqliteStore::~SqliteStore() {
  {
    MutexLock lock(&mutex_);
    closing_ = true;
    changed_.SignalAll();
  }
  thread_.join();
}

void SqliteStore::Append(Epoch epoch, std::vector<Fact> facts, Done done) {
  MutexLock lock(&mutex_);
  if (queue_.empty()) changed_.SignalAll();
  queue_.push_back({epoch, std::move(facts), std::move(done), absl::OkStatus(), {}});
}

bool SqliteStore::TakeBatch(std::vector<PendingAppend>& batch) {
  MutexLock lock(&mutex_);
  writing_ = false;
  changed_.SignalAll();
  while (!HasWork()) changed_.Wait(&mutex_);
  size_t facts = 0;
  size_t bytes = 0;
  while (!queue_.empty() && facts < kFactsATransaction && bytes < kBytesATransaction) {
    facts += queue_.front().facts.size();
    bytes += PayloadBytes(queue_.front());
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  writing_ = true;
  if (DeletesJobs(batch)) tidying_ = true;
  return !batch.empty() || !closing_;
}

void SqliteStore::RunWriter() {
  std::vector<PendingAppend> batch;
  while (TakeBatch(batch)) {
    batch_writer_.Write(batch);
    for (PendingAppend& append : batch) {
      if (append.done) append.done(append.status, append.verdicts);
    }
    batch.clear();
    bool tidying = false;
    {
      MutexLock lock(&mutex_);
      tidying = tidying_ && !closing_;
    }
    if (!tidying || batch_writer_.Tidy()) continue;
    MutexLock lock(&mutex_);
    tidying_ = false;
    changed_.SignalAll();
  }
}

void SqliteStore::WaitUntilIdle() {
  MutexLock lock(&mutex_);
  while (!IsIdle()) changed_.Wait(&mutex_);
}

absl::StatusOr<StoreContents> SqliteStore::Load() {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(file_, Database::Mode::kReadOnly);
  if (!database.ok()) return database.status();
  return ReadContents(**database);
}

absl::Status SqliteStore::ForEachSlice(RoundKey key, const std::function<void(const SliceCommitted&)>& visit) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(file_, Database::Mode::kReadOnly);
  if (!database.ok()) return database.status();
  return ReadSlices(**database, key, visit);
}

absl::StatusOr<std::vector<StoredSlice>> SqliteStore::ReadPage(const SlicePage& page) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(file_, Database::Mode::kReadOnly);
  if (!database.ok()) return database.status();
  return ReadSlicePage(**database, page);
}

absl::Status SqliteStore::ForEachVerification(RoundKey key, const std::function<void(const SliceVerified&)>& visit) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(file_, Database::Mode::kReadOnly);
  if (!database.ok()) return database.status();
  return ReadVerifications(**database, key, visit);
}

absl::StatusOr<std::vector<StoredSession>> SqliteStore::ReadSessions(const SessionPage& page) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(file_, Database::Mode::kReadOnly);
  if (!database.ok()) return database.status();
  return ReadSessionPage(**database, page);
}

absl::StatusOr<std::vector<CoordinatorRan>> SqliteStore::ReadRuns(absl::Time since) {
  absl::StatusOr<std::unique_ptr<Database>> database = Database::Open(file_, Database::Mode::kReadOnly);
  if (!database.ok()) return database.status();
  return potluck::ReadRuns(**database, since);
}

absl::Status SqliteStore::BackUp(const std::string& file) { return BackUpDatabase(file_, file); }

uint64_t SqliteStore::SizeBytes() { return FileSize(file_) + FileSize(absl::StrCat(file_, "-wal")); }

}  // namespace potluck
