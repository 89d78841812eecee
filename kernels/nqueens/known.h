// Published totals to check results against. Pure functions, thread-safe; nullopt where nothing is known.
//
// Sources: OEIS A000170 (all solutions) and A002562 (up to symmetry). Node counts: counted by plain recursion, see
// docs/; a node is a conflict-free placement in the full row-by-row tree, solutions included, the root excluded.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/math/count128.h"

namespace potluck::nqueens {

std::optional<Count128> KnownSolutions(int n);
std::optional<Count128> KnownUpToSymmetry(int n);
std::optional<Count128> KnownNodes(int n);

// What every device must find for this board at its DefaultDepth.
inline constexpr int kSelfTestN = 12;
inline constexpr uint64_t kSelfTestNodes = 856188;
inline constexpr uint64_t kSelfTestChecksum = 14751486985054590626u;

// ... and by meeting in the middle, which is another algorithm for even boards than for odd ones.
struct SelfTestBoard {
  int n;
  uint64_t checksum;
};
inline constexpr SelfTestBoard kEvenSelfTest{12, 14645094483858919842u};
inline constexpr SelfTestBoard kOddSelfTest{13, 4882374341716510428u};

}  // namespace potluck::nqueens
