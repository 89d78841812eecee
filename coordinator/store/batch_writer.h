// Writes batches of appends, one transaction a batch (group commit), and tidies up after deleted jobs. Owned and called
// by one thread.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "coordinator/store/database.h"
#include "coordinator/store/fact_writer.h"
#include "coordinator/store/pending_append.h"
#include "proto/ids.h"

namespace potluck {

class BatchWriter {
 public:
  explicit BatchWriter(std::unique_ptr<Database> database) : database_(std::move(database)), facts_(*database_) {}

  // Gives each append its status and verdicts; those that are ok are durable on return. If the transaction fails for a
  // reason that may lie in one append (no space left), each is tried alone, so that small ones still get through.
  void Write(std::vector<PendingAppend>& batch);

  // One short step of removing what deleted jobs left, and of giving free pages back to the file system. True if more
  // is to be done: always try after a JobDeleted and after opening.
  bool Tidy();

 private:
  absl::Status WriteTogether(std::vector<PendingAppend*> appends);
  void WriteOne(PendingAppend& append, Epoch stored);

  const std::unique_ptr<Database> database_;
  FactWriter facts_;
  // Damage that was met: nothing more is written to a damaged file.
  absl::Status damage_;
};

}  // namespace potluck
