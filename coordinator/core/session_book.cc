#include "coordinator/core/session_book.h"

#include <algorithm>
#include <utility>

namespace potluck {
namespace {

// How exactly it is known when a killed coordinator was there last. The paper's host printed the date as often.
constexpr absl::Duration kBeat = absl::Minutes(1);
// A beat that comes so late says that the machine slept; the same if the wall clock was set by so much.
constexpr absl::Duration kAway = absl::Minutes(3);
constexpr absl::Duration kRemembered = absl::Hours(24 * 400);
constexpr absl::Duration kForgetInterval = absl::Hours(24);
// If nothing can be stored for long, what is the oldest goes: this is worth less than the memory.
constexpr size_t kMostWaiting = 10'000;

}  // namespace

void SessionBook::Add(Fact fact) {
  if (waiting_.size() >= kMostWaiting) waiting_.erase(waiting_.begin());
  waiting_.push_back(std::move(fact));
}

void SessionBook::Recover(Instant now, const StoreContents& contents) {
  last_number_ = contents.last_session;
  for (const SessionOpened& session : contents.open_sessions) {
    Close(session.number, SessionEnd::kAway, std::max(session.at, contents.last_ran_until));
  }
  ran_ = {now.wall, now.wall};
  last_beat_ = now;
  next_beat_ = now.monotonic + kBeat;
  forget_at_ = now.monotonic + kForgetInterval;
  Add(ran_);
  Add(SessionsForgotten{now.wall - kRemembered});
}

uint64_t SessionBook::Open(Instant now, WorkerId worker, const JoinRequest& joined, absl::Time began,
                           std::string devices) {
  if (is_over_) return 0;
  SessionOpened opened;
  opened.number = ++last_number_;
  opened.worker = worker;
  opened.token = joined.token;
  opened.name = joined.name;
  opened.place = joined.place;
  opened.began = began;
  const bool has_gpu = std::any_of(joined.devices.begin(), joined.devices.end(),
                                   [](const DeviceInfo& device) { return device.kind != "cpu"; });
  opened.gpu = has_gpu ? GpuState::kHas : joined.lacks_gpu ? GpuState::kRefused : GpuState::kNotSought;
  opened.devices = std::move(devices);
  opened.at = now.wall;
  Add(std::move(opened));
  return last_number_;
}

void SessionBook::Close(uint64_t number, SessionEnd end, absl::Time at) { Add(SessionClosed{number, end, at}); }

bool SessionBook::Beat(Instant now) {
  const absl::Duration passed = now.monotonic - last_beat_.monotonic;
  const bool was_away = passed >= kAway;
  const bool was_set = absl::AbsDuration(now.wall - last_beat_.wall - passed) >= kAway;
  if (was_away || was_set) ran_.began = now.wall;
  ran_.until = now.wall;
  last_beat_ = now;
  next_beat_ = now.monotonic + kBeat;
  Add(ran_);
  if (now.monotonic >= forget_at_) {
    forget_at_ = now.monotonic + kForgetInterval;
    Add(SessionsForgotten{now.wall - kRemembered});
  }
  return was_away;
}

std::vector<Fact> SessionBook::Take(Instant now) {
  if (is_held_back_ || !on_the_way_.empty() || waiting_.empty()) return {};
  // Whoever tells of a join runs. After a sleep the next beat is to find out first.
  const bool is_awake = next_beat_ != absl::InfiniteFuture() && now.monotonic - last_beat_.monotonic < kAway;
  if (is_awake && now.wall > ran_.until) {
    ran_.until = now.wall;
    Add(ran_);
  }
  on_the_way_ = std::exchange(waiting_, {});
  return on_the_way_;
}

void SessionBook::NotStored() {
  on_the_way_.insert(on_the_way_.end(), waiting_.begin(), waiting_.end());
  waiting_ = std::exchange(on_the_way_, {});
  is_held_back_ = true;
}

std::vector<Fact> SessionBook::TakeAll(Instant now) {
  if (next_beat_ != absl::InfiniteFuture()) Beat(now);
  next_beat_ = absl::InfiniteFuture();
  is_over_ = true;
  return std::exchange(waiting_, {});
}

}  // namespace potluck
