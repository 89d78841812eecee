#include "worker/lease_book.h"

#include <algorithm>
#include <set>
#include <utility>

namespace potluck {
namespace {

// Bytes that a slice takes in a message besides its payload.
constexpr size_t kSliceOverhead = 128;
// Finished leases whose results are on their way keep a slot from taking more, beyond so many: the link is slower than
// the device.
constexpr uint32_t kMostOwing = 2;

}  // namespace

LeaseBook::LeaseBook(size_t slots, uint32_t capacity, size_t max_request_bytes)
    : slots_(slots), capacity_(capacity), max_request_bytes_(max_request_bytes) {}

LeaseBook::Lease* LeaseBook::Find(LeaseId id) {
  const auto it = std::find_if(leases_.begin(), leases_.end(), [id](const Lease& lease) { return lease.id == id; });
  return it == leases_.end() ? nullptr : &*it;
}

void LeaseBook::Remove(LeaseId id) {
  std::erase_if(leases_, [id](const Lease& lease) { return lease.id == id; });
}

ExchangeRequest LeaseBook::BuildRequest(SessionId session, uint64_t seq) {
  ExchangeRequest request;
  request.session = session;
  request.seq = seq;
  std::map<LeaseId, uint64_t> first_unsent;
  size_t bytes = 0;
  bool is_full = false;
  for (const Owed& owed : unacknowledged_) {
    const ReportedSlice& slice = owed.slice;
    if (owed.stage != Owed::Stage::kThere || first_unsent.contains(slice.lease)) {
      first_unsent.try_emplace(slice.lease, slice.interval.begin);
      continue;
    }
    bytes += slice.payload.size() + kSliceOverhead;
    if (bytes > max_request_bytes_ && !request.slices.empty()) {
      first_unsent.try_emplace(slice.lease, slice.interval.begin);
      is_full = true;
    } else {
      request.slices.push_back(slice);
    }
  }
  std::vector<uint32_t> queued(slots_, 0);
  std::vector<uint32_t> owing(slots_, 0);
  for (const Lease& lease : leases_) {
    ++(lease.over ? owing : queued)[lease.slot];
    // What was computed but is not sent along is still held.
    const auto unsent = first_unsent.find(lease.id);
    const uint64_t begin = unsent == first_unsent.end() ? lease.next : std::min(lease.next, unsent->second);
    if (begin < lease.end)
      request.report.held.push_back({lease.id, lease.round, lease.slot, {begin, lease.end}, lease.shrunk_to});
  }
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    const bool is_closed = draining_ || unusable_.contains(slot);
    const uint32_t taken = queued[slot] + std::max(owing[slot], kMostOwing) - kMostOwing;
    request.report.free_capacity.push_back(is_closed || taken >= capacity_ ? 0 : capacity_ - taken);
  }
  request.report.draining = draining_;
  for (const auto& [key, round] : rounds_) request.known_rounds.push_back(key);
  news_ = is_full;
  return request;
}

LeaseBook::Actions LeaseBook::Apply(const ExchangeRequest& sent, const ExchangeReply& reply) {
  Actions actions;
  // Slices are settled whatever the verdict: a refused one is refused for good. Only one that is not there is owed
  // still.
  for (size_t i = 0; i < std::min(reply.answers.size(), sent.slices.size()); ++i) {
    const auto owed = FindOwed(sent.slices[i].lease, sent.slices[i].interval);
    if (owed == unacknowledged_.end()) continue;
    if (reply.answers[i].verdict != SliceVerdict::kNotHere || owed->result == nullptr) {
      unacknowledged_.erase(owed);
    } else if (owed->stage == Owed::Stage::kThere) {
      owed->stage = Owed::Stage::kWaiting;
    }
  }
  for (const LeaseId id : reply.orders.revoked) {
    const Lease* lease = Find(id);
    if (lease == nullptr) continue;
    if (lease->started && !lease->over) actions.cancel.push_back(id);
    Remove(id);
    DropUnsent(id);
    news_ = true;
  }
  for (const Shrink& shrink : reply.orders.shrunk) {
    Lease* lease = Find(shrink.lease);
    if (lease == nullptr || lease->shrunk_to <= shrink.end) continue;
    if (lease->started && !lease->over) {
      actions.shrink.push_back(shrink);
    } else {
      Shrunk(shrink.lease, shrink.end, std::max(lease->next, std::min(shrink.end, lease->end)));
    }
  }
  for (const RoundInfo& round : reply.rounds) rounds_[round.key] = round;
  for (const Grant& grant : reply.orders.granted) {
    if (Find(grant.lease) != nullptr || grant.slot >= slots_ || grant.interval.empty()) continue;
    if (draining_) {
      news_ = true;  // Not listed in the next request: handed back.
      continue;
    }
    Lease lease;
    lease.id = grant.lease;
    lease.round = grant.round;
    lease.slot = grant.slot;
    lease.implementation = grant.implementation;
    lease.next = grant.interval.begin;
    lease.end = grant.interval.end;
    leases_.push_back(lease);
  }
  RemoveIfNothingIsOwed();
  ForgetUnusedRounds();
  return actions;
}

std::optional<LeaseBook::Lease> LeaseBook::NextToStart(uint32_t slot) const {
  for (const Lease& lease : leases_) {
    if (lease.slot != slot || lease.over) continue;
    if (lease.started) return std::nullopt;
    return lease;
  }
  return std::nullopt;
}

