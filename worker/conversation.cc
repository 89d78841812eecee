// The session's half that talks: Join, Exchange, and what to do when that fails.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "worker/platform.h"
#include "worker/session.h"

namespace potluck {
namespace {

// How much longer than the coordinator may hold a call its answer is waited for.
constexpr absl::Duration kAnswerSlack = absl::Seconds(20);

// The coordinator does not want this worker, and asking again will not change that.
bool IsRefusal(const absl::Status& status) {
  return absl::IsPermissionDenied(status) || absl::IsUnauthenticated(status) || absl::IsInvalidArgument(status);
}

std::string NumericsClass(const std::string& device, const std::string& backend) {
  return backend.empty() ? device : absl::StrCat(device, "+", backend);
}

}  // namespace

void Session::Converse() {
  const absl::Time now = MonotonicNow();
  switch (talk_) {
    case Talk::kWaiting:
      if (now < next_try_) break;
      if (!has_session_) {
        Join();
      } else {
        Call(/*repeat=*/request_.has_value());
      }
      break;
    case Talk::kJoining:
      break;
    case Talk::kTalking:
      if (WantsToCall()) Call(/*repeat=*/false);
      break;
    case Talk::kCalling:
      // A held call that carried no slices is overtaken by news; one that did is about to be answered.
      if (book_.HasNews() && request_ && request_->slices.empty() && !request_->no_wait && WantsToCall()) {
        link_->Cancel();
        Call(/*repeat=*/false);
      }
      break;
  }
  if (book_.draining() && is_lost_ && now >= drain_deadline_) {
    End(WorkerEnd::kDrained,
        absl::StrCat("left the table; the coordinator could not be reached, so ", book_.unacknowledged(),
                     " results were not handed in and will be done again"));
  }
}

absl::Time Session::NextCall() const {
  if (book_.draining()) return last_call_ + kDrainingInterval;
  // On a metered link news wait too, unless a device has nothing to do.
  if (options_.metered && !book_.HasIdleSlot()) return call_due_;
  return last_call_ + kQuietInterval;
}

bool Session::WantsToCall() const {
  // A result that was handed over takes up room until its slice is reported.
  const bool may_wait = options_.metered && !book_.draining() && !book_.HasIdleSlot() && !book_.HasHandedOver();
  return (book_.HasNews() && !may_wait) || MonotonicNow() >= NextCall();
}

void Session::Join() {
  talk_ = Talk::kJoining;
  Hello hello;
  hello.installation = installation_;
  hello.name = options_.name;
  hello.platform = platform_;
  for (const auto& slot : slots_) {
    const DeviceSpec& device = slot->device_;
    hello.devices.push_back({device.kind, device.name, static_cast<uint32_t>(device.threads), device.memory_bytes,
                             NumericsClass(device.numerics_class, slot->backend_class_.value_or("")), slot->self_test_,
                             device.implementations});
  }
  if (options_.ends_in != absl::InfiniteDuration()) hello.ends_in = LeavesAt() - MonotonicNow();
  hello.metered = options_.metered;
  hello.place = ThisPlatform().name;
  hello.session_age = SessionAge();
  hello.lacks_gpu = options_.device != "cpu" && std::none_of(slots_.begin(), slots_.end(), [](const auto& slot) {
    return slot->device_.kind == "cuda" && slot->self_test_.empty();
  });
  link_->Join(hello, [this](const absl::Status& status, const Welcome& welcome) {
    Post([this, status, welcome] { OnJoined(status, welcome); });
  });
}

void Session::OnJoined(const absl::Status& status, const Welcome& welcome) {
  if (absl::IsFailedPrecondition(status)) return End(WorkerEnd::kOtherVersion, std::string(status.message()));
  if (IsRefusal(status) && ++refusals_ >= options_.join.addresses.size()) {
    return End(WorkerEnd::kRefused, std::string(status.message()));
  }
  if (!status.ok()) return ConnectionLost(status);
  Say(was_joined_ ? absl::StrCat("back at the table of ", link_->address())
                  : absl::StrCat("joined the table of ", link_->address(), " as ", options_.name));
  refusals_ = 0;
  is_lost_ = false;
  was_joined_ = has_session_ = true;
  session_ = welcome.session;
  longest_hold_ = welcome.longest_hold;
  back_off_.Reset();
  seq_ = 0;
  request_.reset();
  StopTransfers();
  book_.SessionIsNew();
  talk_ = Talk::kTalking;
  last_call_ = call_due_ = absl::InfinitePast();
}

void Session::Call(bool repeat) {
  talk_ = Talk::kCalling;
  last_call_ = MonotonicNow();
  if (!repeat) {
    request_ = book_.BuildRequest(session_, ++seq_);
    request_->no_wait = book_.draining();
    request_->report.link = transfers_->link_use();
  }
  const uint64_t call = ++call_;
  link_->Exchange(*request_, longest_hold_ + kAnswerSlack,
                  [this, call](const absl::Status& status, const ExchangeReply& reply) {
                    Post([this, call, status, reply] { OnExchanged(call, status, reply); });
                  });
}

void Session::OnExchanged(uint64_t call, const absl::Status& status, const ExchangeReply& reply) {
  if (call != call_) return;  // Overtaken.
  if (!status.ok()) return OnCallFailed(status);
  if (is_lost_) Say(absl::StrCat("reached ", link_->address(), " again"));
  is_lost_ = false;
  refusals_ = 0;
  back_off_.Reset();
  talk_ = Talk::kTalking;
  const ExchangeRequest sent = *std::move(request_);
  request_.reset();
  if (options_.metered) call_due_ = MonotonicNow() + reply.call_within;
  for (size_t i = 0; i < reply.answers.size() && i < sent.slices.size(); ++i) {
    const SliceAnswer& answer = reply.answers[i];
    if (answer.verdict == SliceVerdict::kCommitted) {
      ++results_;
      busy_seconds_ += sent.slices[i].busy_seconds;
    }
    if (answer.verdict != SliceVerdict::kInvalid) continue;
    Say(absl::StrCat("the coordinator refused the result of ", ToString(sent.slices[i].interval), ": ",
                     answer.message));
  }
  const LeaseBook::Actions actions = book_.Apply(sent, reply);
  for (const Shrink& shrink : actions.shrink) {
    for (auto& slot : slots_) {
      if (slot->running_ == shrink.lease) slot->executor_->Shrink(shrink.lease, shrink.end);
    }
  }
  for (const LeaseId lease : actions.cancel) {
    for (auto& slot : slots_) {
      if (slot->running_ == lease) slot->executor_->Cancel(lease);
    }
  }
  for (const LeaseId lease : reply.orders.revoked) transfers_->ForgetResults(lease);
  if (!is_transferring_) transfers_->Connect(link_->line(), session_);
  is_transferring_ = true;
  if (reply.drain) StartDraining("the coordinator asks for it");
}

void Session::OnCallFailed(const absl::Status& status) {
  if (absl::IsNotFound(status) || absl::IsFailedPrecondition(status) || absl::IsAborted(status)) {
    // It does not know this session (any more): join again, with all that is held and owed.
    has_session_ = false;
    request_.reset();
    StopTransfers();
    next_try_ = absl::IsNotFound(status) ? MonotonicNow() : MonotonicNow() + back_off_.Next(random_);
    talk_ = Talk::kWaiting;
    return;
  }
  if (IsRefusal(status) && ++refusals_ >= options_.join.addresses.size()) {
    return End(WorkerEnd::kRefused, std::string(status.message()));
  }
  if (absl::IsCancelled(status)) {  // Our own doing, in order to say something else.
    talk_ = Talk::kTalking;
    last_call_ = absl::InfinitePast();
    return;
  }
  if (absl::IsResourceExhausted(status)) request_.reset();  // It answered: the next try is a new request.
  ConnectionLost(status);
}

void Session::ConnectionLost(const absl::Status& status) {
  StopTransfers();
  link_->Reconnect();
  const absl::Duration wait = back_off_.Next(random_);
  if (!is_lost_) {
    Say(absl::StrCat(std::string(status.message()), "; trying again",
                     was_joined_ ? ", and computing on meanwhile" : ""));
    drain_deadline_ = MonotonicNow() + kDrainPatience;
  }
  is_lost_ = true;
  next_try_ = MonotonicNow() + wait;
  talk_ = Talk::kWaiting;
}

}  // namespace potluck
