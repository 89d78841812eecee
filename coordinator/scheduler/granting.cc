// The part of the scheduler that sizes units, grants them and splits the tails of busy slots for idle ones.
//
// Sizes follow guided self-scheduling (Polychronopoulos and Kuck, 1987), in seconds rather than iterations: a unit
// takes its slot half of what the rest of the round would take all slots, between min_unit and target_unit.
#include <algorithm>
#include <iterator>

#include "coordinator/scheduler/scheduler.h"

namespace potluck {
namespace {

// Of a worker's remaining time, how much a unit may be planned to fill.
constexpr double kUsableShareOfSession = 0.8;
// How many idle sessions are woken when work turns up. Those that are not are woken by the next turn-up.
constexpr size_t kWakeAtOnce = 64;
// Shrinks that would win less than this are not worth a message.
constexpr double kWorthSplitting = 2.0;  // times min_unit

}  // namespace

void Scheduler::StandingOrders(const Session& session, Orders& orders) const {
  orders.revoked.insert(orders.revoked.end(), session.taken_away.begin(), session.taken_away.end());
  for (const Slot& slot : session.slots) {
    for (const LeaseId id : slot.queue) {
      const Lease& lease = leases_.at(id);
      if (lease.revoke) {
        orders.revoked.push_back(id);
      } else if (lease.shrink_to) {
        orders.shrunk.push_back({id, *lease.shrink_to});
      }
    }
  }
}

void Scheduler::GrantWork(absl::Time now, SessionId id, Session& session, Orders& orders) {
  hungry_.erase(id);
  if (session.draining) return;
  const size_t granted_before = orders.granted.size();
  for (uint32_t slot = 0; slot < session.slots.size(); ++slot) {
    while (session.slots[slot].free_capacity > 0 && GrantOne(now, id, session, slot, orders)) {
    }
    if (session.slots[slot].free_capacity > 0 && session.slots[slot].queue.empty()) {
      hungry_.insert(id);
      SplitTailFor(now, id, slot);
    }
  }
  // Only some were woken: those served pass it on while there is work.
  if (orders.granted.size() > granted_before && HasWork()) WakeHungry();
}

bool Scheduler::GrantOne(absl::Time now, SessionId id, Session& session, uint32_t slot_index, Orders& orders) {
  Slot& slot = session.slots[slot_index];
  const auto [it, check] = PickWork(now, session, slot);
  if (it == rounds_.end()) return false;
  auto& [key, round] = *it;
  const auto speed = slot.speed.find(key.job);
  const bool speed_is_known = speed != slot.speed.end();
  // A slot that nobody has measured gets one small unit, and more once that has told its speed.
  const auto tells_speed = [this](LeaseId queued) {
    const std::optional<Trial>& trial = leases_.at(queued).trial;
    return !trial || trial->check;
  };
  if (!speed_is_known && std::any_of(slot.queue.begin(), slot.queue.end(), tells_speed)) return false;
  if (const std::optional<Trial> known = KnownAnswerDue(slot, key, round)) {
    AddLease(now, id, session, slot_index, *it, known->interval, known, orders);
    return true;
  }
  if (check) {
    const Trial trial{check->id, 0, round.checks.at(check->id).interval, check->implementation};
    AddLease(now, id, session, slot_index, *it, trial.interval, trial, orders);
    return true;
  }
  const bool is_even = round.plan->sharing() == Sharing::kEven;
  const double share = is_even ? EvenShare(id, slot_index, key, round) : 0;
  double cost = round.plan->ProbeCost();
  if (is_even && speed_is_known) {
    const double seconds = UsableSeconds(now, session, slot);
    if (seconds < absl::ToDoubleSeconds(options_.min_unit)) return false;
    cost = std::min(share, seconds * speed->second);
    round.served.insert({id, slot_index});
  } else if (is_even) {
    cost = std::min(share, cost);
  } else if (speed_is_known) {
    const double seconds = UnitSeconds(now, session, slot, key, round);
    if (seconds <= 0) return false;
    cost = seconds * speed->second;
  }
  const Interval within = round.free.front();
  const Interval unit{within.begin, round.plan->Cut(within, cost)};
  if (options_.defect != SchedulerDefect::kGrantStaysFree) TakeFree(round, unit);
  AddLease(now, id, session, slot_index, *it, unit, std::nullopt, orders);
  return true;
}

LeaseId Scheduler::AddLease(absl::Time now, SessionId id, Session& session, uint32_t slot_index,
                            RoundMap::value_type& keyed, Interval unit, std::optional<Trial> trial, Orders& orders) {
  auto& [key, round] = keyed;
  Slot& slot = session.slots[slot_index];
  Job& job = jobs_[key.job];
  const double cost = round.plan->Cost(unit);
  const double known_speed = SpeedOrMean(slot, key.job);
  const double seconds = known_speed > 0 ? cost / known_speed : 1.0;
  virtual_now_ = std::max(virtual_now_, job.virtual_time);
  job.virtual_time += seconds / job.share.weight;
  if (!round.known.empty()) {
    Tally& tally = slot.tally[key.job];
    const bool is_known_answer = trial && !trial->check;
    (is_known_answer ? tally.known : tally.work) += cost;
    tally.had_known = tally.had_known || is_known_answer;
  }

  Lease lease;
  do {  // An adopted lease may bear any id.
    lease.id = {static_cast<uint64_t>(options_.epoch), next_lease_++};
  } while (leases_.contains(lease.id));
  lease.session = id;
  lease.slot = slot_index;
  lease.round = key;
  lease.rest.Add(unit);
  lease.granted_at = now;
  lease.granted_cost = cost;
  if (!trial) round.first_granted = std::min(round.first_granted, now);
  (trial ? round.trials : round.leases).insert(lease.id);
  if (trial && trial->check) {
    Check& check = round.checks.at(*trial->check);
    check.lease = lease.id;
    const auto group = round.waiting.find(check.terms);
    group->second.erase(*trial->check);
    if (group->second.empty()) round.waiting.erase(group);
  }
  slot.queue.push_back(lease.id);
  --slot.free_capacity;
  Grant grant{lease.id, key, slot_index, unit};
  // Always named where the device has names for it: a check of the default path looks like any other lease.
  if (trial) {
    grant.implementation = trial->implementation;
  } else if (!slot.info.implementations.empty()) {
    grant.implementation = slot.info.implementations.front();
  }
  orders.granted.push_back(std::move(grant));
  lease.trial = std::move(trial);
  const LeaseId granted = lease.id;
  leases_.emplace(granted, std::move(lease));
  return granted;
}

bool Scheduler::HasWork() const {
  return std::any_of(rounds_.begin(), rounds_.end(), [this](const auto& keyed) {
    const auto& [key, round] = keyed;
    return !jobs_.at(key.job).share.paused && (!round.free.empty() || !round.waiting.empty());
  });
}

std::pair<Scheduler::RoundMap::iterator, std::optional<Scheduler::CheckChoice>> Scheduler::PickWork(
    absl::Time now, const Session& session, const Slot& slot) {
  auto best = rounds_.end();
  const Job* best_job = nullptr;
  std::optional<CheckChoice> best_check;
  for (auto it = rounds_.begin(); it != rounds_.end(); ++it) {
    const Job& job = jobs_.at(it->first.job);
    if (job.share.paused || !IsOfItsClass(slot, it->second)) continue;
    if (best_job != nullptr && job.share.priority < best_job->share.priority) continue;
    if (best_job != nullptr && job.share.priority == best_job->share.priority &&
        job.virtual_time >= best_job->virtual_time) {
      continue;
    }
    // Checks go before new work: so what waits to be checked never piles up, and a wrong worker is found soon.
    std::optional<CheckChoice> check = ChooseCheck(now, session, slot, it->first, it->second);
    if (!check && (it->second.free.empty() || HasItsShare(slot, it->first, it->second))) continue;
    best = it;
    best_job = &job;
    best_check = std::move(check);
  }
  return {best, std::move(best_check)};
}

double Scheduler::UnitSeconds(absl::Time now, const Session& session, const Slot& slot, RoundKey key,
                              const OpenedRound& round) {
  const double total_speed = std::max(jobs_.at(key.job).total_speed, slot.speed.at(key.job));
  double seconds = round.free_cost / (2 * total_speed);
  seconds = std::clamp(seconds, absl::ToDoubleSeconds(options_.min_unit), absl::ToDoubleSeconds(options_.target_unit));
  const double usable = UsableSeconds(now, session, slot);
  return usable < absl::ToDoubleSeconds(options_.min_unit) ? 0 : std::min(seconds, usable);
}

// How much work may be planned for the slot before its session's end.
double Scheduler::UsableSeconds(absl::Time now, const Session& session, const Slot& slot) const {
  if (session.ends_at == absl::InfiniteFuture()) return std::numeric_limits<double>::infinity();
  return absl::ToDoubleSeconds(session.ends_at - now) * kUsableShareOfSession - QueuedSeconds(slot);
}

double Scheduler::QueuedSeconds(const Slot& slot) const {
  double seconds = 0;
  for (const LeaseId id : slot.queue) {
    const Lease& lease = leases_.at(id);
    const double speed = SpeedOrMean(slot, lease.round.job);
    if (speed > 0) seconds += CostOf(rounds_.at(lease.round), lease.rest) / speed;
  }
  return seconds;
}

// Finds the lease that will be finished last and asks its worker for so much of its tail that both slots would finish
// together. The tail is granted when the worker has confirmed.
void Scheduler::SplitTailFor(absl::Time now, SessionId thief_id, uint32_t thief_slot) {
  const Slot& thief = sessions_.at(thief_id).slots[thief_slot];
  const double worth = kWorthSplitting * absl::ToDoubleSeconds(options_.min_unit);
  Lease* victim = nullptr;
  double victim_before = 0;  // Seconds until its slot comes to it.
  double victim_finish = 0;
  for (auto& [id, session] : sessions_) {
    if (!session.live) continue;
    for (const Slot& slot : session.slots) {
      double finish = 0;
      for (const LeaseId lease_id : slot.queue) {
        Lease& lease = leases_.at(lease_id);
        const double speed = SpeedOrMean(slot, lease.round.job);
        const double before = finish;
        const OpenedRound& its_round = rounds_.at(lease.round);
        const bool is_even = its_round.plan->sharing() == Sharing::kEven;
        const double cost = CostOf(its_round, lease.rest);
        if (is_even && speed > 0) {
          finish += EvenSecondsLeft(now, lease, speed);
        } else {
          finish += speed > 0 ? cost / speed : worth;
        }
        if (lease.trial || lease.shrink_to || lease.solid || lease.revoke || jobs_.at(lease.round.job).share.paused)
          continue;
        if (!IsOfItsClass(thief, its_round)) continue;
        if (is_even && !IsWorthSplitting(now, its_round, cost, finish, SpeedOrMean(thief, lease.round.job))) {
          continue;
        }
        if (finish > worth && finish > victim_finish) {
          victim = &lease;
          victim_before = before;
          victim_finish = finish;
        }
      }
    }
  }
  if (victim == nullptr) return;
  const OpenedRound& round = rounds_.at(victim->round);
  const double cost = CostOf(round, victim->rest);
  const double victim_speed = cost / std::max(victim_finish - victim_before, 1e-9);
  const double measured = SpeedOrMean(thief, victim->round.job);
  const double thief_speed = measured > 0 ? measured : victim_speed;
  const double taken = std::min(cost, victim_finish / (1 / victim_speed + 1 / thief_speed));
  double kept = cost - taken;
  uint64_t end = victim->rest.front().begin;
  for (const Interval interval : victim->rest.Intervals()) {
    if (kept <= 0) break;
    end = round.plan->Cut(interval, kept);
    kept -= round.plan->Cost({interval.begin, end});
    if (end < interval.end) break;
  }
  if (end >= victim->rest.Intervals().back().end) {
    victim->solid = true;  // Too small to be cut any further.
    return;
  }
  AskToShrink(*victim, end);
}

bool Scheduler::MayWork(const Session& session) const {
  return std::any_of(rounds_.begin(), rounds_.end(), [&](const auto& round) {
    return std::any_of(session.slots.begin(), session.slots.end(),
                       [&](const Slot& slot) { return IsOfItsClass(slot, round.second); });
  });
}

void Scheduler::WakeHungry() {
  size_t woken = 0;
  // Those for whom there can be nothing must not take the places of those for whom there is.
  const bool is_bound = std::any_of(rounds_.begin(), rounds_.end(),
                                    [](const auto& round) { return !round.second.terms.numerics_class.empty(); });
  for (const SessionId id : hungry_) {
    if (is_bound && !MayWork(sessions_.at(id))) continue;
    if (woken++ == kWakeAtOnce) break;
    wake_.insert(id);
  }
}

std::vector<SessionId> Scheduler::TakeWakeups() {
  std::vector<SessionId> sessions(wake_.begin(), wake_.end());
  wake_.clear();
  return sessions;
}

}  // namespace potluck
