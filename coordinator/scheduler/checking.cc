// The scheduler's part about trials: checks and known-answer units (trials.h).
#include <algorithm>

#include "coordinator/scheduler/scheduler.h"
#include "kernels/math/mix64.h"

namespace potluck {
namespace {

// After its first, one in so many of a slot's leases is a known-answer unit, unless they have had this share of its
// work.
constexpr uint64_t kLeasesAKnownAnswer = 50;
constexpr double kShareOfKnownAnswers = 0.02;
// Slices shorter than this measure the clock more than the device.
constexpr double kShortestMeasurement = 1e-3;

}  // namespace

void Scheduler::AddCheck(CheckId id, RoundKey key, Interval interval, CheckTerms terms) {
  OpenedRound* round = FindRound(key);
  if (round == nullptr) return;
  DropCheck(id, key);  // Whatever was wanted of it before.
  round->waiting[terms].insert(id);
  round->checks[id] = {interval, std::move(terms), std::nullopt};
  WakeHungry();
}

void Scheduler::DropCheck(CheckId id, RoundKey key) {
  OpenedRound* round = FindRound(key);
  if (round == nullptr) return;
  const auto it = round->checks.find(id);
  if (it == round->checks.end()) return;
  const Check check = std::move(it->second);
  round->checks.erase(it);
  if (check.lease) return TakeAway(*check.lease);
  const auto group = round->waiting.find(check.terms);
  group->second.erase(id);
  if (group->second.empty()) round->waiting.erase(group);
}

TrialSlice Scheduler::AcceptTrial(SessionId session, RoundKey key, Interval interval, LeaseId lease_id,
                                  double busy_seconds) {
  TrialSlice slice;
  const OpenedRound* round = FindRound(key);
  if (round == nullptr || round->trials.empty()) return slice;
  const auto it = leases_.find(lease_id);
  if (it == leases_.end() || !it->second.trial || it->second.session != session || it->second.round != key)
    return slice;
  Lease& lease = it->second;
  const Trial& trial = *lease.trial;
  if (!lease.rest.Contains(interval)) {
    if (trial.interval.Overlaps(interval)) slice.fate = TrialSlice::Fate::kHadBefore;
    return slice;
  }
  slice.fate = TrialSlice::Fate::kTaken;
  slice.check = trial.check;
  slice.known = trial.known;
  Session& its_session = sessions_.at(session);
  const SlotInfo& info = its_session.slots[lease.slot].info;
  slice.way = {info.numerics_class, trial.implementation};
  const bool by_default = info.implementations.empty() || info.implementations.front() == trial.implementation;
  // Known-answer units are too short to tell a speed, other code paths have another one.
  if (trial.check && by_default && busy_seconds > 0) {
    const double cost = FindRound(key)->plan->Cost(interval);
    LearnSpeed(its_session, lease.slot, key.job, cost / std::max(busy_seconds, kShortestMeasurement));
  }
  lease.rest.Remove(interval);
  slice.is_last = lease.rest.empty();
  if (!slice.is_last) return slice;
  if (trial.check) FindRound(key)->checks.erase(*trial.check);
  EndLease(lease_id, /*free_rest=*/false);
  return slice;
}

bool Scheduler::IsTrial(LeaseId lease) const {
  const auto it = leases_.find(lease);
  return it != leases_.end() && it->second.trial.has_value();
}

void Scheduler::TrialLost(OpenedRound& round, const Lease& lease) {
  round.trials.erase(lease.id);
  if (!lease.trial->check) return;
  const CheckId id = *lease.trial->check;
  const auto it = round.checks.find(id);
  if (it == round.checks.end()) return;  // It is over, or was dropped.
  if (options_.defect == SchedulerDefect::kLostCheckCountsAsDone) {
    round.checks.erase(it);
    return;
  }
  it->second.lease.reset();
  round.waiting[it->second.terms].insert(id);
  WakeHungry();
}

bool Scheduler::IsExcluded(WorkerId worker, const CheckTerms& terms) const {
  const size_t runs = terms.not_by.size();
  if (runs == 1 && options_.defect == SchedulerDefect::kCheckGoesToTheSameWorker) return false;
  if (runs == 2 && options_.defect == SchedulerDefect::kThirdRunGoesToOneOfTheTwo) return false;
  return std::find(terms.not_by.begin(), terms.not_by.end(), worker) != terms.not_by.end();
}

bool Scheduler::IsOfItsClass(const Slot& slot, const OpenedRound& round) {
  return round.terms.numerics_class.empty() || round.terms.numerics_class == slot.info.numerics_class;
}

bool Scheduler::HasWorkerFor(RoundKey key) const {
  const auto it = rounds_.find(key);
  if (it == rounds_.end()) return true;
  return std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
    const Session& session = entry.second;
    if (!session.live || session.draining) return false;
    return std::any_of(session.slots.begin(), session.slots.end(),
                       [&](const Slot& slot) { return IsOfItsClass(slot, it->second); });
  });
}

