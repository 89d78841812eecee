// A whole potluck in one thread and no time: the real core, the real store semantics and the real lease books of the
// workers, with a variable for a clock and a seed for all that can go wrong.
//
// What a seed draws: how many workers, how fast; messages lost, doubled, delayed and overtaken; workers that crash,
// freeze, leave and come back; a store that is slow; a coordinator that dies with appends unacknowledged, of which any
// part may have reached the disk; clocks that jump; slices retracted; jobs paused. After every event the invariants are
// checked. With `liars` there are also one or two workers whose results are wrong now and then (one in a hundred
// slices, at random or wherever certain indices are), but possible; there are always two honest ones. With `training`
// most jobs have volatile rounds: floats, so that the last bit tells whether anything was counted twice, in another
// order or not at all; states that are saved late, not at all or damaged; results that are handed over apart.
#pragma once

#include <cstdint>
#include <string>

#include "coordinator/scheduler/scheduler.h"

namespace potluck::simulation {

struct Outcome {
  std::string failure;  // Empty when every invariant held and every job ended with the right total.
  uint64_t events = 0;
  uint64_t restarts = 0;
  uint64_t retractions = 0;
  uint64_t repeats = 0;   // Slices answered as a repeat.
  uint64_t overlaps = 0;  // Slices refused because others had counted parts of them.
  uint64_t shrinks = 0;
  uint64_t lies = 0;         // Wrong results handed in.
  uint64_t verified = 0;     // Slices.
  uint64_t quarantined = 0;  // Workers, all of them liars.
  uint64_t all_differed = 0;
  uint64_t wrong_totals = 0;  // Because no lie in them was drawn for verification.
  uint64_t saves = 0;         // States saved,
  uint64_t failed_saves = 0;  // not saved,
  uint64_t lost_states = 0;   // and damaged.
  uint64_t handed_over = 0;   // Results that came apart from their slices,
  uint64_t not_here = 0;      // and slices whose results were not there.

  // Adds the counts.
  Outcome& operator+=(const Outcome& other);
};

struct Rules {
  SchedulerDefect defect = SchedulerDefect::kNone;
  double verify = 0;
  bool liars = false;
  double lie_chance = 0.01;
  bool training = false;
};

Outcome Simulate(uint64_t seed, const Rules& rules);

}  // namespace potluck::simulation
