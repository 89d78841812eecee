// The core's book of who was at the table and when, of which the store is told (SessionOpened, SessionClosed,
// CoordinatorRan). For people who want to know how long sessions last; nothing else depends on it.
//
// An entry is a stay at the table: it begins when a worker joins, or is heard again after it had been given up, and
// ends when it leaves or was last heard. Which entries make one session of a notebook platform is for who reads them.
// A coordinator that is killed cannot say when workers left: so once a minute it notes that it runs, and the next one
// closes what it finds open at that time, as not known better.
//
// Facts wait here until the ones before are stored, apart from all other facts. Pure, no clock; not thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "coordinator/core/messages.h"
#include "coordinator/store/facts.h"
#include "coordinator/store/store.h"

namespace potluck {

class SessionBook {
 public:
  // Takes over from a former coordinator. From now on this one is known to run.
  void Recover(Instant now, const StoreContents& contents);

  // Returns the entry's number; 0: none was made, as this is the end.
  uint64_t Open(Instant now, WorkerId worker, const JoinRequest& joined, absl::Time began, std::string devices);
  void Close(uint64_t number, SessionEnd end, absl::Time at);

  // The coordinator runs; to be told when `next_beat` has come. True if it did not since the last time: its machine
  // slept, say.
  bool Beat(Instant now);
  absl::Time next_beat() const { return next_beat_; }  // Monotonic; InfiniteFuture before Recover.

  // What the store is to be told now, and that the coordinator runs; nothing while it has yet to answer. Then call
  // Stored; or NotStored, and, when the same is to be told again, TryAgain.
  std::vector<Fact> Take(Instant now);
  void Stored() { on_the_way_.clear(); }
  void NotStored();
  void TryAgain() { is_held_back_ = false; }
  // At the end: all that is known, whether the store has answered or not. No entry is opened any more.
  std::vector<Fact> TakeAll(Instant now);

 private:
  void Add(Fact fact);

  uint64_t last_number_ = 0;
  std::vector<Fact> waiting_;
  std::vector<Fact> on_the_way_;
  bool is_held_back_ = false;
  bool is_over_ = false;
  Instant last_beat_;
  absl::Time next_beat_ = absl::InfiniteFuture();
  absl::Time forget_at_ = absl::InfiniteFuture();  // Monotonic.
  CoordinatorRan ran_;
};

}  // namespace potluck
