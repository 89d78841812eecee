#include "kernels/nqueens/backtracking/slice_runner.h"

#include <algorithm>
#include <string>

#include "kernels/math/mix64.h"
#include "kernels/nqueens/known.h"

namespace potluck::nqueens {
namespace {

// Bounds the counts held for one slice (16 bytes a rank).
constexpr double kMaxSliceRanks = 1 << 21;

}  // namespace

std::optional<Counts> SumRanks(const PrefixTable& table, Interval slice, std::span<const RankCounts> counts) {
  Counts sum;
  for (uint64_t rank = slice.begin; rank < slice.end; ++rank) {
    const RankCounts& one = counts[rank - slice.begin];
    const uint64_t weight = static_cast<uint64_t>(table.Weight(rank));
    Counts term{one.solutions, one.nodes, Mix64(rank, one.solutions, one.nodes), one.nodes};
    if (!term.solutions.Multiply(weight) || !term.nodes.Multiply(weight) || !sum.Add(term)) return std::nullopt;
  }
  return sum;
}

Status SliceRunner::Open(const RoundInput& round) {
  const Result<Spec> spec = DecodeSpec(round.payload);
  if (!spec.ok()) return spec.status();
  if (spec->algorithm != kBacktracking) {
    return Status::Error("algorithm is " + std::to_string(spec->algorithm) +
                         "; this runner knows 1 (backtracking) only.");
  }
  const int n = static_cast<int>(spec->n);
  const int depth = spec->depth == 0 ? DefaultDepth(n) : static_cast<int>(spec->depth);
  if (!round_ || table().n() != n || table().depth() != depth) {
    round_ = std::make_unique<OpenRound>(OpenRound{PrefixTable(n, depth)});
  }
  return Status();
}

uint64_t SliceRunner::Cut(Interval rest, double work) const {
  const auto ranks = static_cast<uint64_t>(std::clamp(work, 1.0, kMaxSliceRanks));
  return rest.begin + std::min(ranks, rest.size());
}

Result<std::optional<Counts>> SliceRunner::Compute(Interval slice, const Steering& steering) {
  rank_counts_.assign(slice.size(), RankCounts{});
  SeedStream stream(table(), engine_->MaxRows(), slice, rank_counts_);
  const SearchShape shape{FullMask(table().n()), table().n() - SeedStream::SeedDepth(table(), engine_->MaxRows())};
  if (Status status = engine_->Begin(shape, slice.size()); !status.ok()) return status;
  while (true) {
    if (steering.cancelled()) return std::optional<Counts>();
    seeds_.clear();
    const size_t batch = engine_->BatchSeeds();
    const size_t taken = stream.Take(batch, seeds_);
    if (taken > 0) {
      if (Status status = engine_->Search(seeds_, steering.cancelled); !status.ok()) return status;
    }
    if (taken < batch) break;
  }
  if (Status status = engine_->Finish(rank_counts_, steering.cancelled); !status.ok()) return status;
  if (steering.cancelled()) return std::optional<Counts>();
  std::optional<Counts> sum = SumRanks(table(), slice, rank_counts_);
  if (!sum) return Status::Error("The counts of ranks " + ToString(slice) + " do not fit 128 bits.");
  return sum;
}

Status SliceRunner::Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) {
  return Run(interval, SteeringOf(control), options, sink);
}

Status SliceRunner::Run(Interval interval, const Steering& steering, const RunOptions& options, const SliceSink& sink) {
  if (!round_) return Status::Error("No round is open; Open must come before Run.");
  return RunSlices(interval, steering, options, *this, round_->pacer, sink);
}

Result<Counts> SliceRunner::CountBoard(int n) {
  if (Status status = Open(Encode(Spec{static_cast<uint32_t>(n), kBacktracking, 0})); !status.ok()) return status;
  const Interval all{0, table().size()};
  RunControl control(all);
  Counts sum;
  bool well_formed = true;
  Status status = Run(all, control, RunOptions{}, [&](Interval, std::string_view payload, double) {
    const Result<Counts> counts = DecodeCounts(payload);
    well_formed = well_formed && counts.ok() && sum.Add(*counts);
  });
  if (!status.ok()) return status;
  const PrefixTable::Interior& interior = table().interior();
  if (!well_formed || !sum.nodes.Add(interior.nodes) || !sum.visited.Add(interior.visited)) {
    return Status::Error("The self-test failed: its counts cannot be added up.");
  }
  return sum;
}

Status SliceRunner::SelfTest() {
  std::unique_ptr<OpenRound> open_round = std::move(round_);
  const Result<Counts> sum = CountBoard(kSelfTestN);
  round_ = std::move(open_round);
  if (!sum.ok()) return sum.status();
  const Count128 solutions = *KnownSolutions(kSelfTestN);
  if (sum->solutions == solutions && sum->nodes == kSelfTestNodes && sum->checksum == kSelfTestChecksum) {
    return Status();
  }
  return Status::Error("The self-test failed: n = " + std::to_string(kSelfTestN) + " gave " +
                       sum->solutions.ToString() + " solutions, " + sum->nodes.ToString() + " nodes and checksum " +
                       std::to_string(sum->checksum) + "; right are " + solutions.ToString() + ", " +
                       std::to_string(kSelfTestNodes) + " and " + std::to_string(kSelfTestChecksum) +
                       ". This device must not be used.");
}

}  // namespace potluck::nqueens
