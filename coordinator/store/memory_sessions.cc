#include "coordinator/store/memory_sessions.h"

#include "coordinator/store/rules.h"

namespace potluck {

Verdict MemorySessions::Apply(const SessionOpened& fact) {
  const auto [it, is_new] = sessions_.try_emplace(fact.number, StoredSession{fact, {}});
  if (!is_new) {
    const SessionOpened& known = it->second.opened;
    return known.worker == fact.worker && known.at == fact.at ? Verdict::kRepeat : Verdict::kDisagreement;
  }
  if (fact.number > kKeptSessions) {
    sessions_.erase(sessions_.begin(), sessions_.upper_bound(fact.number - kKeptSessions));
  }
  return Verdict::kStored;
}

Verdict MemorySessions::Apply(const SessionClosed& fact) {
  const auto it = sessions_.find(fact.number);
  if (it == sessions_.end()) return Verdict::kUnknown;
  std::optional<SessionClosed>& closed = it->second.closed;
  if (closed) return closed->at == fact.at && closed->end == fact.end ? Verdict::kRepeat : Verdict::kDisagreement;
  closed = fact;
  return Verdict::kStored;
}

Verdict MemorySessions::Apply(const CoordinatorRan& fact) {
  const auto [it, is_new] = runs_.try_emplace(fact.began, fact.until);
  if (!is_new && fact.until <= it->second) return Verdict::kRepeat;
  it->second = fact.until;
  if (runs_.size() > kKeptRuns) runs_.erase(runs_.begin());
  return Verdict::kStored;
}

Verdict MemorySessions::Apply(const SessionsForgotten& fact) {
  const size_t sessions = std::erase_if(
      sessions_, [&](const auto& row) { return row.second.closed && row.second.closed->at < fact.before; });
  const size_t runs = std::erase_if(runs_, [&](const auto& run) { return run.second < fact.before; });
  return sessions + runs > 0 ? Verdict::kStored : Verdict::kRepeat;
}

void MemorySessions::AddTo(StoreContents& contents) const {
  for (const auto& [number, row] : sessions_) {
    if (!row.closed) contents.open_sessions.push_back(row.opened);
  }
  if (!sessions_.empty()) contents.last_session = sessions_.rbegin()->first;
  for (const auto& [began, until] : runs_) contents.last_ran_until = std::max(contents.last_ran_until, until);
}

std::vector<StoredSession> MemorySessions::ReadPage(const SessionPage& page) const {
  std::vector<StoredSession> found;
  for (auto it = sessions_.upper_bound(page.after); it != sessions_.end() && found.size() < page.max_sessions; ++it) {
    if (!it->second.closed || it->second.closed->at >= page.since) found.push_back(it->second);
  }
  return found;
}

std::vector<CoordinatorRan> MemorySessions::Runs(absl::Time since) const {
  std::vector<CoordinatorRan> found;
  for (const auto& [began, until] : runs_) {
    if (until >= since) found.push_back({began, until});
  }
  return found;
}

}  // namespace potluck
