#include "kernels/nqueens/mitm/run_cpu.h"

#include <new>
#include <optional>
#include <string>
#include <utility>

#include "kernels/nqueens/known.h"
#include "kernels/nqueens/mitm/board.h"
#include "kernels/nqueens/mitm/plan.h"
#include "kernels/nqueens/slices.h"

namespace potluck::nqueens::mitm {
namespace {

// What the first slice costs (CostModel): some 10 ms.
constexpr double kFirstSliceCost = 1e7;
// Threads end a slice together only if each has several subproblems in it.
constexpr double kSubproblemsPerThread = 8;

class OpenRound final : public SliceComputer {
 public:
  OpenRound(int n, const MitmOptions& options)
      : plan_(n),
        board_(MakeBoard(n, options)),
        least_work_(kSubproblemsPerThread * options.threads * plan_.Cost({0, plan_.Size()}) /
                    static_cast<double>(plan_.Size())) {}

  int n() const { return plan_.n(); }
  SlicePacer& pacer() { return pacer_; }

  uint64_t Size() const override { return plan_.Size(); }
  double Work(Interval interval) const override { return plan_.Cost(interval); }
  uint64_t Cut(Interval rest, double work) const override { return plan_.Cut(rest, work); }
  double LeastWork() const override { return least_work_; }
  Status Prepare(uint64_t index) override {
    board_->Prepare(index);
    return Status();
  }
  Result<std::optional<Counts>> Compute(Interval slice, const Steering& steering) override {
    const Result<std::optional<Sum>> sum = board_->Compute(slice, steering.cancelled);
    if (!sum.ok()) return sum.status();
    if (!sum->has_value()) return std::optional<Counts>();
    return std::optional<Counts>(Counts{(*sum)->solutions, 0, (*sum)->checksum, 0});
  }

 private:
  MitmPlan plan_;
  std::unique_ptr<Board> board_;
  double least_work_;
  SlicePacer pacer_{kFirstSliceCost};
};

class MitmRunner final : public Runner {
 public:
  explicit MitmRunner(const MitmOptions& options) : options_(options) {}

  Status SelfTest() override;
  Status Open(const RoundInput& round) override;
  Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) override;

 private:
  static Status CheckBoard(const SelfTestBoard& test, const MitmOptions& options);

  const MitmOptions options_;
  std::unique_ptr<OpenRound> round_;
};

Status MitmRunner::Open(const RoundInput& round) {
  const Result<Spec> spec = DecodeSpec(round.payload);
  if (!spec.ok()) return spec.status();
  if (spec->algorithm != kMeetInTheMiddle) {
    return Status::Error("algorithm is " + std::to_string(spec->algorithm) +
                         "; this runner knows 2 (meet in the middle) only.");
  }
  const int n = static_cast<int>(spec->n);
  if (!round_ || round_->n() != n) {
    round_.reset();
    round_ = std::make_unique<OpenRound>(n, options_);
  }
  return Status();
}

Status MitmRunner::Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) {
  if (!round_) return Status::Error("No round is open; Open must come before Run.");
  try {
    return RunSlices(interval, SteeringOf(control), options, *round_, round_->pacer(), sink);
  } catch (const std::bad_alloc&) {
    return Status::Error("There is not enough memory to count n = " + std::to_string(round_->n()) + " with " +
                         std::to_string(options_.threads) + " threads; use fewer threads or a smaller board.");
  }
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
  const Result<std::optional<Sum>> computed = board->Compute({0, IndexCount(test.n)}, [] { return false; });
  if (!computed.ok()) return computed.status();
  const std::optional<Sum>& sum = *computed;
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
