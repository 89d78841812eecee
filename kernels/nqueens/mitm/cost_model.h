// How long a subproblem takes, predicted without computing it.
//
// The number of half boards of a row set R is H! times the chance that no two of its queens share a diagonal. Queens in
// rows k apart do with probability p(k) = 2 (H - k) / (H (H - 1)); taking the pairs as independent, the logarithm is
// lambda(R) = sum over pairs of log(1 - p(k)), and a straight line through it fits: for even n from 14 to 20 the
// prediction is 10 to 16 % off (root mean square, of a list's length), for odd n, where the middle column's queen
// closes cells, 20 %. A subproblem's time grows with the lists' lengths (joining) and with their product (counting
// pairs). Errors of neighbours even out in an interval; docs/results.md has the spread of unit times.
//
// Pure functions, thread-safe.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/nqueens/mitm/row_sets.h"

namespace potluck::nqueens::mitm {

class CostModel {
 public:
  explicit CostModel(int n);

  // Expected number of half boards of a row set of n/2 rows.
  double HalfBoards(uint32_t rows, int middle_row) const;
  // About nanoseconds on one 3.6 GHz core with AVX-512; 0 when another index counts it.
  double Cost(const Subproblem& subproblem) const;

 private:
  // What a row set's half boards are multiplied with, by how many of its queens are concerned: exponentials, tabulated
  // because a plan prices millions of row sets.
  using Factors = std::array<double, 16>;

  int n_;
  int half_;
  double none_ = 0;               // Without any of them.
  std::array<Factors, 16> pair_;  // By distance, and number of pairs at that distance.
  Factors closed_;                // n odd: by rows with a cell on a diagonal of the middle column's queen.
  Factors middle_;                // n odd: if the middle row is among them, by the middle row.
};

}  // namespace potluck::nqueens::mitm
