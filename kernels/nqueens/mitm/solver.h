// Counts one subproblem: joins the half boards of both row sets and counts the pairs that fit.
//
// One solver a thread; it owns all the memory that it writes to, and keeps it between subproblems. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "kernels/nqueens/mitm/half_board.h"
#include "kernels/nqueens/mitm/join_tables.h"
#include "kernels/nqueens/mitm/kernel.h"
#include "kernels/nqueens/mitm/layout.h"
#include "kernels/nqueens/mitm/row_sets.h"

namespace potluck::nqueens::mitm {

// What all subproblems with the same middle row share. Immutable, thread-safe.
template <typename Word>
struct Tables {
  Tables(int n, int middle_row, Defect defect, const LayoutOptions& options = {})
      : half(n, middle_row, defect), layout(half, sizeof(Word) * 8, options), joins(half, layout) {}

  HalfBoard half;
  Layout layout;
  JoinTables<Word> joins;
};

template <typename Word>
class Solver {
 public:
  explicit Solver(const Kernel<Word>& kernel);
  Solver(const Solver&) = delete;
  Solver& operator=(const Solver&) = delete;
  ~Solver();

  // Solutions of the full board that this subproblem stands for; nullopt once `cancelled` says so, which is asked every
  // few milliseconds at most. `tables` must be made for the subproblem's middle row.
  std::optional<uint64_t> Count(const Tables<Word>& tables, const Subproblem& subproblem,
                                const std::function<bool()>& cancelled);

 private:
  // The half boards of one row set.
  struct HalfBoards;

  void Prepare(const Tables<Word>& tables);
  void Join(const Tables<Word>& tables, uint32_t rows, HalfBoards& boards);
  void SortTable(int prefix_bits, HalfBoards& boards);
  // Pairs of table's class 0 with stream's classes, weighted; nullopt when cancelled.
  std::optional<uint64_t> Cross(const Lookup& lookup, const HalfBoards& table, const HalfBoards& stream,
                                const ClassWeights& weights, const std::function<bool()>& cancelled);
  std::optional<uint64_t> CountEven(const Tables<Word>& tables, const Subproblem& subproblem,
                                    const std::function<bool()>& cancelled);
  std::optional<uint64_t> CountOdd(const Tables<Word>& tables, const Subproblem& subproblem,
                                   const std::function<bool()>& cancelled);

  const Kernel<Word>& kernel_;
  std::vector<uint32_t> subsets_;
  int subset_rows_ = 0;
  int subset_columns_ = 0;
  std::vector<Word> buffer_;
  std::vector<JoinStep> steps_;
  std::unique_ptr<char[]> scratch_storage_;
  char* scratch_;
  std::unique_ptr<HalfBoards> east_;
  std::unique_ptr<HalfBoards> west_;
};

extern template class Solver<uint32_t>;
extern template class Solver<uint64_t>;

}  // namespace potluck::nqueens::mitm
