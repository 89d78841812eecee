// Who was there when, as one SVG text: a lane each, time from left to right. No program, font or picture from
// elsewhere.
//
// The background is the page's, as in plot_svg.h. What a bar is shows by its colour (distinguishable with every kind of
// colour vision) and by its shape. Pure functions, thread-safe.
#pragma once

#include <string>
#include <vector>

#include "absl/time/time.h"

namespace potluck {

struct TimelineBar {
  enum Kind { kGpu, kCpu, kRefused, kElsewhere, kUnknown };
  absl::Time from, to;
  Kind kind = kCpu;
  std::string label;    // In the bar, if it is wide enough.
  std::string tooltip;  // In a sentence.
};

struct TimelineLane {
  std::string name;
  std::string detail;  // Small, below the name.
  std::string note;    // At the right end.
  std::vector<TimelineBar> bars;
  bool is_reference = false;  // Somebody else's: set apart.
};

struct Timeline {
  std::string title;
  std::string description;  // In a sentence or two, for those who cannot see it.
  absl::Time from, to;
  std::vector<TimelineBar> backdrop;  // Behind all lanes.
  std::string backdrop_name;
  std::vector<TimelineLane> lanes;
};

std::string RenderTimeline(const Timeline& timeline);

// "12 h", "3.5 h", "20 min", "4.2 s", "3.1 d": short, for bars and tables.
std::string ShortTime(absl::Duration duration);

}  // namespace potluck
