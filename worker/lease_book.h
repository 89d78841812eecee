// What a worker holds and owes: leases in the order of computing, and slices until they are acknowledged.
//
// A pure state machine (no thread, clock, socket or process), so that the simulator drives the same code as the
// worker's session. It outlives sessions: after a coordinator restart the same leases and slices are offered in the
// next one. Not thread-safe.
//
// A slice whose payload is large is handed over apart, before it is reported: until then its lease stays held, from
// that slice on, even after its run is over.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/exchange.h"

namespace potluck {

class ResultFile;

class LeaseBook {
 public:
  // `capacity` is how many leases a slot queues: one that runs and one that waits hide the way to the coordinator.
  LeaseBook(size_t slots, uint32_t capacity, size_t max_request_bytes = 2 << 20);

  struct Lease {
    LeaseId id;
    RoundKey round;
    uint32_t slot = 0;
    std::string implementation;  // As its grant named it.
    uint64_t next = 0;           // First index without a result.
    uint64_t end = 0;
    uint64_t shrunk_to = std::numeric_limits<uint64_t>::max();
    bool started = false;
    bool over = false;  // Only large results of it are still owed.
  };

  // What the reply asks the executors for.
  struct Actions {
    std::vector<LeaseId> cancel;  // Running: stop it; its slot takes up the next lease when told that it has stopped.
    std::vector<Shrink> shrink;   // Running: call Shrunk with the end that then holds.
  };

  // ---- The conversation
  // The request for all that is to be said now. `sent_slices` of it are settled by the reply.
  ExchangeRequest BuildRequest(SessionId session, uint64_t seq);
  Actions Apply(const ExchangeRequest& sent, const ExchangeReply& reply);
  // In a new session: what was handed over in the last one must be handed over again.
  void SessionIsNew();
  // Whether there is something that the coordinator does not know yet, and could be told.
  bool HasNews() const { return news_; }

  // ---- The executors
  // The lease that the slot shall start now: the front of its queue unless it runs already.
  std::optional<Lease> NextToStart(uint32_t slot) const;
  void Started(LeaseId id);
  // A slice of a lease, which may have been revoked meanwhile: it still may count. If its payload is large it is empty,
  // and `result` has it.
  void SliceDone(ReportedSlice slice, std::shared_ptr<const ResultFile> result = nullptr);
  // The run is over: it reached its end, was cancelled, or failed. What it did not reach goes back.
  void RunOver(LeaseId id);
  void Shrunk(LeaseId id, uint64_t asked, uint64_t end);
  // The slot cannot compute for now: what it has not started goes back.
  void GiveBack(uint32_t slot);
  // Whether the slot takes leases at all (yes, to begin with); one that does not gives back what it has.
  void SetUsable(uint32_t slot, bool is_usable);

  // ---- Large results
  struct HandOver {
    LeaseId lease;
    RoundKey round;
    Interval interval;
    std::shared_ptr<const ResultFile> result;
  };
  // The next one, in the order in which they came, unless one is on its way.
  std::optional<HandOver> NextToHandOver();
  // It is there; `digest` is its SHA-256.
  void HandedOver(LeaseId lease, Interval interval, const std::string& digest);
  // The coordinator does not want what is owed of this lease: the lease is handed back, its large results are dropped.
  void Drop(LeaseId id);

  // ---- Leaving
  // Wants no more work: leases not started go back; those running are to be shrunk by the caller.
  void StartDraining();
  bool draining() const { return draining_; }
  // A slot that takes leases has none.
  bool HasIdleSlot() const;
  // Whether a slice waits to be reported whose result the coordinator has.
  bool HasHandedOver() const;
  // Nothing held, nothing owed.
  bool IsSettled() const { return leases_.empty() && unacknowledged_.empty(); }

  const RoundInfo* FindRound(RoundKey key) const;
  const std::map<RoundKey, RoundInfo>& rounds() const { return rounds_; }
  const std::vector<Lease>& leases() const { return leases_; }
  size_t unacknowledged() const { return unacknowledged_.size(); }

 private:
  struct Owed {
    ReportedSlice slice;
    std::shared_ptr<const ResultFile> result;                                // Null when the payload is in the slice.
    enum class Stage { kWaiting, kOnItsWay, kThere } stage = Stage::kThere;  // kThere: can be reported.
  };

  std::deque<Owed>::iterator FindOwed(LeaseId lease, Interval interval);
  // Large results that are not there yet: of a lease that is gone nobody takes them.
  void DropUnsent(LeaseId id);
  void RemoveIfNothingIsOwed();
  Lease* Find(LeaseId id);
  void Remove(LeaseId id);
  void ForgetUnusedRounds();

  size_t slots_;
  uint32_t capacity_;
  size_t max_request_bytes_;
  std::vector<Lease> leases_;  // In the order granted; of a slot, the first is the one that runs.
  std::deque<Owed> unacknowledged_;
  std::map<RoundKey, RoundInfo> rounds_;
  std::set<uint32_t> unusable_;
  bool draining_ = false;
  bool news_ = true;
};

}  // namespace potluck