std::optional<Scheduler::CheckChoice> Scheduler::FitOf(const SlotInfo& slot, const CheckTerms& terms) {
  const std::vector<Way>& used = terms.other_than;
  const std::string by_default = slot.implementations.empty() ? "" : slot.implementations.front();
  if (terms.same_class_only) {
    const bool is_another = std::any_of(used.begin(), used.end(),
                                        [&](const Way& way) { return way.numerics_class != slot.numerics_class; });
    return is_another ? std::nullopt : std::optional(CheckChoice{CheckId{}, by_default, 0});
  }
  const bool is_another_class = std::all_of(used.begin(), used.end(), [&](const Way& way) {
    return !way.numerics_class.empty() && way.numerics_class != slot.numerics_class;
  });
  if (is_another_class) return CheckChoice{CheckId{}, by_default, 2};
  for (const std::string& implementation : slot.implementations) {
    const bool is_another = std::none_of(used.begin(), used.end(), [&](const Way& way) {
      // What is not known any more was most likely computed by the default.
      return way.implementation == implementation || (way.implementation.empty() && implementation == by_default);
    });
    if (is_another) return CheckChoice{CheckId{}, implementation, 1};
  }
  return CheckChoice{CheckId{}, by_default, 0};
}

std::optional<Scheduler::CheckChoice> Scheduler::ChooseCheck(absl::Time now, const Session& session, const Slot& slot,
                                                             RoundKey key, const OpenedRound& round) const {
  std::optional<CheckChoice> best;
  size_t best_runs = 0;
  for (const auto& [terms, checks] : round.waiting) {
    if (IsExcluded(session.worker, terms)) continue;
    std::optional<CheckChoice> fit = FitOf(slot.info, terms);
    if (!fit) continue;
    CheckChoice choice = *std::move(fit);
    // Where two disagree, a third is wanted at once.
    const size_t runs = terms.not_by.size();
    if (best && (runs < best_runs || (runs == best_runs && choice.fit <= best->fit))) continue;
    choice.id = *checks.begin();
    const double speed = SpeedOrMean(slot, key.job);
    const double cost = round.plan->Cost(round.checks.at(choice.id).interval);
    if (speed > 0 && cost / speed > UsableSeconds(now, session, slot)) continue;
    best_runs = runs;
    best = std::move(choice);
  }
  return best;
}

std::optional<Scheduler::Trial> Scheduler::KnownAnswerDue(const Slot& slot, RoundKey key,
                                                          const OpenedRound& round) const {
  if (round.known.empty()) return std::nullopt;
  const uint64_t random = Mix64(next_lease_);
  Trial trial;
  trial.known = (random >> 32) % round.known.size();
  trial.interval = round.known[trial.known];
  if (!slot.info.implementations.empty()) trial.implementation = slot.info.implementations.front();
  const auto tally = slot.tally.find(key.job);
  if (tally == slot.tally.end() || !tally->second.had_known) return trial;
  const double known = tally->second.known + round.plan->Cost(trial.interval);
  const bool is_due = random % kLeasesAKnownAnswer == 0 && known <= kShareOfKnownAnswers * tally->second.work;
  return is_due ? std::optional(trial) : std::nullopt;
}

std::vector<CheckTerms> Scheduler::ChecksWithoutWorker(RoundKey key) const {
  std::vector<CheckTerms> stuck;
  const auto round = rounds_.find(key);
  if (round == rounds_.end()) return stuck;
  for (const auto& waiting : round->second.waiting) {
    const CheckTerms& terms = waiting.first;
    const bool has_worker = std::any_of(sessions_.begin(), sessions_.end(), [&](const auto& entry) {
      const Session& session = entry.second;
      if (!session.live || session.draining || IsExcluded(session.worker, terms)) return false;
      return std::any_of(session.slots.begin(), session.slots.end(), [&](const Slot& slot) {
        return IsOfItsClass(slot, round->second) && FitOf(slot.info, terms).has_value();
      });
    });
    if (!has_worker) stuck.push_back(terms);
  }
  return stuck;
}

bool Scheduler::HasChecks(RoundKey key) const {
  const auto round = rounds_.find(key);
  return round != rounds_.end() && !round->second.checks.empty();
}

Way Scheduler::WayOf(SessionId session, uint32_t slot) const {
  const auto it = sessions_.find(session);
  if (it == sessions_.end() || slot >= it->second.slots.size()) return {};
  const SlotInfo& info = it->second.slots[slot].info;
  return {info.numerics_class, info.implementations.empty() ? "" : info.implementations.front()};
}

}  // namespace potluck
