// Trials: leases whose slices do not count, but are compared with a result that is there already. Plain values.
//
// There are two kinds. A *check* computes a committed slice once more; a *known-answer unit* has a worker compute what
// the planner knows. To a worker both look like any other lease. They lie over the four places of scheduler.h and never
// move an index from one to another. What holds of them at any time:
//   - a check that was added and neither came to its end nor was dropped either waits or is in exactly one live lease;
//   - that lease is of a worker whom the check's terms do not exclude;
//   - a check is run by one worker from its begin to its end: when its lease is lost, or any of it is handed back, what
//     was reported under it is void, and all of it waits again;
//   - known-answer units are nobody's duty: when their lease is lost they are forgotten.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "kernels/workload/interval.h"
#include "proto/ids.h"

namespace potluck {

enum class CheckId : uint64_t {};  // Given by whoever adds it, never used again.

// How something was computed, as far as it is known.
struct Way {
  std::string numerics_class;  // Of the device.
  std::string implementation;  // The code path; empty: the device's default, which it has not named.
  friend auto operator<=>(const Way&, const Way&) = default;
};

// Which run of a check is wanted.
struct CheckTerms {
  std::vector<WorkerId> not_by;  // Who has run it.
  // How they did. Preferred is a device of another numerics class, then another code path; but any serves.
  std::vector<Way> other_than;
  // Only a device of the same numerics class serves, and only its default code path: results of others differ though
  // they are right.
  bool same_class_only = false;
  friend auto operator<=>(const CheckTerms&, const CheckTerms&) = default;
};

// What became of a slice that may belong to a trial.
struct TrialSlice {
  enum class Fate {
    kNotOfATrial,  // An ordinary one (also: its trial's lease is gone).
    kTaken,        // A part of the trial's result.
    kHadBefore,    // Some of it was taken before.
  };
  Fate fate = Fate::kNotOfATrial;
  bool is_last = false;          // All parts are there now; the trial and its lease are over.
  std::optional<CheckId> check;  // None: a known-answer unit, namely
  size_t known = 0;              // this one of the round's.
  Way way;
};

}  // namespace potluck
