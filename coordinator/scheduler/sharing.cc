// The part of the scheduler about even rounds (Sharing::kEven): each slot gets one unit, as large as its speed
// deserves, so that all are done at about the same time with as few results as possible.
#include <algorithm>

#include "coordinator/scheduler/scheduler.h"

namespace potluck {
namespace {

// A slot that said so often, one time after the other, that it holds nothing and takes nothing is not reckoned with.
constexpr uint32_t kRefusalsToBeIdle = 2;
// Splitting a unit must save more than this, and this share of what the round took so far: a result more is to be sent.
constexpr double kLeastSaving = 1.0;  // Seconds.
constexpr double kLeastSavingShare = 0.25;

}  // namespace

bool Scheduler::HasItsShare(const Slot& slot, RoundKey key, const OpenedRound& round) const {
  if (round.plan->sharing() != Sharing::kEven) return false;
  return std::any_of(slot.queue.begin(), slot.queue.end(), [&](LeaseId id) {
    const Lease& lease = leases_.at(id);
    return lease.round == key && !lease.trial;
  });
}

// Of what is free, by its speed among those that have had no unit yet. One that has had its unit and asks again shares
// with those that have nothing to do: who has not come by now may not come at all.
double Scheduler::EvenShare(SessionId id, uint32_t slot_index, RoundKey key, const OpenedRound& round) const {
  const auto weight = [&](const Slot& slot) {
    const double speed = SpeedOrMean(slot, key.job);
    return speed > 0 ? speed : 1.0;  // Nobody's is known.
  };
  const bool is_again = round.served.contains({id, slot_index});
  double mine = 1, all = 0;
  for (const auto& [other, session] : sessions_) {
    const bool is_there = session.live && session.connected && !session.draining;
    if (other != id && (!is_there || (is_again && !hungry_.contains(other)))) continue;
    for (uint32_t i = 0; i < session.slots.size(); ++i) {
      const Slot& slot = session.slots[i];
      if (other == id && i == slot_index) {
        mine = weight(slot);
        all += mine;
        continue;
      }
      if (!IsOfItsClass(slot, round)) continue;
      const bool is_idle = slot.queue.empty() && slot.free_capacity > 0;
      const bool takes_part = slot.refusals < kRefusalsToBeIdle && !round.served.contains({other, i});
      if (is_again ? is_idle : takes_part) all += weight(slot);
    }
  }
  return round.free_cost * (mine / all);
}

// Seconds until the unit is computed. Parts of it are reported seldom: so by when it was granted.
double Scheduler::EvenSecondsLeft(absl::Time now, const Lease& lease, double speed) const {
  const double expected = lease.granted_cost / speed;
  const double elapsed = absl::ToDoubleSeconds(now - lease.granted_at);
  return elapsed < expected ? expected - elapsed : elapsed;  // Who is late will be so again.
}

bool Scheduler::IsWorthSplitting(absl::Time now, const OpenedRound& round, double cost, double finish,
                                 double thief_speed) {
  const double victim_speed = cost / std::max(finish, 1e-9);
  const double by_two = cost / (victim_speed + (thief_speed > 0 ? thief_speed : victim_speed));
  const double took = absl::ToDoubleSeconds(now - round.first_granted);
  return finish - by_two > std::max(kLeastSaving, kLeastSavingShare * took);
}

}  // namespace potluck
