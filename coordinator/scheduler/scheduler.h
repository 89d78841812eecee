// Decides who computes which interval: a deterministic state machine.
//
// It knows no thread, clock, file or message: every call takes `now` (monotonic), and what others must do comes back as
// values. It knows cost, not counts: rounds are priced by their RoundPlan. Not thread-safe.
//
// Every index of an open round is in exactly one of four places at any time:
//   free       nobody works on it; it is granted to the next slot that asks
//   leased     in the rest of exactly one live lease
//   pending    in a slice handed to the store that has not answered yet
//   committed  counted
// Leases only steer work. Whether a slice counts is the store's decision, by disjointness; a scheduler that granted an
// interval twice would waste work but could not make a total wrong. Over the four places lie trials (trials.h).
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"
#include "coordinator/scheduler/trials.h"
#include "kernels/workload/interval.h"
#include "kernels/workload/interval_set.h"
#include "kernels/workload/planner.h"
#include "proto/exchange.h"

namespace potluck {

// Deliberately broken variants, so that the simulator can show that it would notice.
enum class SchedulerDefect {
  kNone,
  kGrantStaysFree,             // A granted interval can be granted again.
  kExpiredLeaseIsForgotten,    // Its interval is never granted again.
  kTailIsFreedUnconfirmed,     // A shrunk tail is given away before its worker agreed.
  kHandedBackIsForgotten,      // What a worker hands back is never granted again.
  kRetractedIsForgotten,       // A retracted slice is not computed again.
  kCommitKeepsOtherLeases,     // A late slice is not cut out of the lease that got its interval since.
  kCheckGoesToTheSameWorker,   // A worker checks its own slice.
  kThirdRunGoesToOneOfTheTwo,  // One of two workers that disagree decides which of them is right.
  kLostCheckCountsAsDone,      // A check is settled when its worker is lost.
  kWrongSlicesAreKept,         // What a worker that was found wrong handed in is not done again.
};

struct SchedulerOptions {
  Epoch epoch{};
  absl::Duration lease_time = absl::Seconds(60);       // A silent worker loses its leases after this.
  absl::Duration disconnect_grace = absl::Seconds(5);  // ... or after this, when its connection was seen to break.
  absl::Duration target_unit = absl::Seconds(20);
  absl::Duration min_unit = absl::Milliseconds(200);
  SchedulerDefect defect = SchedulerDefect::kNone;
};

// How a job shares workers with others: higher priorities first; equal ones by weight.
struct JobShare {
  bool paused = false;
  int32_t priority = 0;
  double weight = 1;
};

// What a round asks of leases and slots, besides its plan.
struct RoundTerms {
  bool is_volatile = false;         // Leases of another epoch are not adopted: their results are of no use.
  std::string numerics_class = {};  // Only slots of this class get any of it; empty: all do.
};

// What a slot can do, as its worker says.
struct SlotInfo {
  std::string numerics_class;
  std::vector<std::string> implementations;  // The default first; may be empty.
};

struct WorkerInfo {
  WorkerId worker{};
  std::vector<SlotInfo> slots;
  absl::Time ends_at = absl::InfiniteFuture();  // When it will be gone.
  // One that calls seldom gets a longer one than the options'.
  absl::Duration lease_time = absl::ZeroDuration();
};

// What to do with a reported slice.
enum class Acceptance {
  kStore,  // New; it is pending now. Append it and call Committed or Dropped.
  kJudge,  // Overlaps what is pending or committed: only the store can tell a repeat. Append; call Committed if stored.
  kClosed,  // Its round is not open (any more).
};

// The four places, for tests and for display.
struct RoundState {
  uint64_t size = 0;
  IntervalSet free, pending, committed;
  struct LeaseView {
    LeaseId id;
    SessionId session{};
    IntervalSet rest;
  };
  std::vector<LeaseView> leases;
  struct CheckView {
    CheckId id{};
    Interval interval;
    CheckTerms terms;
    std::optional<SessionId> session;  // None: it waits.
    IntervalSet rest;
  };
  std::vector<CheckView> checks;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerOptions& options) : options_(options) {}

  // Rounds. `committed` is what the store already holds of it, `known` are the intervals of known-answer units.
  void OpenRound(RoundKey key, std::shared_ptr<const RoundPlan> plan, IntervalSet committed, const JobShare& share,
                 std::vector<Interval> known = {}, RoundTerms terms = {});
  void CloseRound(RoundKey key);
  void SetShare(JobId job, const JobShare& share);
  void ForgetJob(JobId job);
  bool IsOpen(RoundKey key) const { return rounds_.contains(key); }
  bool IsComplete(RoundKey key) const;

