// The result of an N-Queens job, for people and for programs. Pure functions and a value, thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/contributors.h"
#include "kernels/math/count128.h"
#include "kernels/nqueens/payload.h"
#include "proto/jobs.pb.h"

namespace potluck {

struct NQueensResult {
  uint64_t job = 0;
  uint32_t n = 0;
  uint32_t algorithm = nqueens::kBacktracking;
  nqueens::Counts counts;
  double seconds = 0;                // From submission to end.
  std::vector<Contributor> workers;  // The largest share first.
  uint64_t disagreements = 0;
  double verify = 0;          // The share that was to be computed again by a second worker,
  double verified_share = 0;  // and that was, of the cost.
  uint64_t verified_slices = 0;

  // Whether the algorithm visits the search tree's nodes, and so counts them.
  bool counts_nodes() const { return algorithm == nqueens::kBacktracking; }
  // Whether the total, and the number of nodes where that is known too, is the published one; nullopt: not published.
  std::optional<bool> verified() const;
  // Solutions up to symmetry: known from publications only, so never given beside a total that differs from theirs.
  std::optional<Count128> unique() const;
  double nodes_per_second() const;  // Nodes that were visited: mirrored ones count once.
  double solutions_per_second() const;
};

// Of a job that is done, or so far. `now_unix_ms` serves where it has not ended. InvalidArgument if it is not an
// N-Queens job or its payload cannot be read.
absl::StatusOr<NQueensResult> ReadNQueensResult(const v1::JobStatus& status, int64_t now_unix_ms);

// Several lines, ending with a line feed. Counts that are not `complete` are not compared with anything.
std::string ResultText(const NQueensResult& result, bool complete = true);
// Counts are decimal strings: they outgrow what JSON readers hold exactly.
nlohmann::ordered_json ResultJson(const NQueensResult& result, bool complete = true);

// Ok, or the sentence for a total that differs from the published one.
absl::Status CheckVerified(const NQueensResult& result);

}  // namespace potluck
