#include "coordinator/scheduler/scheduler.h"

#include <algorithm>

namespace potluck {
namespace {

// Weight of a new measurement in a slot's smoothed speed.
constexpr double kSpeedSmoothing = 0.3;
// What a slot is granted at once, whatever it asks for.
constexpr uint32_t kMostLeasesASlot = 1024;
// Slices shorter than this measure the clock more than the device.
constexpr double kShortestMeasurement = 1e-3;

}  // namespace

Scheduler::Session* Scheduler::FindSession(SessionId session) {
  const auto it = sessions_.find(session);
  return it == sessions_.end() ? nullptr : &it->second;
}

Scheduler::OpenedRound* Scheduler::FindRound(RoundKey key) {
  const auto it = rounds_.find(key);
  return it == rounds_.end() ? nullptr : &it->second;
}

// ---- Rounds

void Scheduler::OpenRound(RoundKey key, std::shared_ptr<const RoundPlan> plan, IntervalSet committed,
                          const JobShare& share, std::vector<Interval> known, RoundTerms terms) {
  Job& job = jobs_[key.job];
  job.share = share;
  CatchUp(job);
  OpenedRound round;
  round.plan = std::move(plan);
  IntervalSet free = committed.Complement({0, round.plan->Size()});
  round.committed = std::move(committed);
  round.known = std::move(known);
  round.terms = std::move(terms);
  Free(rounds_[key] = std::move(round), free);
}

void Scheduler::CloseRound(RoundKey key) {
  OpenedRound* round = FindRound(key);
  if (round == nullptr) return;
  std::set<LeaseId> leases = round->leases;
  leases.insert(round->trials.begin(), round->trials.end());
  for (const LeaseId lease : leases) TakeAway(lease);
  rounds_.erase(key);
}

// A job that was away starts level with the others, or it would get every unit until it had caught up.
void Scheduler::CatchUp(Job& job) const { job.virtual_time = std::max(job.virtual_time, virtual_now_); }

void Scheduler::ForgetJob(JobId job) {
  jobs_.erase(job);
  for (auto& [id, session] : sessions_) {
    for (Slot& slot : session.slots) {
      slot.speed.erase(job);
      slot.tally.erase(job);
    }
  }
}

void Scheduler::SetShare(JobId job, const JobShare& share) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end()) return;
  found->second.share = share;
  if (!share.paused) {
    CatchUp(found->second);
    return WakeHungry();
  }
  for (auto& [id, lease] : leases_) {
    // What is being computed is finished and counted; the rest waits as free.
    if (lease.round.job == job && !lease.rest.empty() && !lease.trial) AskToShrink(lease, lease.rest.front().begin);
  }
}

bool Scheduler::IsComplete(RoundKey key) const {
  const auto it = rounds_.find(key);
  return it != rounds_.end() && it->second.committed.size() == it->second.plan->Size();
}

void Scheduler::Free(OpenedRound& round, const IntervalSet& what) {
  if (what.empty()) return;
  round.free.Add(what);
  round.free_cost += CostOf(round, what);
  WakeHungry();
}

void Scheduler::TakeFree(OpenedRound& round, Interval what) {
  const IntervalSet taken = round.free.Intersect(what);
  round.free.Remove(taken);
  round.free_cost = round.free.empty() ? 0 : round.free_cost - CostOf(round, taken);
}

double Scheduler::CostOf(const OpenedRound& round, const IntervalSet& set) const {
  double cost = 0;
  for (const Interval interval : set.Intervals()) cost += round.plan->Cost(interval);
  return cost;
}

// ---- Sessions

void Scheduler::AddSession(absl::Time now, SessionId id, WorkerInfo worker) {
  Session& session = sessions_[id];
  session.worker = worker.worker;
  session.slots.resize(worker.slots.size());
  for (size_t i = 0; i < worker.slots.size(); ++i) session.slots[i].info = std::move(worker.slots[i]);
  session.ends_at = worker.ends_at;
  session.lease_time = std::max(worker.lease_time, options_.lease_time);
  session.expires = absl::InfiniteFuture();
  Heard(now, id, session);
}

void Scheduler::RemoveSession(SessionId id) {
  Session* session = FindSession(id);
  if (session == nullptr) return;
  if (session->live) Expire(id, *session);
  wake_.erase(id);
  sessions_.erase(id);
}

void Scheduler::Disconnected(absl::Time now, SessionId id) {
  Session* session = FindSession(id);
  if (session == nullptr || !session->live) return;
  hungry_.erase(id);
  session->connected = false;
  SetExpiry(id, *session, std::min(session->expires, now + options_.disconnect_grace));
}

