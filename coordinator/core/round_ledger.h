// Which slices of an open volatile round count: what the store is to a ledger round, in memory and decided at once.
// Pure; not thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "coordinator/scheduler/trials.h"
#include "coordinator/store/rules.h"
#include "coordinator/store/store.h"
#include "kernels/workload/interval.h"
#include "proto/ids.h"

namespace potluck {

class RoundLedger {
 public:
  struct Entry {
    Interval interval;
    std::string digest;  // Of the payload.
    WorkerId worker{};
    Way way;
    std::string result;  // Digest of what Planner::Combine makes of it; empty where nothing is verified.
  };

  // What the store would answer to this slice, which is not empty.
  Verdict Judge(Interval interval, const std::string& digest) const {
    const Entry* last = LastBelow(interval.end);
    switch (FitOf(interval, last != nullptr ? std::optional(last->interval) : std::nullopt)) {
      case Fit::kOverlap:
        return Verdict::kOverlap;
      case Fit::kSameBounds:
        return last->digest == digest ? Verdict::kRepeat : Verdict::kDisagreement;
      case Fit::kDisjoint:
        break;
    }
    return Verdict::kStored;
  }
  // After Judge has said kStored.
  void Enter(Entry entry) { by_begin_.insert_or_assign(entry.interval.begin, std::move(entry)); }
  void Clear() { by_begin_.clear(); }

  // Null if there is none with exactly these bounds.
  const Entry* Find(Interval interval) const {
    const auto it = by_begin_.find(interval.begin);
    return it == by_begin_.end() || it->second.interval != interval ? nullptr : &it->second;
  }
  bool HasSliceOf(WorkerId worker) const {
    for (const auto& [begin, entry] : by_begin_) {
      if (entry.worker == worker) return true;
    }
    return false;
  }

 private:
  // The one with the greatest begin below `end`.
  const Entry* LastBelow(uint64_t end) const {
    const auto it = by_begin_.lower_bound(end);
    return it == by_begin_.begin() ? nullptr : &std::prev(it)->second;
  }

  std::map<uint64_t, Entry> by_begin_;
};

}  // namespace potluck
