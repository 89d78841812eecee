#include "cli/availability.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "worker/platform.h"

namespace potluck {
namespace {

// The age that a worker tells is in whole seconds, and clocks differ.
constexpr absl::Duration kSameBeginning = absl::Minutes(5);
// A worker that comes back within this has only lost its connection, or was started again.
constexpr absl::Duration kShortAbsence = absl::Minutes(10);

absl::Time FromMillis(int64_t unix_ms) { return absl::FromUnixMillis(unix_ms); }

// What of the range lies in one of the others, which are disjoint.
absl::Duration Overlap(TimeRange range, const std::vector<TimeRange>& others) {
  absl::Duration sum;
  for (const TimeRange& other : others) {
    const absl::Time from = std::max(range.from, other.from), to = std::min(range.to, other.to);
    if (from < to) sum += to - from;
  }
  return sum;
}

// Ascending and disjoint.
std::vector<TimeRange> Union(std::vector<TimeRange> ranges) {
  std::sort(ranges.begin(), ranges.end(), [](const TimeRange& a, const TimeRange& b) { return a.from < b.from; });
  std::vector<TimeRange> merged;
  for (const TimeRange& range : ranges) {
    if (!merged.empty() && range.from <= merged.back().to) {
      merged.back().to = std::max(merged.back().to, range.to);
    } else {
      merged.push_back(range);
    }
  }
  return merged;
}

// What of the window lies between the ranges, and after the first of them began.
std::vector<TimeRange> Between(const std::vector<TimeRange>& ranges, TimeRange window) {
  std::vector<TimeRange> between;
  for (size_t i = 0; i + 1 < ranges.size(); ++i) {
    const TimeRange hole{std::max(ranges[i].to, window.from), std::min(ranges[i + 1].from, window.to)};
    if (hole.from < hole.to) between.push_back(hole);
  }
  return between;
}

Spread SpreadOf(std::vector<absl::Duration> durations) {
  Spread spread;
  spread.count = durations.size();
  if (durations.empty()) return spread;
  std::sort(durations.begin(), durations.end());
  const size_t middle = durations.size() / 2;
  spread.least = durations.front();
  spread.most = durations.back();
  spread.median = durations.size() % 2 == 1 ? durations[middle] : (durations[middle - 1] + durations[middle]) / 2;
  for (const absl::Duration duration : durations) spread.total += duration;
  return spread;
}

int Rank(GpuAnswer gpu) { return gpu == v1::SessionStatus::HAS ? 2 : gpu == v1::SessionStatus::REFUSED ? 1 : 0; }

bool IsHosted(const std::string& place) {
  const Platform* platform = FindPlatform(place);
  return platform != nullptr && platform->gpu_session != absl::InfiniteDuration();
}

PlatformSession SessionOf(const v1::SessionStatus& stay, absl::Time now) {
  PlatformSession session;
  session.worker = stay.worker();
  session.name = stay.name();
  session.place = stay.place();
  session.token = stay.token_name();
  session.gpu = stay.gpu();
  if (stay.began_unix_ms() != 0) session.began = FromMillis(stay.began_unix_ms());
  session.is_hosted = IsHosted(stay.place());
  const absl::Time from = FromMillis(stay.opened_unix_ms());
  session.stays = {{from, std::max(from, stay.closed_unix_ms() == 0 ? now : FromMillis(stay.closed_unix_ms()))}};
  // A newer coordinator may know other ends; an end it is.
  session.end = stay.closed_unix_ms() == 0                         ? v1::SessionStatus::END_UNSPECIFIED
                : stay.end() == v1::SessionStatus::END_UNSPECIFIED ? v1::SessionStatus::LOST
                                                                   : stay.end();
  return session;
}

bool GoesOn(const PlatformSession& session, const PlatformSession& next, const std::vector<TimeRange>& away) {
  if (session.place != next.place) return false;
  const bool both_known = session.began != absl::InfinitePast() && next.began != absl::InfinitePast();
  if (both_known) {
    const bool is_same = absl::AbsDuration(session.began - next.began) <= kSameBeginning;
    if (!is_same || session.is_hosted) return is_same;
  }
  const TimeRange absence{session.left(), next.joined()};
  const bool was_sent_away = session.end == v1::SessionStatus::DRAINED || session.end == v1::SessionStatus::REVOKED ||
                             session.end == v1::SessionStatus::QUARANTINED;
  return !was_sent_away && absence.length() - Overlap(absence, away) <= kShortAbsence;
}

// Ascending by when they were joined.
std::vector<PlatformSession> FindSessions(const Presence& presence, const std::vector<TimeRange>& away) {
  std::map<uint64_t, std::vector<PlatformSession>> by_worker;
  std::vector<const v1::SessionStatus*> stays;
  for (const v1::SessionStatus& stay : presence.stays) stays.push_back(&stay);
  std::stable_sort(stays.begin(), stays.end(),
                   [](const auto* a, const auto* b) { return a->opened_unix_ms() < b->opened_unix_ms(); });
  for (const v1::SessionStatus* stay : stays) {
    PlatformSession next = SessionOf(*stay, presence.now);
    std::vector<PlatformSession>& sessions = by_worker[stay->worker()];
    if (sessions.empty() || !GoesOn(sessions.back(), next, away)) {
      sessions.push_back(std::move(next));
      continue;
    }
    PlatformSession& session = sessions.back();
    session.stays.push_back(next.stays.front());
    session.end = next.end;
    session.name = next.name;  // As it is called now.
    if (Rank(next.gpu) > Rank(session.gpu)) session.gpu = next.gpu;
  }
  std::vector<PlatformSession> all;
  for (auto& [worker, sessions] : by_worker) {
    for (PlatformSession& session : sessions) all.push_back(std::move(session));
  }
  std::stable_sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.joined() < b.joined(); });
  return all;
}

