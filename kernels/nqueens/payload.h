// The payloads of the N-Queens workload as plain structs, and their bytes: messages of proto/nqueens.proto, read and
// written with kernels/workload/fields.h. Pure functions, thread-safe. Decoding fails with a sentence.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "kernels/math/count128.h"
#include "kernels/workload/status.h"

namespace potluck::nqueens {

inline constexpr int kMaxN = 32;

// How to count.
inline constexpr uint32_t kBacktracking = 1;
inline constexpr uint32_t kMeetInTheMiddle = 2;
inline constexpr int kMaxMeetInTheMiddleN = 25;

// "backtracking", "mitm"; "unknown" for another number.
std::string_view AlgorithmName(uint32_t algorithm);

// Message NQueensSpec.
struct Spec {
  uint32_t n = 0;
  uint32_t algorithm = kBacktracking;
  uint32_t depth = 0;  // Backtracking: rows in a prefix; 0: the planner chooses. Else 0.

  friend bool operator==(const Spec&, const Spec&) = default;
};

// Message NQueensCounts. `solutions` and `nodes` speak of the full board; `visited` counts mirrored nodes once. Meeting
// in the middle visits no nodes: both are 0.
struct Counts {
  Count128 solutions;
  Count128 nodes;
  uint64_t checksum = 0;  // Sum over ranks of Mix64(rank, solutions, nodes), both unmirrored, mod 2^64.
  Count128 visited;

  // Adds `other`; false on a 128-bit overflow, and then nothing has changed.
  [[nodiscard]] bool Add(const Counts& other);

  friend bool operator==(const Counts&, const Counts&) = default;
};

std::string Encode(const Spec& spec);
std::string Encode(const Counts& counts);

// Also checks the fields: each error names the field, the value and what is allowed.
Result<Spec> DecodeSpec(std::string_view bytes);
Result<Counts> DecodeCounts(std::string_view bytes);

}  // namespace potluck::nqueens
