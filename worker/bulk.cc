// The session's third that moves what is large: which rounds' data are in use, what is handed over next, and what to do
// when the coordinator does not want it.
#include <utility>

#include "absl/strings/str_cat.h"
#include "worker/session.h"

namespace potluck {
namespace {

// A lease may be gone before the coordinator has said so. So often in a row it is something else.
constexpr int kMostLeasesGone = 3;

bool IsGone(const absl::Status& status) { return absl::IsPermissionDenied(status) || absl::IsNotFound(status); }

}  // namespace

void Session::SteerTransfers() {
  std::set<RoundKey> in_use, known;
  for (const LeaseBook::Lease& lease : book_.leases()) {
    if (!lease.over) in_use.insert(lease.round);
  }
  for (const auto& slot : slots_) {
    if (slot->running_) in_use.insert(slot->round_);
  }
  for (const auto& [key, round] : book_.rounds()) {
    if (!book_.draining()) known.insert(key);
  }
  if (in_use != rounds_in_use_ || known != rounds_known_) {
    std::set<std::string> bulk, blobs;
    for (const RoundKey key : in_use) {
      if (const RoundInfo* round = book_.FindRound(key)) bulk.insert(round->bulk.begin(), round->bulk.end());
    }
    for (const RoundKey key : known) {
      const RoundInfo* round = book_.FindRound(key);
      blobs.insert(round->blobs.begin(), round->blobs.end());
    }
    transfers_->KeepOnly(bulk, blobs);
    rounds_in_use_ = std::move(in_use);
    rounds_known_ = std::move(known);
  }
  if (std::optional<LeaseBook::HandOver> next = book_.NextToHandOver()) transfers_->HandOver(*std::move(next));
}

void Session::StopTransfers() {
  transfers_->Disconnect();
  is_transferring_ = false;
}

void Session::OnFetched(LeaseId lease, const std::string& digest, const absl::StatusOr<std::string>& path) {
  Post([this, lease, digest, path] {
    Slot* const slot = SlotThatRuns(lease);
    if (slot == nullptr) return;
    if (!IsGone(path.status())) return slot->executor_->AnswerBlob(lease, digest, path);
    // Nothing to be alarmed about: the next Exchange will say so too.
    slot->executor_->Cancel(lease);
    if (++slot->leases_gone_ >= kMostLeasesGone) slot->BackOffAfter(path.status());
  });
}

void Session::OnHandedOver(LeaseId lease, Interval interval, const absl::StatusOr<std::string>& digest) {
  Post([this, lease, interval, digest] {
    if (digest.ok()) {
      last_refusal_.clear();
      return book_.HandedOver(lease, interval, *digest);
    }
    book_.Drop(lease);
    if (Slot* const slot = SlotThatRuns(lease)) slot->executor_->Cancel(lease);
    if (IsGone(digest.status()) || last_refusal_ == digest.status().message()) return;
    last_refusal_ = std::string(digest.status().message());
    Say(absl::StrCat("the result of ", ToString(interval), " cannot be handed over: ", last_refusal_));
  });
}

}  // namespace potluck