std::string KeyOf(const PlatformSession& session, LaneOf by) {
  switch (by) {
    case LaneOf::kInstallation:
      return absl::StrCat(session.worker);
    case LaneOf::kName:
      return session.name;
    case LaneOf::kToken:
      return session.token;
    case LaneOf::kPlace:
      return session.place;
  }
  return "";
}

std::string PlaceText(const std::string& place) { return place.empty() ? "not said" : place; }

void NameLane(AvailabilityLane& lane, LaneOf by) {
  std::set<std::string> places;
  for (const PlatformSession& session : lane.sessions) places.insert(PlaceText(session.place));
  lane.place = absl::StrJoin(places, ", ");
  const PlatformSession& last = lane.sessions.back();
  lane.name = by == LaneOf::kToken   ? (last.token.empty() ? "not known" : last.token)
              : by == LaneOf::kPlace ? PlaceText(last.place)
                                     : last.name;
}

// Gaps without the coordinator's own absence; those that are nothing else are left out.
std::vector<absl::Duration> FindGaps(AvailabilityLane& lane, const std::vector<TimeRange>& away) {
  std::vector<TimeRange> there;
  for (const PlatformSession& session : lane.sessions) there.push_back({session.joined(), session.left()});
  there = Union(std::move(there));
  std::vector<absl::Duration> lengths;
  for (size_t i = 0; i + 1 < there.size(); ++i) {
    const TimeRange gap{there[i].to, there[i + 1].from};
    const absl::Duration length = gap.length() - Overlap(gap, away);
    if (length <= absl::ZeroDuration()) continue;
    lane.gaps.push_back(gap);
    lengths.push_back(length);
  }
  return lengths;
}

// From the end of the last session with a GPU before it, or from the refusal itself, to the next session with one.
std::vector<absl::Duration> FindRefusals(AvailabilityLane& lane, const std::vector<TimeRange>& away, absl::Time now) {
  std::vector<absl::Duration> lengths;
  std::optional<absl::Time> had_until, refused_since;
  const auto end = [&](absl::Time at) {
    const TimeRange without{*refused_since, std::max(at, *refused_since)};
    lengths.push_back(without.length() - Overlap(without, away));
    refused_since.reset();
  };
  for (const PlatformSession& session : lane.sessions) {
    if (session.gpu == v1::SessionStatus::HAS) {
      if (refused_since) end(session.joined());
      had_until = std::max(had_until.value_or(absl::InfinitePast()), session.left());
    } else if (session.gpu == v1::SessionStatus::REFUSED && !refused_since) {
      const bool has_other = had_until && *had_until > session.joined();
      if (!has_other) refused_since = had_until.value_or(session.joined());
    }
  }
  lane.is_refused_now = refused_since.has_value();
  if (refused_since) end(now);
  return lengths;
}

