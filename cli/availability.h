// How available workers were: sessions, their lengths, the gaps until the next, refused GPUs. The questions are those
// of section V of the paper (T. Carneiro et al., IEEE Access 6, 2018), which asked them of one notebook: its first
// session lasted 12 h, the second 3 h, then there was no GPU for 5 h.
//
// The coordinator tells of stays at the table. A *session* is what a notebook platform grants: stays of one
// installation with one place and one beginning, whatever lies between them. Where a platform grants none (one's own
// machine), or does not say when it began, a stay goes on with the next one if its worker did not leave by itself and
// was back soon. Times when the coordinator itself did not run are nobody's gap and nobody's presence: they are left
// out.
//
// Values and pure functions, thread-safe.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "proto/jobs.pb.h"

namespace potluck {

struct TimeRange {
  absl::Time from, to;
  absl::Duration length() const { return to - from; }
};

using GpuAnswer = v1::SessionStatus::Gpu;
using SessionEnding = v1::SessionStatus::End;

// What the coordinator tells, of all pages.
struct Presence {
  std::vector<v1::SessionStatus> stays;
  std::vector<TimeRange> ran;  // When the coordinator ran.
  absl::Time now;              // By its clock.
};

// What makes one line of the report.
enum class LaneOf { kInstallation, kName, kToken, kPlace };

struct PlatformSession {
  uint64_t worker = 0;
  std::string name, place, token;
  GpuAnswer gpu = v1::SessionStatus::NOT_SOUGHT;  // The best of its stays.
  absl::Time began = absl::InfinitePast();        // As the platform says; InfinitePast: not known.
  std::vector<TimeRange> stays;                   // Ascending.
  SessionEnding end = v1::SessionStatus::END_UNSPECIFIED;

  absl::Time joined() const { return stays.front().from; }
  absl::Time left() const { return stays.back().to; }
  bool is_open() const { return end == v1::SessionStatus::END_UNSPECIFIED; }
  // The coordinator stopped, not the session: nobody knows how long it went on.
  bool is_cut() const { return end == v1::SessionStatus::STOPPED || end == v1::SessionStatus::AWAY; }
  bool is_hosted = false;  // On a platform that limits its sessions.
  // On such a platform since it began, however late the worker came; else since the worker came.
  absl::Time start() const { return is_hosted && began != absl::InfinitePast() ? began : joined(); }
  absl::Duration length() const { return left() - start(); }
};

// Of durations; all zero if there are none.
struct Spread {
  size_t count = 0;
  absl::Duration least, median, most, total;
};

struct AvailabilityLane {
  std::string name, place;                // The place: "colab", or several with commas.
  std::vector<PlatformSession> sessions;  // Ascending by when they were joined.
  size_t with_gpu = 0, refused = 0;       // The others did not look for one.
  Spread lengths;                         // Of those whose end was seen, ...
  Spread hosted_lengths;                  // ... and of those of them that a platform limits.
  absl::Duration total;                   // Of all, so far.
  std::vector<TimeRange> gaps;            // As they lie in time, the coordinator's own absence included ...
  Spread gap_lengths;                     // ... and without it.
  Spread refusals;                       // From the end of a session with a GPU, or the first refusal, to the next GPU.
  bool is_refused_now = false;           // The last of these goes on.
  std::map<SessionEnding, size_t> ends;  // Open ones are not among them.
  size_t open = 0;
  double share = 0;  // Of the time since it first came in which the coordinator ran: that in which it was there.
};

struct Availability {
  TimeRange window;
  std::vector<TimeRange> away;  // When the coordinator did not run, within the window.
  LaneOf by = LaneOf::kInstallation;
  std::vector<AvailabilityLane> lanes;  // By name and place.
  AvailabilityLane all;                 // All together; its gaps and refusals are those of the lanes.
};

// What happened from `since` on. Sessions that reach into it are taken whole.
Availability FindAvailability(const Presence& presence, absl::Time since, LaneOf by);

// ---- Output

std::string AvailabilityText(const Availability& availability);  // At most 100 columns wide; ends with a line feed.
std::string AvailabilityJson(const Availability& availability);  // One object.
std::string AvailabilitySvg(const Availability& availability);

}  // namespace potluck