void Scheduler::Heard(absl::Time now, SessionId id, Session& session) {
  session.connected = true;
  if (!session.live) {
    session.live = true;
    CountSpeeds(session, +1);
  }
  SetExpiry(id, session, now + session.lease_time);
}

void Scheduler::SetExpiry(SessionId id, Session& session, absl::Time when) {
  expiries_.erase({session.expires, id});
  session.expires = when;
  expiries_.insert({when, id});
}

void Scheduler::Expire(SessionId id, Session& session) {
  for (Slot& slot : session.slots) {
    const std::vector<LeaseId> queue = slot.queue;
    for (const LeaseId lease : queue) {
      EndLease(lease, /*free_rest=*/options_.defect != SchedulerDefect::kExpiredLeaseIsForgotten);
    }
    slot.free_capacity = 0;
  }
  CountSpeeds(session, -1);
  session.live = false;
  hungry_.erase(id);
  expiries_.erase({session.expires, id});
}

void Scheduler::Tick(absl::Time now) {
  while (!expiries_.empty() && expiries_.begin()->first <= now) {
    const SessionId id = expiries_.begin()->second;
    Expire(id, sessions_.at(id));
  }
}

absl::Time Scheduler::NextDeadline() const {
  return expiries_.empty() ? absl::InfiniteFuture() : expiries_.begin()->first;
}

// ---- Speeds

void Scheduler::CountSpeeds(const Session& session, int sign) {
  for (const Slot& slot : session.slots) {
    for (const auto& [job, speed] : slot.speed) {
      const auto it = jobs_.find(job);
      if (it == jobs_.end()) continue;
      it->second.fast_slots += sign;
      it->second.total_speed = it->second.fast_slots == 0 ? 0 : it->second.total_speed + sign * speed;
    }
  }
}

void Scheduler::LearnSpeed(Session& session, uint32_t slot, JobId job, double measured) {
  const auto found = jobs_.find(job);
  if (found == jobs_.end() || slot >= session.slots.size()) return;
  const auto [it, is_new] = session.slots[slot].speed.try_emplace(job, measured);
  const double before = is_new ? 0 : it->second;
  if (!is_new) it->second += kSpeedSmoothing * (measured - it->second);
  if (!session.live) return;
  found->second.fast_slots += is_new ? 1 : 0;
  found->second.total_speed += it->second - before;
}

double Scheduler::SpeedOrMean(const Slot& slot, JobId job) const {
  if (const auto it = slot.speed.find(job); it != slot.speed.end()) return it->second;
  const auto it = jobs_.find(job);
  return it == jobs_.end() || it->second.fast_slots == 0 ? 0 : it->second.total_speed / it->second.fast_slots;
}

// ---- Slices

Acceptance Scheduler::Accept(RoundKey key, Interval interval, LeaseId lease) {
  OpenedRound* round = FindRound(key);
  if (round == nullptr) return Acceptance::kClosed;
  if (round->pending.Overlaps(interval) || round->committed.Overlaps(interval)) return Acceptance::kJudge;
  TakeFree(*round, interval);
  CutFromLeases(*round, interval, lease);
  round->pending.Add(interval);
  return Acceptance::kStore;
}

void Scheduler::CutFromLeases(OpenedRound& round, Interval interval, LeaseId hint) {
  if (const auto it = leases_.find(hint);
      it != leases_.end() && it->second.rest.Contains(interval) && round.leases.contains(hint)) {
    it->second.rest.Remove(interval);
    if (it->second.rest.empty()) EndLease(hint, /*free_rest=*/false);
    return;  // Leases are disjoint: nobody else has any of it.
  }
  if (options_.defect == SchedulerDefect::kCommitKeepsOtherLeases) return;
  const std::set<LeaseId> leases = round.leases;
  for (const LeaseId id : leases) {
    Lease& lease = leases_.at(id);
    if (!lease.rest.Overlaps(interval)) continue;
    const uint64_t begin = lease.rest.front().begin;
    lease.rest.Remove(interval);
    wake_.insert(lease.session);
    if (lease.rest.empty()) {
      TakeAway(id);
    } else if (interval.begin > begin) {
      AskToShrink(lease, interval.begin);  // What it computes before the cut is still wanted.
    } else {
      lease.revoke = true;
    }
  }
}

