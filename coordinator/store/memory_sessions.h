// The rows of sessions and of the coordinator's runs in memory. The rules are rules.h's. Not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/store/facts.h"
#include "coordinator/store/store.h"

namespace potluck {

class MemorySessions {
 public:
  Verdict Apply(const SessionOpened& fact);
  Verdict Apply(const SessionClosed& fact);
  Verdict Apply(const CoordinatorRan& fact);
  Verdict Apply(const SessionsForgotten& fact);

  // What StoreContents tells of them.
  void AddTo(StoreContents& contents) const;
  // As Store::ReadSessions and Store::ReadRuns.
  std::vector<StoredSession> ReadPage(const SessionPage& page) const;
  std::vector<CoordinatorRan> Runs(absl::Time since) const;

 private:
  std::map<uint64_t, StoredSession> sessions_;  // By number.
  std::map<absl::Time, absl::Time> runs_;       // Their ends by their beginnings.
};

}  // namespace potluck
