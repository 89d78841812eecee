#include "coordinator/store/batch_writer.h"

#include <utility>

#include "coordinator/store/rules.h"

namespace potluck {
namespace {

// A step holds up the next batch for some milliseconds.
constexpr int kPurgedSlices = 1000;

}  // namespace

void BatchWriter::Write(std::vector<PendingAppend>& batch) {
  std::vector<PendingAppend*> appends;
  for (PendingAppend& append : batch) {
    append.status = CheckNumbers(append.facts);
    if (append.status.ok()) appends.push_back(&append);
  }
  if (appends.empty()) return;
  absl::Status status = WriteTogether(appends);
  const bool try_each = absl::IsResourceExhausted(status) && appends.size() > 1;
  for (PendingAppend* append : appends) {
    if (try_each) status = WriteTogether({append});
    if (status.ok()) continue;
    append->status = status;
    append->verdicts.clear();
  }
}

absl::Status BatchWriter::WriteTogether(std::vector<PendingAppend*> appends) {
  if (!damage_.ok()) return damage_;
  Database& db = *database_;
  facts_.Forget();
  db.Begin();
  const Epoch stored{static_cast<uint64_t>(db.ReadInteger("SELECT value FROM meta WHERE key = 'epoch'"))};
  for (PendingAppend* append : appends) WriteOne(*append, stored);
  db.Commit();
  const absl::Status status = db.status();
  if (status.ok()) return status;
  db.Rollback();
  if (absl::IsDataLoss(status)) damage_ = status;
  return status;
}

void BatchWriter::WriteOne(PendingAppend& append, Epoch stored) {
  append.verdicts.clear();
  append.status = append.epoch == stored ? absl::OkStatus() : StaleEpoch(append.epoch, stored);
  if (!append.status.ok()) return;
  append.verdicts.reserve(append.facts.size());
  for (const Fact& fact : append.facts) {
    append.verdicts.push_back(facts_.Write(fact));
    if (!database_->status().ok()) return;
  }
}

bool BatchWriter::Tidy() {
  if (!damage_.ok()) return false;
  Database& db = *database_;
  facts_.Forget();
  db.Begin();
  bool more = facts_.Purge(kPurgedSlices);
  if (!more && db.ReadInteger("PRAGMA freelist_count") > 0) {
    db.Execute("PRAGMA incremental_vacuum(1000)");
    more = true;
  }
  db.Commit();
  if (db.status().ok()) return more;
  if (absl::IsDataLoss(db.status())) damage_ = db.status();
  db.Rollback();
  return false;
}

}  // namespace potluck