void LeaseBook::Started(LeaseId id) {
  if (Lease* lease = Find(id); lease != nullptr) lease->started = true;
}

void LeaseBook::SliceDone(ReportedSlice slice, std::shared_ptr<const ResultFile> result) {
  Lease* lease = Find(slice.lease);
  if (lease != nullptr) lease->next = slice.interval.end;
  if (result == nullptr) {
    unacknowledged_.push_back({std::move(slice), nullptr, Owed::Stage::kThere});
    news_ = true;
  } else if (lease != nullptr) {
    slice.is_put = true;
    unacknowledged_.push_back({std::move(slice), std::move(result), Owed::Stage::kWaiting});
  }
}

void LeaseBook::RunOver(LeaseId id) {
  news_ = true;
  Lease* lease = Find(id);
  if (lease == nullptr) return;
  lease->over = true;
  lease->end = lease->next;
  RemoveIfNothingIsOwed();
}

std::deque<LeaseBook::Owed>::iterator LeaseBook::FindOwed(LeaseId lease, Interval interval) {
  return std::find_if(unacknowledged_.begin(), unacknowledged_.end(),
                      [&](const Owed& owed) { return owed.slice.lease == lease && owed.slice.interval == interval; });
}

void LeaseBook::DropUnsent(LeaseId id) {
  std::erase_if(unacknowledged_,
                [id](const Owed& owed) { return owed.slice.lease == id && owed.stage != Owed::Stage::kThere; });
}

void LeaseBook::RemoveIfNothingIsOwed() {
  std::erase_if(leases_, [this](const Lease& lease) {
    return lease.over && std::none_of(unacknowledged_.begin(), unacknowledged_.end(), [&lease](const Owed& owed) {
             return owed.result != nullptr && owed.slice.lease == lease.id;
           });
  });
}

std::optional<LeaseBook::HandOver> LeaseBook::NextToHandOver() {
  for (Owed& owed : unacknowledged_) {
    if (owed.stage == Owed::Stage::kOnItsWay) return std::nullopt;
    if (owed.stage == Owed::Stage::kThere) continue;
    owed.stage = Owed::Stage::kOnItsWay;
    return HandOver{owed.slice.lease, owed.slice.round, owed.slice.interval, owed.result};
  }
  return std::nullopt;
}

void LeaseBook::HandedOver(LeaseId lease, Interval interval, const std::string& digest) {
  const auto owed = FindOwed(lease, interval);
  if (owed == unacknowledged_.end()) return;
  owed->stage = Owed::Stage::kThere;
  owed->slice.digest = digest;
  news_ = true;
}

void LeaseBook::Drop(LeaseId id) {
  Remove(id);
  DropUnsent(id);
  news_ = true;
}

void LeaseBook::SessionIsNew() {
  for (Owed& owed : unacknowledged_) {
    if (owed.result != nullptr && owed.stage == Owed::Stage::kThere) owed.stage = Owed::Stage::kWaiting;
  }
  news_ = true;
}

void LeaseBook::Shrunk(LeaseId id, uint64_t asked, uint64_t end) {
  Lease* lease = Find(id);
  if (lease == nullptr) return;
  lease->end = std::min(lease->end, std::max(end, lease->next));
  lease->shrunk_to = std::min(lease->shrunk_to, asked);
  news_ = true;
  if (!lease->started && lease->next == lease->end) Remove(id);
}

void LeaseBook::GiveBack(uint32_t slot) {
  news_ = true;
  std::erase_if(leases_, [slot](const Lease& lease) { return lease.slot == slot && !lease.started; });
}

void LeaseBook::SetUsable(uint32_t slot, bool is_usable) {
  if (is_usable) {
    news_ = unusable_.erase(slot) > 0 || news_;
  } else if (unusable_.insert(slot).second) {
    GiveBack(slot);
  }
}

void LeaseBook::StartDraining() {
  draining_ = true;
  news_ = true;
  std::erase_if(leases_, [](const Lease& lease) { return !lease.started; });
}

bool LeaseBook::HasIdleSlot() const {
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    const bool is_busy = std::any_of(leases_.begin(), leases_.end(),
                                     [slot](const Lease& lease) { return lease.slot == slot && !lease.over; });
    if (!is_busy && !unusable_.contains(slot)) return true;
  }
  return false;
}

bool LeaseBook::HasHandedOver() const {
  return std::any_of(unacknowledged_.begin(), unacknowledged_.end(),
                     [](const Owed& owed) { return owed.slice.is_put && owed.stage == Owed::Stage::kThere; });
}

const RoundInfo* LeaseBook::FindRound(RoundKey key) const {
  const auto it = rounds_.find(key);
  return it == rounds_.end() ? nullptr : &it->second;
}

void LeaseBook::ForgetUnusedRounds() {
  // The latest two stay although nothing is held of them: the next grant is likely to be of one.
  std::set<RoundKey> used;
  for (const Lease& lease : leases_) used.insert(lease.round);
  size_t spare = 0;
  for (auto it = rounds_.end(); it != rounds_.begin();) {
    --it;
    if (!used.contains(it->first) && ++spare > 2) it = rounds_.erase(it);
  }
}

}  // namespace potluck
