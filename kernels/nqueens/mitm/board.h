// Computes intervals of one board by meeting in the middle, on CPU threads: what a runner does slice by slice.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "kernels/math/count128.h"
#include "kernels/nqueens/mitm/run_cpu.h"
#include "kernels/workload/interval.h"
#include "kernels/workload/status.h"

namespace potluck::nqueens::mitm {

// What some subproblems add up to.
struct Sum {
  Count128 solutions;
  uint64_t checksum = 0;

  [[nodiscard]] bool Add(const Sum& other) {
    checksum += other.checksum;
    return solutions.Add(other.solutions);
  }
};

// Not thread-safe. What it does may throw std::bad_alloc.
class Board {
 public:
  virtual ~Board() = default;
  // Makes the tables that the subproblem needs.
  virtual void Prepare(uint64_t index) = 0;
  // nullopt when cancelled. Fails when the sum does not fit 128 bits.
  virtual Result<std::optional<Sum>> Compute(Interval slice, const std::function<bool()>& cancelled) = 0;
};

// 1 <= n <= kMaxN.
std::unique_ptr<Board> MakeBoard(int n, const MitmOptions& options);

}  // namespace potluck::nqueens::mitm
