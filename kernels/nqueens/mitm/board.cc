#include "kernels/nqueens/mitm/board.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <new>
#include <string>
#include <tuple>
#include <vector>

#include "kernels/math/mix64.h"
#include "kernels/nqueens/mitm/solver.h"
#include "kernels/workload/parallel.h"

namespace potluck::nqueens::mitm {
namespace {

// Boards too small to be halved: one subproblem, by plain recursion.
class SmallBoard final : public Board {
 public:
  explicit SmallBoard(int n) : rows_((uint32_t{1} << n) - 1) {}
  void Prepare(uint64_t) override {}
  Result<std::optional<Sum>> Compute(Interval, const std::function<bool()>&) override {
    const uint64_t solutions = CountBelow(0, 0, 0);
    return std::optional<Sum>(Sum{solutions, Mix64(0, solutions, 0)});
  }

 private:
  uint64_t CountBelow(uint32_t taken, uint32_t up, uint32_t down) const {
    if (taken == rows_) return 1;
    uint64_t solutions = 0;
    for (uint32_t free = rows_ & ~(taken | up | down); free != 0; free &= free - 1) {
      const uint32_t bit = free & (0u - free);
      solutions += CountBelow(taken | bit, (up | bit) << 1, (down | bit) >> 1);
    }
    return solutions;
  }

  uint32_t rows_;
};

// Tables that are in use somewhere in this process are shared: by the code paths that compare their results, above all.
template <typename Word>
std::shared_ptr<const Tables<Word>> SharedTables(int n, int middle_row, const MitmOptions& options) {
  using Key = std::tuple<int, int, Defect, int, int>;
  static std::mutex mutex;
  static std::map<Key, std::weak_ptr<const Tables<Word>>> known;
  const Key key{n, middle_row, options.defect, options.layout.prefix_bits, options.layout.chunk_bits};
  std::lock_guard<std::mutex> lock(mutex);
  std::shared_ptr<const Tables<Word>> tables = known[key].lock();
  if (tables == nullptr) {
    std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
    tables = std::make_shared<const Tables<Word>>(n, middle_row, options.defect, options.layout);
    known[key] = tables;
  }
  return tables;
}

template <typename Word>
class HalvedBoard final : public Board {
 public:
  HalvedBoard(int n, const MitmOptions& options) : n_(n), options_(options) {
    const Kernel<Word>& kernel = GetKernel<Word>(options.dispatch, options.vector_popcount);
    for (int i = 0; i < options.threads; ++i) solvers_.push_back(std::make_unique<Solver<Word>>(kernel));
  }

  void Prepare(uint64_t index) override {
    const int middle_row = SubproblemAt(n_, index).middle_row;
    if (middle_row == 0 || (tables_ && tables_->half.middle_row() == middle_row)) return;
    tables_.reset();  // Before the new ones: together they might not fit.
    tables_ = SharedTables<Word>(n_, middle_row, options_);
  }

  Result<std::optional<Sum>> Compute(Interval slice, const std::function<bool()>& cancelled) override {
    Sum sum;
    // Subproblems with one middle row share their tables.
    while (!slice.empty()) {
      const Interval part{slice.begin, std::min(slice.end, EndOfMiddleRow(slice.begin))};
      const Result<std::optional<Sum>> part_sum = ComputePart(part, cancelled);
      if (!part_sum.ok() || !part_sum->has_value()) return part_sum;
      if (!sum.Add(**part_sum)) return Overflow(slice);
      slice.begin = part.end;
    }
    return std::optional<Sum>(sum);
  }

 private:
  static Status Overflow(Interval slice) {
    return Status::Error("The counts of subproblems " + ToString(slice) + " do not fit 128 bits.");
  }

  uint64_t EndOfMiddleRow(uint64_t index) const {
    if (n_ % 2 == 0) return IndexCount(n_);
    const uint64_t subsets = Binomial(n_ - 2, n_ / 2 - 1);
    return (index / subsets + 1) * subsets;
  }

  // One thread's share.
  struct Share {
    Sum sum;
    bool overflow = false;
    bool out_of_memory = false;
  };

  Result<std::optional<Sum>> ComputePart(Interval part, const std::function<bool()>& cancelled) {
    Prepare(part.begin);
    std::vector<Share> shares(solvers_.size());
    std::atomic<uint64_t> next{part.begin};
    std::atomic<bool> stopped{false};
    RunOnThreads(static_cast<int>(solvers_.size()), [&](int thread) {
      const auto i = static_cast<size_t>(thread);
      Share share;  // Of its own until the end: threads must not write to one cache line.
      try {
        while (!stopped.load(std::memory_order_relaxed)) {
          const uint64_t index = next.fetch_add(1, std::memory_order_relaxed);
          if (index >= part.end) break;
          const std::optional<uint64_t> solutions = CountOne(*solvers_[i], index, cancelled);
          if (!solutions) stopped.store(true, std::memory_order_relaxed);
          if (solutions && !share.sum.Add({*solutions, Mix64(index, *solutions, 0)})) share.overflow = true;
        }
      } catch (const std::bad_alloc&) {
        share.out_of_memory = true;
        stopped.store(true, std::memory_order_relaxed);
      }
      shares[i] = share;
    });
    Sum total;
    for (const Share& share : shares) {
      if (share.out_of_memory) throw std::bad_alloc();
      if (share.overflow || !total.Add(share.sum)) return Overflow(part);
    }
    return stopped ? std::nullopt : std::optional<Sum>(total);
  }

  std::optional<uint64_t> CountOne(Solver<Word>& solver, uint64_t index, const std::function<bool()>& cancelled) {
    const Subproblem subproblem = SubproblemAt(n_, index);
    if (!subproblem.counted()) return cancelled() ? std::nullopt : std::optional<uint64_t>(0);
    return solver.Count(*tables_, subproblem, cancelled);
  }

  const int n_;
  const MitmOptions options_;
  std::vector<std::unique_ptr<Solver<Word>>> solvers_;  // One a thread.
  std::shared_ptr<const Tables<Word>> tables_;
};

}  // namespace

std::unique_ptr<Board> MakeBoard(int n, const MitmOptions& options) {
  if (n < kMinN) return std::make_unique<SmallBoard>(n);
  if (Serves<uint32_t>(n) && options.word_bits != 64) return std::make_unique<HalvedBoard<uint32_t>>(n, options);
  return std::make_unique<HalvedBoard<uint64_t>>(n, options);
}

}  // namespace potluck::nqueens::mitm
