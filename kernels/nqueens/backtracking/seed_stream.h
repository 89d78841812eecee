// Turns an interval of ranks into seeds: subtrees small enough that a device's lanes stay evenly busy and a cancel is
// noticed soon, however large a rank's subproblem is. What lies between a rank's prefix and its seeds is counted here.
//
// Resumable, so that the seeds never have to be held all at once. Not thread-safe; borrows the table.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/nqueens/backtracking/prefix.h"
#include "kernels/nqueens/backtracking/search.h"
#include "kernels/workload/interval.h"

namespace potluck::nqueens {

// Counts of one rank, not mirrored.
struct RankCounts {
  uint64_t solutions = 0;
  uint64_t nodes = 0;

  friend bool operator==(const RankCounts&, const RankCounts&) = default;
};

class SeedStream {
 public:
  // Seeds of `ranks` with at most `max_rows` (>= kMinRows) open rows. `counts[rank - ranks.begin]` receives what is
  // counted on the way; it must outlive the stream. A board too small for seeds is counted here entirely.
  SeedStream(const PrefixTable& table, int max_rows, Interval ranks, std::span<RankCounts> counts);

  // Rows that a seed has filled.
  static int SeedDepth(const PrefixTable& table, int max_rows);

  // Appends up to `limit` seeds; returns how many. Fewer than `limit` only at the end of the interval.
  size_t Take(size_t limit, std::vector<Seed>& seeds);

 private:
  bool OpenRank();

  const PrefixTable& table_;
  const uint32_t full_;
  const int seed_depth_;
  const Interval ranks_;
  std::span<RankCounts> counts_;

  uint64_t next_rank_;
  size_t stem_ = 0;
  std::vector<Prefix> prefixes_;  // Below stems()[stem_].

  // Depth-first state below the current rank: the board at each depth and the columns still to try there.
  struct Level {
    Prefix prefix;
    uint32_t rest = 0;
  };
  Level levels_[33];
  int row_ = -1;  // Current depth; -1: open the next rank.
  uint32_t slot_ = 0;
};

}  // namespace potluck::nqueens