void Scheduler::Committed(SessionId id, uint32_t slot, RoundKey key, Interval interval, double busy_seconds) {
  OpenedRound* round = FindRound(key);
  if (round == nullptr || round->committed.Overlaps(interval)) return;
  if (!round->pending.Contains(interval)) {  // It was a kJudge, and what it overlapped was dropped meanwhile.
    TakeFree(*round, interval);
    CutFromLeases(*round, interval, LeaseId{});
  }
  round->pending.Remove(interval);
  round->committed.Add(interval);
  const double cost = round->plan->Cost(interval);
  Session* session = FindSession(id);
  if (session != nullptr && busy_seconds > 0) {
    LearnSpeed(*session, slot, key.job, cost / std::max(busy_seconds, kShortestMeasurement));
  }
}

void Scheduler::Dropped(RoundKey key, Interval interval) {
  OpenedRound* round = FindRound(key);
  if (round == nullptr) return;
  round->pending.Remove(interval);
  IntervalSet freed = round->committed.Complement(interval);
  Free(*round, freed);
}

void Scheduler::Retract(RoundKey key, Interval interval) {
  OpenedRound* round = FindRound(key);
  if (round == nullptr || !round->committed.Contains(interval)) return;
  round->committed.Remove(interval);
  if (options_.defect != SchedulerDefect::kRetractedIsForgotten) Free(*round, IntervalSet{interval});
}

// ---- Leases

void Scheduler::EndLease(LeaseId id, bool free_rest) {
  const auto it = leases_.find(id);
  if (it == leases_.end()) return;
  Lease lease = std::move(it->second);
  leases_.erase(it);
  if (Session* session = FindSession(lease.session); session != nullptr && lease.slot < session->slots.size()) {
    std::erase(session->slots[lease.slot].queue, id);
  }
  OpenedRound* round = FindRound(lease.round);
  if (round == nullptr) return;
  if (lease.trial) return TrialLost(*round, lease);
  round->leases.erase(id);
  if (free_rest) Free(*round, lease.rest);
}

void Scheduler::TakeAway(LeaseId id) {
  const SessionId owner = leases_.at(id).session;
  if (Session* session = FindSession(owner); session != nullptr) session->taken_away.push_back(id);
  wake_.insert(owner);
  EndLease(id, /*free_rest=*/false);
}

void Scheduler::AskToShrink(Lease& lease, uint64_t end) {
  lease.shrink_to = std::min(end, lease.shrink_to.value_or(end));
  wake_.insert(lease.session);
  if (options_.defect != SchedulerDefect::kTailIsFreedUnconfirmed) return;
  const IntervalSet tail = lease.rest.Intersect({end, std::numeric_limits<uint64_t>::max()});
  lease.rest.Remove(tail);
  Free(*FindRound(lease.round), tail);
}

Orders Scheduler::Exchange(absl::Time now, SessionId id, const WorkerReport& report) {
  Orders orders;
  Session* session = FindSession(id);
  if (session == nullptr) return orders;
  Heard(now, id, *session);
  session->draining = report.draining;
  session->taken_away.clear();  // What it still holds of them is unknown now, and revoked as such.
  NoteHeld(now, id, *session, report, orders);
  for (size_t i = 0; i < session->slots.size(); ++i) {
    const uint32_t wanted = i < report.free_capacity.size() ? report.free_capacity[i] : 0;
    Slot& slot = session->slots[i];
    slot.free_capacity = std::min(wanted, kMostLeasesASlot);
    slot.refusals = wanted == 0 && slot.queue.empty() ? slot.refusals + 1 : 0;
  }
  StandingOrders(*session, orders);
  GrantWork(now, id, *session, orders);
  return orders;
}

Orders Scheduler::Poll(absl::Time now, SessionId id) {
  Orders orders;
  Session* session = FindSession(id);
  if (session == nullptr || !session->live) return orders;
  StandingOrders(*session, orders);
  GrantWork(now, id, *session, orders);
  return orders;
}

