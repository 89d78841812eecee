#include "worker/lease_book.h"

#include <algorithm>
#include <set>
#include <utility>

namespace potluck {
namespace {

// Bytes that a slice takes in a message besides its payload.
constexpr size_t kSliceOverhead = 128;

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
  for (const ReportedSlice& slice : unacknowledged_) {
    bytes += slice.payload.size() + kSliceOverhead;
    if (bytes > max_request_bytes_ && !request.slices.empty()) {
      first_unsent.try_emplace(slice.lease, slice.interval.begin);
    } else {
      request.slices.push_back(slice);
    }
  }
  std::vector<uint32_t> queued(slots_, 0);
  for (const Lease& lease : leases_) {
    ++queued[lease.slot];
    // What was computed but does not fit into this message is still held.
    const auto unsent = first_unsent.find(lease.id);
    const uint64_t begin = unsent == first_unsent.end() ? lease.next : std::min(lease.next, unsent->second);
    if (begin < lease.end)
      request.report.held.push_back({lease.id, lease.round, lease.slot, {begin, lease.end}, lease.shrunk_to});
  }
  for (uint32_t slot = 0; slot < slots_; ++slot) {
    const bool is_closed = draining_ || unusable_.contains(slot);
    request.report.free_capacity.push_back(is_closed || queued[slot] >= capacity_ ? 0 : capacity_ - queued[slot]);
  }
  request.report.draining = draining_;
  for (const auto& [key, round] : rounds_) request.known_rounds.push_back(key);
  news_ = !first_unsent.empty();
  return request;
}

LeaseBook::Actions LeaseBook::Apply(const ExchangeRequest& sent, const ExchangeReply& reply) {
  Actions actions;
  // Slices are settled in order, whatever the verdict: a refused one is refused for good. BuildRequest took them from
  // the front.
  const size_t settled = std::min({reply.answers.size(), sent.slices.size(), unacknowledged_.size()});
  unacknowledged_.erase(unacknowledged_.begin(), unacknowledged_.begin() + static_cast<ptrdiff_t>(settled));
  for (const LeaseId id : reply.orders.revoked) {
    const Lease* lease = Find(id);
    if (lease == nullptr) continue;
    if (lease->started) actions.cancel.push_back(id);
    Remove(id);
    news_ = true;
  }
  for (const Shrink& shrink : reply.orders.shrunk) {
    Lease* lease = Find(shrink.lease);
    if (lease == nullptr || lease->shrunk_to <= shrink.end) continue;
    if (lease->started) {
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
  ForgetUnusedRounds();
  return actions;
}

std::optional<LeaseBook::Lease> LeaseBook::NextToStart(uint32_t slot) const {
  for (const Lease& lease : leases_) {
    if (lease.slot != slot) continue;
    if (lease.started) return std::nullopt;
    return lease;
  }
  return std::nullopt;
}

void LeaseBook::Started(LeaseId id) {
  if (Lease* lease = Find(id); lease != nullptr) lease->started = true;
}

void LeaseBook::SliceDone(ReportedSlice slice) {
  if (Lease* lease = Find(slice.lease); lease != nullptr) lease->next = slice.interval.end;
  unacknowledged_.push_back(std::move(slice));
  news_ = true;
}

void LeaseBook::RunOver(LeaseId id) {
  Remove(id);
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
    const bool is_busy =
        std::any_of(leases_.begin(), leases_.end(), [slot](const Lease& lease) { return lease.slot == slot; });
    if (!is_busy && !unusable_.contains(slot)) return true;
  }
  return false;
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
