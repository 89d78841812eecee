#include "kernels/nqueens/mitm/run_cpu.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <mutex>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels/math/mix64.h"
#include "kernels/nqueens/known.h"
#include "kernels/nqueens/mitm/plan.h"
#include "kernels/nqueens/mitm/solver.h"
#include "kernels/nqueens/payload.h"
#include "kernels/workload/parallel.h"

namespace potluck::nqueens::mitm {
namespace {

// A slice's length is predicted from the last one's; it grows past the largest so far by this factor at most, because
// small ones measure mostly overhead.
constexpr double kGrowth = 8;
// What the first slice costs (CostModel): some 10 ms.
constexpr double kFirstSliceCost = 1e7;
// Threads end a slice together only if each has several subproblems in it.
constexpr double kSubproblemsPerThread = 8;

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// What some subproblems add up to.
struct Sum {
  Count128 solutions;
  uint64_t checksum = 0;

  [[nodiscard]] bool Add(const Sum& other) {
    checksum += other.checksum;
    return solutions.Add(other.solutions);
  }
};

// Computes intervals of one board. Word: as JoinTables.
class Board {
 public:
  virtual ~Board() = default;
  // Makes the tables that the subproblem needs. May throw std::bad_alloc.
  virtual void Prepare(uint64_t index) = 0;
  // nullopt when cancelled, or when it failed, and then `error` says why. May throw std::bad_alloc.
  virtual std::optional<Sum> Compute(Interval slice, const std::function<bool()>& cancelled, Status& error) = 0;
};

// Boards too small to be halved: one subproblem, by plain recursion.
class SmallBoard final : public Board {
 public:
  explicit SmallBoard(int n) : rows_((uint32_t{1} << n) - 1) {}
  void Prepare(uint64_t) override {}
  std::optional<Sum> Compute(Interval, const std::function<bool()>&, Status&) override {
    const uint64_t solutions = CountBelow(0, 0, 0);
    return Sum{solutions, Mix64(0, solutions, 0)};
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

  std::optional<Sum> Compute(Interval slice, const std::function<bool()>& cancelled, Status& error) override {
    Sum sum;
    // Subproblems with one middle row share their tables.
    while (!slice.empty()) {
      const Interval part{slice.begin, std::min(slice.end, EndOfMiddleRow(slice.begin))};
      const std::optional<Sum> part_sum = ComputePart(part, cancelled, error);
      if (!part_sum) return std::nullopt;
      if (!sum.Add(*part_sum)) error = Overflow(slice);
      slice.begin = part.end;
    }
    return error.ok() ? std::optional<Sum>(sum) : std::nullopt;
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

  std::optional<Sum> ComputePart(Interval part, const std::function<bool()>& cancelled, Status& error) {
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
      if (share.overflow || !total.Add(share.sum)) error = Overflow(part);
    }
    return stopped || !error.ok() ? std::nullopt : std::optional<Sum>(total);
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

std::unique_ptr<Board> MakeBoard(int n, const MitmOptions& options) {
  if (n < kMinN) return std::make_unique<SmallBoard>(n);
  if (Serves<uint32_t>(n) && options.word_bits != 64) return std::make_unique<HalvedBoard<uint32_t>>(n, options);
  return std::make_unique<HalvedBoard<uint64_t>>(n, options);
}

class MitmRunner final : public Runner {
 public:
  explicit MitmRunner(const MitmOptions& options) : options_(options) {}

  Status SelfTest() override;
  Status Open(std::string_view round_payload) override;
  Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) override;

 private:
  struct OpenRound {
    explicit OpenRound(int n, const MitmOptions& options) : plan(n), board(MakeBoard(n, options)) {}
    MitmPlan plan;
    std::unique_ptr<Board> board;
    const double mean_cost = plan.Cost({0, plan.Size()}) / static_cast<double>(plan.Size());
    double cost_per_second = 0;  // As measured last; 0: unknown.
    double most_cost = 0;        // Of one slice so far.
  };

  static Status CheckBoard(const SelfTestBoard& test, const MitmOptions& options);
  uint64_t SliceEnd(Interval rest, double slice_seconds) const;

  const MitmOptions options_;
  std::unique_ptr<OpenRound> round_;
};

Status MitmRunner::Open(std::string_view round_payload) {
  const Result<Spec> spec = DecodeSpec(round_payload);
  if (!spec.ok()) return spec.status();
  if (spec->algorithm != kMeetInTheMiddle) {
    return Status::Error("algorithm is " + std::to_string(spec->algorithm) +
                         "; this runner knows 2 (meet in the middle) only.");
  }
  const int n = static_cast<int>(spec->n);
  if (!round_ || round_->plan.n() != n) {
    round_.reset();
    round_ = std::make_unique<OpenRound>(n, options_);
  }
  return Status();
}

uint64_t MitmRunner::SliceEnd(Interval rest, double slice_seconds) const {
  if (round_->cost_per_second <= 0) return round_->plan.Cut(rest, kFirstSliceCost);
  const double together = kSubproblemsPerThread * options_.threads * round_->mean_cost;
  const double seconds = SliceSeconds(slice_seconds, round_->plan.Cost(rest) / round_->cost_per_second);
  const double wanted = std::max(round_->cost_per_second * seconds, together);
  return round_->plan.Cut(rest, std::min(wanted, std::max(round_->most_cost, kFirstSliceCost) * kGrowth));
}

Status MitmRunner::Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) {
  if (!round_) return Status::Error("No round is open; Open must come before Run.");
  if (interval.begin > interval.end || interval.end > round_->plan.Size()) {
    return Status::Error("The interval is " + ToString(interval) + "; allowed: within " +
                         ToString(Interval{0, round_->plan.Size()}) + ".");
  }
  uint64_t begin = interval.begin;
  while (begin < interval.end) {
    const uint64_t wanted = SliceEnd({begin, interval.end}, options.slice_seconds);
    const Interval slice{begin, std::min(control.Claim(begin, wanted), interval.end)};
    if (slice.empty()) break;
    Status error;
    std::optional<Sum> sum;
    double start = 0;
    try {
      round_->board->Prepare(slice.begin);  // Not a part of the slice: a speed that it is in would be far off.
      start = Seconds();
      sum = round_->board->Compute(
          slice, [&] { return control.cancelled(); }, error);
    } catch (const std::bad_alloc&) {
      return Status::Error("There is not enough memory to count n = " + std::to_string(round_->plan.n()) + " with " +
                           std::to_string(options_.threads) + " threads; use fewer threads or a smaller board.");
    }
    if (!error.ok()) return error;
    if (!sum) break;
    const double busy = std::max(Seconds() - start, 1e-9);
    const double cost = round_->plan.Cost(slice);
    if (cost > 0) {
      round_->cost_per_second = cost / busy;
      round_->most_cost = std::max(round_->most_cost, cost);
    }
    sink(slice, Encode(Counts{sum->solutions, 0, sum->checksum, 0}), busy);
    begin = slice.end;
  }
  return Status();
}

Status MitmRunner::SelfTest() {
  // Both parities: they differ in much. And as large boards are computed too.
  MitmOptions large = options_;
  large.word_bits = 64;
  large.layout.prefix_bits = kMaxPrefixBits;
  for (const MitmOptions& options : {options_, large}) {
    for (const SelfTestBoard& test : {kEvenSelfTest, kOddSelfTest}) {
      if (Status status = CheckBoard(test, options); !status.ok()) return status;
    }
  }
  return Status();
}

Status MitmRunner::CheckBoard(const SelfTestBoard& test, const MitmOptions& options) {
  const std::unique_ptr<Board> board = MakeBoard(test.n, options);
  Status error;
  const std::optional<Sum> sum = board->Compute(
      {0, IndexCount(test.n)}, [] { return false; }, error);
  const uint64_t solutions = KnownSolutions(test.n)->low();
  if (sum && sum->solutions == Count128(solutions) && sum->checksum == test.checksum) return Status();
  return Status::Error("The self-test failed: n = " + std::to_string(test.n) + " gave " +
                       (sum ? sum->solutions.ToString() : "no count of") + " solutions and checksum " +
                       std::to_string(sum ? sum->checksum : 0) + "; right are " + std::to_string(solutions) + " and " +
                       std::to_string(test.checksum) + ". This device must not be used.");
}

}  // namespace

std::unique_ptr<Runner> MakeMitmRunner(const MitmOptions& options) { return std::make_unique<MitmRunner>(options); }

}  // namespace potluck::nqueens::mitm
