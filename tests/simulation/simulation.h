// A whole potluck in one thread and no time: the real core, the real store semantics and the real lease books of the
// workers, with a variable for a clock and a seed for all that can go wrong.
//
// What a seed draws: how many workers, how fast; messages lost, doubled, delayed and overtaken; workers that crash,
// freeze, leave and come back; a store that is slow; a coordinator that dies with appends unacknowledged, of which any
// part may have reached the disk; clocks that jump; slices retracted; jobs paused. After every event the invariants are
// checked.
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
};

Outcome Simulate(uint64_t seed, SchedulerDefect defect);

}  // namespace potluck::simulation