double ShareOf(const AvailabilityLane& lane, const Availability& availability) {
  std::vector<TimeRange> stays;
  for (const PlatformSession& session : lane.sessions) {
    stays.insert(stays.end(), session.stays.begin(), session.stays.end());
  }
  stays = Union(std::move(stays));
  const TimeRange watched{std::max(availability.window.from, stays.front().from), availability.window.to};
  const absl::Duration time = watched.length() - Overlap(watched, availability.away);
  absl::Duration present;
  for (const TimeRange& stay : stays) {
    const TimeRange within{std::max(stay.from, watched.from), std::min(stay.to, watched.to)};
    if (within.from < within.to) present += within.length() - Overlap(within, availability.away);
  }
  return time > absl::ZeroDuration() ? absl::FDivDuration(present, time) : 1;
}

void Count(AvailabilityLane& lane) {
  std::vector<absl::Duration> seen_whole, hosted;
  for (const PlatformSession& session : lane.sessions) {
    lane.with_gpu += session.gpu == v1::SessionStatus::HAS;
    lane.refused += session.gpu == v1::SessionStatus::REFUSED;
    lane.total += session.length();
    lane.open += session.is_open();
    if (!session.is_open()) ++lane.ends[session.end];
    if (session.is_open() || session.is_cut()) continue;
    seen_whole.push_back(session.length());
    if (session.is_hosted) hosted.push_back(session.length());
  }
  lane.hosted_lengths = SpreadOf(std::move(hosted));
  lane.lengths = SpreadOf(std::move(seen_whole));
}

}  // namespace

Availability FindAvailability(const Presence& presence, absl::Time since, LaneOf by) {
  Availability availability;
  availability.by = by;
  std::vector<TimeRange> ran = Union(presence.ran);
  // It answered just now; the last time that it noted is up to a minute ago.
  if (!ran.empty()) ran.back().to = std::max(ran.back().to, presence.now);
  absl::Time first = ran.empty() ? presence.now : ran.front().from;
  for (const v1::SessionStatus& stay : presence.stays) first = std::min(first, FromMillis(stay.opened_unix_ms()));
  availability.window = {std::min(std::max(since, first), presence.now), presence.now};
  availability.away = Between(ran, availability.window);
  const std::vector<TimeRange> all_away = Between(ran, {absl::InfinitePast(), presence.now});

  std::map<std::string, AvailabilityLane> lanes;
  for (PlatformSession& session : FindSessions(presence, all_away)) {
    if (session.left() < since && !session.is_open()) continue;
    availability.all.sessions.push_back(session);
    lanes[KeyOf(session, by)].sessions.push_back(std::move(session));
  }
  std::vector<absl::Duration> all_gaps, all_refusals;
  for (auto& [key, lane] : lanes) {
    NameLane(lane, by);
    Count(lane);
    const std::vector<absl::Duration> gaps = FindGaps(lane, all_away);
    const std::vector<absl::Duration> refusals = FindRefusals(lane, all_away, presence.now);
    lane.gap_lengths = SpreadOf(gaps);
    lane.refusals = SpreadOf(refusals);
    lane.share = ShareOf(lane, availability);
    availability.all.is_refused_now = availability.all.is_refused_now || lane.is_refused_now;
    all_gaps.insert(all_gaps.end(), gaps.begin(), gaps.end());
    all_refusals.insert(all_refusals.end(), refusals.begin(), refusals.end());
    availability.lanes.push_back(std::move(lane));
  }
  std::stable_sort(availability.lanes.begin(), availability.lanes.end(),
                   [](const auto& a, const auto& b) { return std::tie(a.name, a.place) < std::tie(b.name, b.place); });
  if (availability.lanes.empty()) return availability;
  Count(availability.all);
  availability.all.gap_lengths = SpreadOf(std::move(all_gaps));
  availability.all.refusals = SpreadOf(std::move(all_refusals));
  availability.all.share = ShareOf(availability.all, availability);
  return availability;
}

}  // namespace potluck
