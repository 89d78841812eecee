// Who was at the table and when: what the book (session_book.h) is told.
#include <algorithm>
#include <utility>

#include "coordinator/core/core.h"

namespace potluck {
namespace {

// What could not be stored is tried again after this.
constexpr absl::Duration kRetryStore = absl::Seconds(5);

}  // namespace

void Core::OpenEntry(Instant now, Session& session) {
  const std::vector<WorkerDescribed>& history = worker_history_[session.worker];
  session.entry =
      book_.Open(now, session.worker, session.joined, session.began, history.empty() ? "" : history.back().devices);
}

void Core::CloseEntry(Instant now, Session& session, SessionEnd end) {
  if (session.entry == 0) return;
  // A call that is held is a connection that is open, as far as anybody knows.
  const absl::Duration silence = session.call ? absl::ZeroDuration() : now.monotonic - session.heard;
  const bool is_missed = end == SessionEnd::kLost || end == SessionEnd::kReplaced || end == SessionEnd::kAway;
  if (is_missed && HasLeft(session)) end = SessionEnd::kDrained;
  book_.Close(std::exchange(session.entry, 0), end, now.wall - silence);
}

// Those that are silent are not at the table any more, although they may come back to their sessions.
void Core::LookAround(Instant now) {
  const bool was_away = book_.Beat(now);
  for (auto& [id, session] : sessions_) {
    // The next call is due when the last one, which may have been held, is answered.
    const absl::Duration patience =
        session.joined.metered ? 3 * options_.metered_interval : options_.scheduler.lease_time + options_.longest_hold;
    if (session.call || session.heard + patience > now.monotonic) continue;
    CloseEntry(now, session, was_away ? SessionEnd::kAway : SessionEnd::kLost);
  }
}

void Core::StoreBook(Instant now, Outbox& outbox) {
  std::vector<Fact> facts = book_.Take(now);
  if (facts.empty()) return;
  Append append;
  append.then = [this](Instant then, Outbox& later, const std::vector<Verdict>&) {
    book_.Stored();
    StoreBook(then, later);
  };
  append.otherwise = [this](Instant failed, Outbox&) {
    book_.NotStored();
    later_.emplace(failed.monotonic + kRetryStore, [this](Instant then, Outbox& later) {
      book_.TryAgain();
      StoreBook(then, later);
    });
  };
  Send(outbox, std::move(facts), std::move(append));
}

Outbox Core::Stop(Instant now) {
  Outbox outbox;
  for (auto& [id, session] : sessions_) CloseEntry(now, session, SessionEnd::kStopped);
  if (std::vector<Fact> facts = book_.TakeAll(now); !facts.empty()) Send(outbox, std::move(facts), Append{});
  return outbox;
}

}  // namespace potluck