  void AddSession(absl::Time now, SessionId session, WorkerInfo worker);
  void RemoveSession(SessionId session);
  // Its connection broke: unless it speaks again, its leases expire after the grace.
  void Disconnected(absl::Time now, SessionId session);

  // A slice was reported. `lease` is the one it was computed under; it may be long gone.
  Acceptance Accept(RoundKey key, Interval interval, LeaseId lease);
  // The store holds it now. `busy_seconds` teaches the speed of the slot.
  void Committed(SessionId session, uint32_t slot, RoundKey key, Interval interval, double busy_seconds);
  // The store refused or failed; only for slices answered kStore.
  void Dropped(RoundKey key, Interval interval);
  // The slice does not count any more and is computed again.
  void Retract(RoundKey key, Interval interval);

  // Trials. A check is of a committed slice of an open round; it may be added again, with other terms, once it is over.
  // Closing the round drops it.
  void AddCheck(CheckId check, RoundKey key, Interval interval, CheckTerms terms);
  void DropCheck(CheckId check, RoundKey key);
  // To be asked before Accept.
  TrialSlice AcceptTrial(SessionId session, RoundKey key, Interval interval, LeaseId lease, double busy_seconds);
  bool IsTrial(LeaseId lease) const;
  // The terms of waiting checks that no worker at the table may run.
  std::vector<CheckTerms> ChecksWithoutWorker(RoundKey key) const;
  bool HasChecks(RoundKey key) const;
  // Whether a worker at the table has a slot of the class that the round asks for.
  bool HasWorkerFor(RoundKey key) const;
  // How the slot computes ordinary work.
  Way WayOf(SessionId session, uint32_t slot) const;

  // Takes note of the worker's state and answers with what it shall do. Unknown leases are adopted where their rest is
  // free (a coordinator that restarted, a worker that slept), else revoked.
  Orders Exchange(absl::Time now, SessionId session, const WorkerReport& report);
  // The orders that would be given now to a worker whose report has not changed (its call is parked).
  Orders Poll(absl::Time now, SessionId session);

  // The session has no call waiting: until its next Exchange it is not among those to wake.
  void NotListening(SessionId session) { hungry_.erase(session); }

  // Expires leases. NextDeadline is when Tick has something to do (InfiniteFuture if never).
  void Tick(absl::Time now);
  absl::Time NextDeadline() const;

  // Sessions for which Poll may now answer something, since the last call.
  std::vector<SessionId> TakeWakeups();

  // For display.
  // Cost per second by all slots that work on the job now.
  double Rate(JobId job) const;
  double SessionRate(SessionId session, JobId job) const;
  size_t LeaseCount(SessionId session) const;
  bool HoldsLeaseOf(SessionId session, JobId job) const;
  bool HoldsLease(SessionId session, LeaseId lease, RoundKey key) const;
  RoundState Inspect(RoundKey key) const;

 private:
  struct Trial {
    std::optional<CheckId> check;
    size_t known = 0;
    Interval interval;
    std::string implementation;
  };
  struct Lease {
    LeaseId id;
    SessionId session{};
    uint32_t slot = 0;
    RoundKey round;
    IntervalSet rest;
    std::optional<uint64_t> shrink_to;  // Asked for, not confirmed.
    bool solid = false;                 // Its worker could not shrink it as asked: all of it is being computed.
    bool revoke = false;
    std::optional<Trial> trial;
    absl::Time granted_at;
    double granted_cost = 0;
  };
  // What a slot was granted of a job, as cost.
  struct Tally {
    double work = 0;
    double known = 0;
    bool had_known = false;
  };
  struct Slot {
    SlotInfo info;
    uint32_t free_capacity = 0;
    uint32_t refusals = 0;  // How often it said last, one time after the other, that it holds and takes nothing.
    absl::flat_hash_map<JobId, double> speed;  // Cost per second, smoothed.
    absl::flat_hash_map<JobId, Tally> tally;
    std::vector<LeaseId> queue;  // In the order granted, which is the order of computing.
  };
  struct Session {
    WorkerId worker{};
    absl::Time expires;  // When its leases do.
    absl::Time ends_at;
    absl::Duration lease_time;
    bool live = true;       // Not expired.
    bool connected = true;  // As far as is known.
    bool draining = false;
    std::vector<Slot> slots;
    std::vector<LeaseId> taken_away;  // Ended here; the worker may not know yet.
  };
  struct Check {
    Interval interval;
    CheckTerms terms;
    std::optional<LeaseId> lease;
  };
  struct OpenedRound {
    std::shared_ptr<const RoundPlan> plan;
    IntervalSet free, pending, committed;
    double free_cost = 0;
    std::set<LeaseId> leases;  // Without trials.
    std::vector<Interval> known;
    std::set<LeaseId> trials;
    std::map<CheckId, Check> checks;
    std::map<CheckTerms, std::set<CheckId>> waiting;
    RoundTerms terms;
    std::set<std::pair<SessionId, uint32_t>> served;    // Slots that have had a unit, probes aside.
    absl::Time first_granted = absl::InfiniteFuture();  // When the first unit was.
  };
  // A check that fits a slot.
  struct CheckChoice {
    CheckId id{};
    std::string implementation;
    int fit = -1;  // The higher, the better.
  };
  struct Job {
    JobShare share;
    double virtual_time = 0;  // Granted seconds / weight: of equal priority, the smallest is served next.
    double total_speed = 0;   // Sum of the live slots' speeds, cost per second.
    size_t fast_slots = 0;    // How many slots that sum has.
  };
  using RoundMap = std::map<RoundKey, OpenedRound>;