void Scheduler::NoteHeld(absl::Time now, SessionId id, Session& session, const WorkerReport& report, Orders& orders) {
  std::set<LeaseId> listed;
  for (const HeldLease& held : report.held) {
    listed.insert(held.lease);
    const auto it = leases_.find(held.lease);
    if (it != leases_.end() && it->second.session == id && it->second.trial) {
      if (it->second.rest.Intersect(held.rest) == it->second.rest) continue;
      EndLease(held.lease, /*free_rest=*/false);  // Some of it is missing: it starts anew.
      orders.revoked.push_back(held.lease);
    } else if (it != leases_.end() && it->second.session == id) {
      Confirm(it->second, held);
    } else if (it != leases_.end() || !Adopt(now, id, session, held)) {
      orders.revoked.push_back(held.lease);
    }
  }
  // Finished or handed back: the worker has had the answer that granted them, for it speaks again.
  for (Slot& slot : session.slots) {
    const std::vector<LeaseId> queue = slot.queue;
    for (const LeaseId lease : queue) {
      if (listed.contains(lease)) continue;
      EndLease(lease, /*free_rest=*/options_.defect != SchedulerDefect::kHandedBackIsForgotten);
    }
  }
}

void Scheduler::Confirm(Lease& lease, const HeldLease& held) {
  IntervalSet gone = lease.rest;
  gone.Remove(held.rest);
  lease.rest.Remove(gone);
  if (lease.shrink_to && held.shrunk_to <= *lease.shrink_to) {
    lease.solid = held.rest.end > *lease.shrink_to;
    lease.shrink_to.reset();
  }
  OpenedRound* round = FindRound(lease.round);
  const bool is_empty = lease.rest.empty();
  const LeaseId id = lease.id;
  Free(*round, gone);
  if (is_empty) EndLease(id, /*free_rest=*/false);
}

bool Scheduler::Adopt(absl::Time now, SessionId id, Session& session, const HeldLease& held) {
  OpenedRound* round = FindRound(held.round);
  if (round == nullptr || held.rest.empty() || held.slot >= session.slots.size()) return false;
  if (round->terms.is_volatile && held.lease.epoch != static_cast<uint64_t>(options_.epoch)) return false;
  if (!round->free.Contains(held.rest)) return false;
  TakeFree(*round, held.rest);
  Lease lease;
  lease.id = held.lease;
  lease.session = id;
  lease.slot = held.slot;
  lease.round = held.round;
  lease.rest.Add(held.rest);
  lease.granted_at = now;
  lease.granted_cost = round->plan->Cost(held.rest);
  round->leases.insert(held.lease);
  session.slots[held.slot].queue.push_back(held.lease);
  leases_.emplace(held.lease, std::move(lease));
  return true;
}

// ---- Display

double Scheduler::Rate(JobId job) const {
  double rate = 0;
  for (const auto& [id, session] : sessions_) rate += SessionRate(id, job);
  return rate;
}

double Scheduler::SessionRate(SessionId id, JobId job) const {
  const auto it = sessions_.find(id);
  if (it == sessions_.end() || !it->second.live) return 0;
  double rate = 0;
  for (const Slot& slot : it->second.slots) {
    // A slot computes the front of its queue.
    if (slot.queue.empty() || leases_.at(slot.queue.front()).round.job != job) continue;
    if (const auto speed = slot.speed.find(job); speed != slot.speed.end()) rate += speed->second;
  }
  return rate;
}

size_t Scheduler::LeaseCount(SessionId id) const {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return 0;
  size_t count = 0;
  for (const Slot& slot : it->second.slots) count += slot.queue.size();
  return count;
}

bool Scheduler::HoldsLeaseOf(SessionId id, JobId job) const {
  const auto it = sessions_.find(id);
  if (it == sessions_.end()) return false;
  for (const Slot& slot : it->second.slots) {
    for (const LeaseId lease : slot.queue) {
      if (leases_.at(lease).round.job == job) return true;
    }
  }
  return false;
}

bool Scheduler::HoldsLease(SessionId session, LeaseId lease, RoundKey key) const {
  const auto it = leases_.find(lease);
  return it != leases_.end() && it->second.session == session && it->second.round == key;
}

RoundState Scheduler::Inspect(RoundKey key) const {
  RoundState state;
  const auto it = rounds_.find(key);
  if (it == rounds_.end()) return state;
  const OpenedRound& round = it->second;
  state.size = round.plan->Size();
  state.free = round.free;
  state.pending = round.pending;
  state.committed = round.committed;
  for (const LeaseId id : round.leases) {
    const Lease& lease = leases_.at(id);
    state.leases.push_back({id, lease.session, lease.rest});
  }
  for (const auto& [id, check] : round.checks) {
    RoundState::CheckView view{id, check.interval, check.terms, std::nullopt, {}};
    if (check.lease) {
      view.session = leases_.at(*check.lease).session;
      view.rest = leases_.at(*check.lease).rest;
    }
    state.checks.push_back(std::move(view));
  }
  return state;
}

}  // namespace potluck
