// The report as text, JSON and picture.
#include <algorithm>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "cli/availability.h"
#include "cli/output.h"
#include "cli/timeline_svg.h"

namespace potluck {
namespace {

using nlohmann::ordered_json;

// The paper's figures.
constexpr absl::Duration kPaperFirst = absl::Hours(12);
constexpr absl::Duration kPaperSecond = absl::Hours(3);
constexpr absl::Duration kPaperRefusal = absl::Hours(5);
constexpr size_t kNameWidth = 24;

const char* EndName(SessionEnding end) {
  switch (end) {
    case v1::SessionStatus::DRAINED:
      return "drained";
    case v1::SessionStatus::LOST:
      return "lost";
    case v1::SessionStatus::REPLACED:
      return "replaced";
    case v1::SessionStatus::REVOKED:
      return "revoked";
    case v1::SessionStatus::QUARANTINED:
      return "quarantined";
    case v1::SessionStatus::STOPPED:
      return "coordinator_stopped";
    case v1::SessionStatus::AWAY:
      return "coordinator_away";
    default:
      return "other";
  }
}

const char* GpuName(GpuAnswer gpu) {
  return gpu == v1::SessionStatus::HAS ? "gpu" : gpu == v1::SessionStatus::REFUSED ? "refused" : "not_sought";
}

const char* LaneName(LaneOf by) {
  switch (by) {
    case LaneOf::kInstallation:
      return "installation";
    case LaneOf::kName:
      return "name";
    case LaneOf::kToken:
      return "token";
    case LaneOf::kPlace:
      return "place";
  }
  return "";
}

std::string Cut(const std::string& name) {
  const std::string printable = Printable(name);
  return printable.size() <= kNameWidth ? printable : absl::StrCat(printable.substr(0, kNameWidth - 3), "...");
}

std::string TimeOrDash(const Spread& spread, absl::Duration Spread::*which) {
  return spread.count == 0 ? "-" : ShortTime(spread.*which);
}

absl::Duration Sum(const std::vector<TimeRange>& ranges) {
  absl::Duration sum;
  for (const TimeRange& range : ranges) sum += range.length();
  return sum;
}

std::string EndsText(const AvailabilityLane& lane) {
  std::vector<std::string> parts;
  for (const auto& [end, count] : lane.ends) {
    std::string name = EndName(end);
    std::replace(name.begin(), name.end(), '_', ' ');
    parts.push_back(absl::StrCat(count, " ", name));
  }
  if (lane.open > 0) parts.push_back(absl::StrCat(lane.open, " still here"));
  return absl::StrJoin(parts, ", ");
}

// Where the lanes are the places, they need not be told twice.
std::string SessionsTable(const Availability& availability) {
  const bool has_places = availability.by != LaneOf::kPlace;
  std::vector<std::vector<std::string>> rows = {{LaneName(availability.by), "place", "sessions", "GPU", "refused",
                                                 "shortest", "median", "longest", "in all", "there"}};
  const auto add = [&](const AvailabilityLane& lane, const std::string& name, const std::string& place) {
    rows.push_back({name, place, absl::StrCat(lane.sessions.size()), absl::StrCat(lane.with_gpu),
                    absl::StrCat(lane.refused), TimeOrDash(lane.lengths, &Spread::least),
                    TimeOrDash(lane.lengths, &Spread::median), TimeOrDash(lane.lengths, &Spread::most),
                    ShortTime(lane.total), Percent(lane.share)});
  };
  for (const AvailabilityLane& lane : availability.lanes) add(lane, Cut(lane.name), Cut(lane.place));
  if (availability.lanes.size() > 1) add(availability.all, "all", "");
  for (std::vector<std::string>& row : rows) {
    if (!has_places) row.erase(row.begin() + 1);
  }
  const size_t first = has_places ? 2 : 1;
  return Table(rows, {first, first + 1, first + 2, first + 3, first + 4, first + 5, first + 6, first + 7});
}

std::string GapsTable(const Availability& availability) {
  std::vector<std::vector<std::string>> rows = {
      {LaneName(availability.by), "gaps", "shortest", "median", "longest", "no GPU for", "sessions ended"}};
  for (const AvailabilityLane& lane : availability.lanes) {
    rows.push_back({Cut(lane.name), absl::StrCat(lane.gap_lengths.count), TimeOrDash(lane.gap_lengths, &Spread::least),
                    TimeOrDash(lane.gap_lengths, &Spread::median), TimeOrDash(lane.gap_lengths, &Spread::most),
                    TimeOrDash(lane.refusals, &Spread::most), EndsText(lane)});
  }
  return Table(rows, {1, 2, 3, 4, 5});
}

// The paper's notebook was a hosted one: where there are such, they are what is compared.
std::string PaperTable(const AvailabilityLane& all) {
  const bool has_hosted = all.hosted_lengths.count > 0;
  const Spread& lengths = has_hosted ? all.hosted_lengths : all.lengths;
  return Table({{"", "the paper, 2018", has_hosted ? "hosted, here" : "here"},
                {"longest session", ShortTime(kPaperFirst), TimeOrDash(lengths, &Spread::most)},
                {"shortest session", ShortTime(kPaperSecond), TimeOrDash(lengths, &Spread::least)},
                {"longest without a GPU", ShortTime(kPaperRefusal),
                 absl::StrCat(TimeOrDash(all.refusals, &Spread::most), all.is_refused_now ? " so far" : "")}},
               {1, 2});
}

ordered_json JsonOf(const Spread& spread) {
  ordered_json json = {{"count", spread.count}};
  const bool none = spread.count == 0;
  json["min_seconds"] = none ? ordered_json() : ordered_json(absl::ToDoubleSeconds(spread.least));
  json["median_seconds"] = none ? ordered_json() : ordered_json(absl::ToDoubleSeconds(spread.median));
  json["max_seconds"] = none ? ordered_json() : ordered_json(absl::ToDoubleSeconds(spread.most));
  json["total_seconds"] = absl::ToDoubleSeconds(spread.total);
  return json;
}

ordered_json JsonOf(const std::vector<TimeRange>& ranges) {
  ordered_json json = ordered_json::array();
  for (const TimeRange& range : ranges) {
    json.push_back({{"from_unix_ms", absl::ToUnixMillis(range.from)}, {"to_unix_ms", absl::ToUnixMillis(range.to)}});
  }
  return json;
}

ordered_json JsonOf(const PlatformSession& session) {
  ordered_json json = {{"worker", Printable(session.name)},
                       {"place", session.place},
                       {"token", Printable(session.token)},
                       {"gpu", GpuName(session.gpu)}};
  json["began_unix_ms"] =
      session.began == absl::InfinitePast() ? ordered_json() : ordered_json(absl::ToUnixMillis(session.began));
  json["joined_unix_ms"] = absl::ToUnixMillis(session.joined());
  json["left_unix_ms"] = session.is_open() ? ordered_json() : ordered_json(absl::ToUnixMillis(session.left()));
  json["length_seconds"] = absl::ToDoubleSeconds(session.length());
  json["ended"] = session.is_open() ? ordered_json() : ordered_json(EndName(session.end));
  json["is_length_certain"] = !session.is_open() && !session.is_cut();
  json["stays"] = JsonOf(session.stays);
  return json;
}

ordered_json JsonOf(const AvailabilityLane& lane) {
  ordered_json ended = ordered_json::object();
  for (const auto& [end, count] : lane.ends) ended[EndName(end)] = count;
  ordered_json json = {{"sessions", lane.sessions.size()},
                       {"with_gpu", lane.with_gpu},
                       {"gpu_refused", lane.refused},
                       {"gpu_not_sought", lane.sessions.size() - lane.with_gpu - lane.refused},
                       {"lengths", JsonOf(lane.lengths)},
                       {"hosted_lengths", JsonOf(lane.hosted_lengths)},
                       {"total_seconds", absl::ToDoubleSeconds(lane.total)},
                       {"gaps", JsonOf(lane.gap_lengths)},
                       {"gpu_refusals", JsonOf(lane.refusals)},
                       {"is_gpu_refused_now", lane.is_refused_now},
                       {"ended", ended},
                       {"open", lane.open},
                       {"available", lane.share}};
  return json;
}

std::string BarTooltip(const PlatformSession& session, absl::Duration length) {
  return absl::StrCat(session.name, ": ", DateText(absl::ToUnixMillis(session.joined())), ", ", ShortTime(length), ", ",
                      session.gpu == v1::SessionStatus::HAS       ? "with a GPU"
                      : session.gpu == v1::SessionStatus::REFUSED ? "GPU refused"
                                                                  : "CPU by choice",
                      ", ", session.is_open() ? "still here" : EndName(session.end));
}

TimelineBar::Kind KindOf(GpuAnswer gpu) {
  return gpu == v1::SessionStatus::HAS       ? TimelineBar::kGpu
         : gpu == v1::SessionStatus::REFUSED ? TimelineBar::kRefused
                                             : TimelineBar::kCpu;
}

TimelineLane LaneOnTimeline(const AvailabilityLane& lane) {
  TimelineLane out;
  out.name = lane.name;
  out.detail = lane.place == lane.name ? "" : lane.place;
  out.note = absl::StrCat(lane.sessions.size(), lane.sessions.size() == 1 ? " session" : " sessions", ", ",
                          absl::StrFormat("%.0f %%", lane.share * 100));
  // Whole sessions first: what they grant lies behind who was there.
  for (const PlatformSession& session : lane.sessions) {
    out.bars.push_back(
        {session.start(), session.left(), TimelineBar::kElsewhere, "", BarTooltip(session, session.length())});
  }
  for (const PlatformSession& session : lane.sessions) {
    for (const TimeRange& stay : session.stays) {
      out.bars.push_back(
          {stay.from, stay.to, KindOf(session.gpu), ShortTime(stay.length()), BarTooltip(session, stay.length())});
    }
  }
  return out;
}

TimelineLane PaperLane(absl::Time from) {
  const absl::Time second = from + kPaperFirst, refused = second + kPaperSecond, end = refused + kPaperRefusal;
  TimelineLane lane;
  lane.name = "The paper, 2018";
  lane.detail = "Carneiro et al., section V";
  lane.note = "12 h, 3 h, 5 h ban";
  lane.is_reference = true;
  const absl::Duration line = absl::Minutes(6);  // Between the first two sessions, to be seen.
  lane.bars = {{from, second - line, TimelineBar::kGpu, "12 h", "the paper's first session"},
               {second + line, refused, TimelineBar::kGpu, "3 h", "the paper's second session"},
               {refused, end, TimelineBar::kRefused, "5 h", "no backend with GPU available"}};
  return lane;
}

}  // namespace

std::string AvailabilityText(const Availability& availability) {
  const absl::Duration window = availability.window.length(), away = Sum(availability.away);
  std::string text = absl::StrCat(
      "From ", DateText(absl::ToUnixMillis(availability.window.from)), " to ",
      DateText(absl::ToUnixMillis(availability.window.to)), ", ", ShortTime(window), "; the coordinator ran ",
      window > absl::ZeroDuration() ? Percent(1 - absl::FDivDuration(away, window)) : Percent(1), " of that.\n\n");
  if (availability.lanes.empty()) return absl::StrCat(text, "No worker was at the table.\n");
  absl::StrAppend(&text, SessionsTable(availability), "\n", GapsTable(availability), "\n", PaperTable(availability.all),
                  "\n");
  return absl::StrCat(text,
                      "Lengths are those of sessions whose end was seen, where the platform limits them since they\n"
                      "began there. Gaps and shares leave out when the coordinator itself did not run.\n");
}

std::string AvailabilityJson(const Availability& availability) {
  const absl::Duration away = Sum(availability.away);
  ordered_json lanes = ordered_json::array();
  for (const AvailabilityLane& lane : availability.lanes) {
    ordered_json json = {{"name", Printable(lane.name)}, {"place", lane.place}};
    json.update(JsonOf(lane));
    json["gaps"]["between"] = JsonOf(lane.gaps);
    json["history"] = ordered_json::array();
    for (const PlatformSession& session : lane.sessions) json["history"].push_back(JsonOf(session));
    lanes.push_back(std::move(json));
  }
  const ordered_json json = {
      {"from_unix_ms", absl::ToUnixMillis(availability.window.from)},
      {"to_unix_ms", absl::ToUnixMillis(availability.window.to)},
      {"by", LaneName(availability.by)},
      {"coordinator",
       {{"ran_seconds", absl::ToDoubleSeconds(availability.window.length() - away)},
        {"away_seconds", absl::ToDoubleSeconds(away)},
        {"away", JsonOf(availability.away)}}},
      {"lanes", lanes},
      {"all", JsonOf(availability.all)},
      {"paper",
       {{"session_seconds", {absl::ToDoubleSeconds(kPaperFirst), absl::ToDoubleSeconds(kPaperSecond)}},
        {"gpu_refusal_seconds", absl::ToDoubleSeconds(kPaperRefusal)}}}};
  // What is not UTF-8 is replaced: a name must not make the output fail.
  return absl::StrCat(json.dump(-1, ' ', false, ordered_json::error_handler_t::replace), "\n");
}

std::string AvailabilitySvg(const Availability& availability) {
  Timeline timeline;
  timeline.title = "Who was at the table";
  timeline.from = availability.window.to;
  timeline.to = availability.window.to;
  for (const PlatformSession& session : availability.all.sessions) {
    timeline.from = std::min(timeline.from, session.joined());
  }
  timeline.from = std::max(timeline.from, availability.window.from);
  timeline.description = absl::StrCat(availability.all.sessions.size(), " sessions in ", availability.lanes.size(),
                                      " lanes, ", availability.all.with_gpu, " with a GPU, ", availability.all.refused,
                                      " to which one was refused, from ", DateText(absl::ToUnixMillis(timeline.from)),
                                      " to ", DateText(absl::ToUnixMillis(timeline.to)), ".");
  for (const TimeRange& away : availability.away) {
    timeline.backdrop.push_back({away.from, away.to, TimelineBar::kUnknown, "",
                                 absl::StrCat("the coordinator was away for ", ShortTime(away.length()))});
  }
  timeline.backdrop_name = "coordinator away";
  // On a shorter scale there would be no comparing.
  if (timeline.to - timeline.from >= kPaperFirst + kPaperSecond + kPaperRefusal) {
    timeline.lanes.push_back(PaperLane(timeline.from));
  }
  for (const AvailabilityLane& lane : availability.lanes) timeline.lanes.push_back(LaneOnTimeline(lane));
  return RenderTimeline(timeline);
}

}  // namespace potluck