  Session* FindSession(SessionId session);
  OpenedRound* FindRound(RoundKey key);
  void CatchUp(Job& job) const;
  void Heard(absl::Time now, SessionId id, Session& session);
  void SetExpiry(SessionId id, Session& session, absl::Time when);
  void Expire(SessionId id, Session& session);
  void CountSpeeds(const Session& session, int sign);
  void LearnSpeed(Session& session, uint32_t slot, JobId job, double speed);
  double SpeedOrMean(const Slot& slot, JobId job) const;

  void NoteHeld(absl::Time now, SessionId id, Session& session, const WorkerReport& report, Orders& orders);
  void Confirm(Lease& lease, const HeldLease& held);
  bool Adopt(absl::Time now, SessionId id, Session& session, const HeldLease& held);
  void EndLease(LeaseId id, bool free_rest);
  void TakeAway(LeaseId id);
  void CutFromLeases(OpenedRound& round, Interval interval, LeaseId hint);
  void AskToShrink(Lease& lease, uint64_t end);
  void Free(OpenedRound& round, const IntervalSet& what);
  void TakeFree(OpenedRound& round, Interval what);
  double CostOf(const OpenedRound& round, const IntervalSet& set) const;

  void StandingOrders(const Session& session, Orders& orders) const;
  void GrantWork(absl::Time now, SessionId id, Session& session, Orders& orders);
  bool GrantOne(absl::Time now, SessionId id, Session& session, uint32_t slot, Orders& orders);
  bool HasWork() const;
  // The round that the slot shall work on next, with the check to run if it is to be one.
  std::pair<RoundMap::iterator, std::optional<CheckChoice>> PickWork(absl::Time now, const Session& session,
                                                                     const Slot& slot);
  bool HasItsShare(const Slot& slot, RoundKey key, const OpenedRound& round) const;
  double EvenShare(SessionId id, uint32_t slot_index, RoundKey key, const OpenedRound& round) const;
  double EvenSecondsLeft(absl::Time now, const Lease& lease, double speed) const;
  static bool IsWorthSplitting(absl::Time now, const OpenedRound& round, double cost, double finish,
                               double thief_speed);
  LeaseId AddLease(absl::Time now, SessionId id, Session& session, uint32_t slot, RoundMap::value_type& round,
                   Interval unit, std::optional<Trial> trial, Orders& orders);
  double UnitSeconds(absl::Time now, const Session& session, const Slot& slot, RoundKey key, const OpenedRound& round);
  double UsableSeconds(absl::Time now, const Session& session, const Slot& slot) const;
  double QueuedSeconds(const Slot& slot) const;

  std::optional<CheckChoice> ChooseCheck(absl::Time now, const Session& session, const Slot& slot, RoundKey key,
                                         const OpenedRound& round) const;
  bool IsExcluded(WorkerId worker, const CheckTerms& terms) const;
  // None: it does not fit at all.
  static std::optional<CheckChoice> FitOf(const SlotInfo& slot, const CheckTerms& terms);
  static bool IsOfItsClass(const Slot& slot, const OpenedRound& round);
  std::optional<Trial> KnownAnswerDue(const Slot& slot, RoundKey key, const OpenedRound& round) const;
  void TrialLost(OpenedRound& round, const Lease& lease);
  void SplitTailFor(absl::Time now, SessionId id, uint32_t slot);
  // Whether any open round's class is one of its slots'.
  bool MayWork(const Session& session) const;
  void WakeHungry();

  SchedulerOptions options_;
  uint64_t next_lease_ = 1;
  double virtual_now_ = 0;  // The virtual time of the job that was served last.
  RoundMap rounds_;
  std::map<JobId, Job> jobs_;
  std::map<LeaseId, Lease> leases_;
  std::map<SessionId, Session> sessions_;
  std::set<std::pair<absl::Time, SessionId>> expiries_;  // Of live sessions.
  std::set<SessionId> hungry_;                           // Sessions with a slot that has nothing at all to do.
  std::set<SessionId> wake_;
};

}  // namespace potluck
