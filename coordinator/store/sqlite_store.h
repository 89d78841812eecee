// The durable store: one SQLite file, DIR/potluck.db, in write-ahead mode with a sync for every commit.
//
// Thread-safe. One thread of the store's own writes, everything that waits in one transaction; `done` is called from it
// after the commit, with no lock held, and may call Append again (but must not destroy the store, nor wait for another
// append). Readers use connections of their own and see only what is committed.
//
// Errors of Append: Aborted (the epoch is stale), ResourceExhausted (no space), InvalidArgument (a number that cannot
// be stored, see rules.h), DataLoss (the file is damaged: nothing is written to it from then on), Internal (the
// database or its disk failed; the append may then, after a crash, turn out to have been stored). A damaged file is
// never changed, replaced or deleted.
//
// schema.h says what the file holds, its version and its limits.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/mutex.h"
#include "coordinator/store/batch_writer.h"
#include "coordinator/store/files.h"
#include "coordinator/store/store.h"

namespace potluck {

struct SqliteStoreOptions {
  // Reads the whole file at opening, about a second a gigabyte, to find damage.
  bool check_integrity = true;
  // Limit to the size of potluck.db; 0: as large as its disk allows.
  uint64_t max_bytes = 0;
};

class SqliteStore final : public Store {
 public:
  // Takes the directory, making it if there is none, and raises its epoch. Fails if another coordinator has it
  // (FailedPrecondition), if it cannot be written (PermissionDenied), if it is of a newer version or another
  // program's (FailedPrecondition), if it is damaged (DataLoss): each with a sentence that says what to do.
  static absl::StatusOr<std::unique_ptr<SqliteStore>> Open(const std::string& directory,
                                                           const SqliteStoreOptions& options = {});
  // Writes what was appended, calls every `done`, then closes.
  ~SqliteStore() override;

  Epoch epoch() const override { return epoch_; }
  void Append(Epoch epoch, std::vector<Fact> facts, Done done) override ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<StoreContents> Load() override;
  absl::Status ForEachSlice(RoundKey key, const std::function<void(const SliceCommitted&)>& visit) override;
  absl::StatusOr<std::vector<StoredSlice>> ReadPage(const SlicePage& page) override;
  absl::Status ForEachVerification(RoundKey key, const std::function<void(const SliceVerified&)>& visit) override;
  absl::StatusOr<std::vector<StoredSession>> ReadSessions(const SessionPage& page) override;
  absl::StatusOr<std::vector<CoordinatorRan>> ReadRuns(absl::Time since) override;
  // The copy can be put in place of a DIR/potluck.db.
  absl::Status BackUp(const std::string& file) override;
  uint64_t SizeBytes() override;

  // Returns when all appends so far are done and all that deleted jobs left is removed.
  void WaitUntilIdle() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  SqliteStore(std::string file, DirectoryLock lock, Epoch epoch, std::unique_ptr<Database> database);

  void RunWriter() ABSL_LOCKS_EXCLUDED(mutex_);
  // Waits for something to do; false when the store is closing and all is written.
  bool TakeBatch(std::vector<PendingAppend>& batch) ABSL_LOCKS_EXCLUDED(mutex_);
  bool HasWork() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return !queue_.empty() || tidying_ || closing_; }
  bool IsIdle() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return queue_.empty() && !tidying_ && !writing_; }

  const std::string file_;
  const DirectoryLock lock_;
  const Epoch epoch_;
  BatchWriter batch_writer_;  // The writer thread's.
  Mutex mutex_;
  CondVar changed_;  // The queue, or what the writer is at.
  std::deque<PendingAppend> queue_ ABSL_GUARDED_BY(mutex_);
  bool closing_ ABSL_GUARDED_BY(mutex_) = false;
  bool writing_ ABSL_GUARDED_BY(mutex_) = false;
  bool tidying_ ABSL_GUARDED_BY(mutex_) = true;  // A crash may have left something.
  std::thread thread_;
};

}  // namespace potluck
