// What is known of a slice that is being verified, and what follows from it. Pure values and functions.
//
// The first run is the committed one. A second worker runs the interval again; if it finds the same, the slice is
// verified. If not, a third worker decides: with whom it agrees is right, the other one is wrong. If all three differ
// nobody is believed, and the slice is computed anew.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "coordinator/scheduler/trials.h"
#include "kernels/workload/planner.h"
#include "proto/ids.h"

namespace potluck {

struct CheckRun {
  WorkerId worker{};
  Way way;
  std::string result;  // SHA-256 of what Planner::Combine makes of its parts: equal digests are equal results.
};

struct Check {
  RoundKey key;
  Interval interval;
  std::string digest;  // Of the committed payload.
  std::vector<CheckRun> runs;
  bool is_exact = true;  // Round::is_exact.
  // Nothing more is to be run: it waits for the store to take what was found.
  bool is_settled = false;
};

enum class Finding {
  kNeedsAnotherRun,
  kAgreed,       // The last run found what the first one did.
  kFirstWrong,   // ... what the second one did, and not the first.
  kSecondWrong,  // ... what the first one did, and not the second.
  kAllDiffer,
};

// Of one to three runs.
Finding Judge(const std::vector<CheckRun>& runs);

CheckTerms TermsOf(const Check& check);

// CheckRun::result of these parts, which are ascending and adjacent. What cannot be put together is like nothing else.
std::string DigestOfResult(const Planner& planner, std::span<const Part> parts);

// Whether a slice of a job is among the share `verify` of those to be checked: drawn by a hash, so that nothing needs
// to be stored, of which `secret` (the job's request id, which workers do not know) is a part, so that no worker can
// tell which of its slices will be.
bool IsDrawn(double verify, const std::string& secret, uint32_t round, Interval interval);

}  // namespace potluck
