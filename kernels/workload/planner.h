// The coordinator's side of a workload: how a job is cut into rounds and how partial results are merged.
//
// A job is a row of rounds; a round is an index space [0, Size()) with a merge. Payloads are opaque bytes to everybody
// but the workload itself; N-Queens' are messages of proto/nqueens.proto.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/workload/interval.h"
#include "kernels/workload/shared_bytes.h"
#include "kernels/workload/status.h"

namespace potluck {

// Reads a whole blob that the job names, by its digest, verified.
using BlobReader = std::function<Result<std::string>(std::string_view digest)>;

// What a round promises of the slices that it acknowledged.
enum class Durability {
  kLedger,    // Stored, then merged, then acknowledged: they survive power loss.
  kVolatile,  // Kept in memory: after a crash the round is computed again from the planner's last state.
};

// How a round is cut into units.
enum class Sharing {
  kGuided,  // Units shrink towards the end of the round: best when a unit costs nothing but its work.
  kEven,    // One unit a slot, as large as its speed deserves: best when each result is large, however short the unit.
};

// The shape and cost of one round. Immutable and thread-safe. Cost is in units of the workload's own (N-Queens:
// expected search-tree nodes); the scheduler only ever compares and divides costs.
class RoundPlan {
 public:
  virtual ~RoundPlan() = default;
  // Number of indices; at least 1.
  virtual uint64_t Size() const = 0;
  // Predicted cost of an interval inside [0, Size()): additive, not negative.
  virtual double Cost(Interval interval) const = 0;
  // The end of the longest aligned prefix of `within` that costs at most about `cost`, in (within.begin, within.end]:
  // never an empty prefix, so that work always advances.
  virtual uint64_t Cut(Interval within, double cost) const = 0;
  // A cost that a slow CPU core does in about a second: the first unit of a worker whose speed nobody knows yet.
  virtual double ProbeCost() const = 0;
  virtual Sharing sharing() const { return Sharing::kGuided; }
};

struct Round {
  uint32_t number = 0;
  Durability durability = Durability::kLedger;  // The same in all rounds of a job.
  std::shared_ptr<const RoundPlan> plan;
  std::string payload;  // What a Runner needs to open the round; at most 1 MiB.
  // What it needs besides and is large: named by their blob digests, read only by those who lack them.
  std::vector<SharedBytes> bulk = {};
  // A slice's payload has at most so many bytes. More than 1 MiB only in volatile rounds.
  uint64_t max_result_bytes = uint64_t{1} << 20;
  // Whether every device computes the same bytes. If not, only those of one numerics class do, so that results are
  // compared within a class only.
  bool is_exact = true;
  // Only slots of this numerics class may compute it; empty: any.
  std::string numerics_class = {};
};

// The partial result of an interval.
struct Part {
  Interval interval;
  std::string payload;
};

// One job's state machine. Not thread-safe; the coordinator serialises the calls. Each interval of a round is merged
// exactly once; the caller sees to that.
class Planner {
 public:
  virtual ~Planner() = default;
  // Opens the next round, the first one at the start; nullopt when the job is complete. Call it only when every index
  // of the current round has been merged. `job_seconds` is how long ago the job was submitted, by the wall clock, for
  // jobs with a limit. Fails, with the sentence, when the job cannot go on.
  virtual Result<std::optional<Round>> NextRound(double job_seconds) = 0;
  // Whether `payload` is a possible partial result of `interval` in the open round: shape and bounds. Must be cheap.
  virtual Status Check(Interval interval, std::string_view payload) const = 0;
  // Folds a checked payload in, which it may keep. Fails (leaving the state as it was) on an overflow.
  virtual Status Merge(Interval interval, std::string payload) = 0;
  // The partial result of the union of checked parts (at least one; adjacent, ascending), written canonically: equal
  // results have equal bytes, however the interval was cut. So two computations of an interval can be compared. Fails
  // when the parts cannot be put together.
  virtual Result<std::string> Combine(std::span<const Part> parts) const = 0;
  // A few short intervals of the open round whose results, written canonically, the planner computed itself by simple
  // code that no Runner uses. Takes at most some 50 ms; none is allowed.
  virtual std::vector<Part> KnownAnswers() const { return {}; }
  // Forgets all that was merged in the open round, so that it can be rebuilt from the ledger, or computed again.
  virtual void ResetRound() = 0;
  // The state at the opening of the current round (asked for between the last merge of a round and NextRound: of the
  // next one; once NextRound has said that the job is complete: the final one, from which NextRound says so again), to
  // be given in one piece to a new Planner's Restore, which then re-opens it with NextRound. That of a volatile round
  // may be large; its parts stay as they are although the planner goes on.
  virtual std::vector<SharedBytes> State() const = 0;
  virtual Status Restore(std::string_view state) = 0;
  // Running result, for progress; after the last round, the final result. Bytes of the workload's own.
  virtual std::string Summary() const = 0;
};

}  // namespace potluck
