// What the results of a round must look like, and how they are put together.
#include <cmath>
#include <utility>

#include "kernels/cnn/results.h"
#include "kernels/cnn/training.h"

namespace potluck::cnn {
namespace {

Status Wrong(Interval interval, const std::string& field, const std::string& value, const std::string& allowed) {
  return Status::Error("The result of " + ToString(interval) + " has " + field + " " + value + "; allowed: " + allowed +
                       ".");
}

Status CheckNumber(Interval interval, const char* field, uint64_t value, uint64_t expected) {
  if (value == expected) return {};
  return Wrong(interval, field, std::to_string(value), std::to_string(expected));
}

}  // namespace

// Samples and steps; of loss and hits nothing is known before.
Tally Training::Expected(Interval interval) const {
  Tally tally;
  if (open_->kind == RoundKind::kGradient) tally.samples = SamplesIn(interval, spec_.micro_shard, open_->shape.samples);
  if (open_->kind == RoundKind::kEvaluation) tally.samples = SamplesIn(interval, kEvaluationShard, spec_.test.samples);
  if (open_->kind == RoundKind::kLocal) {
    for (uint64_t replica = interval.begin; replica < interval.end; ++replica) {
      tally.samples += open_->shape.SamplesOf(replica);
      tally.steps += open_->shape.StepsOf(replica);
    }
  }
  return tally;
}

uint64_t Training::ResultBytes() const {
  if (open_->is_compressed) return EncodedBytes(spec_.local.upload, open_->floats) + kTallyBytes;
  return 4 * open_->floats + kTallyBytes;
}

Status Training::CheckTally(Interval interval, const Tally& tally) const {
  const Tally expected = Expected(interval);
  if (Status status = CheckNumber(interval, "samples", tally.samples, expected.samples); !status.ok()) return status;
  if (Status status = CheckNumber(interval, "inner steps", tally.steps, expected.steps); !status.ok()) return status;
  if (tally.hits > tally.samples) {
    return Wrong(interval, "hits", std::to_string(tally.hits), "0 to " + std::to_string(tally.samples));
  }
  if (!std::isfinite(tally.loss_sum) || tally.loss_sum < 0) {
    return Wrong(interval, "loss", std::to_string(tally.loss_sum), "finite, 0 or more");
  }
  return {};
}

Status Training::Check(Interval interval, std::string_view result) const {
  if (!open_) return Status::Error("No round is open.");
  const uint64_t size = open_->plan->Size();
  if (interval.empty() || interval.end > size) {
    return Status::Error("The interval is " + ToString(interval) + "; allowed: not empty and within " +
                         ToString(Interval{0, size}) + ".");
  }
  if (open_->is_compressed ? interval.size() != 1 : !IsDyadicBlock(interval, size)) {
    return Status::Error("The interval is " + ToString(interval) + "; allowed: " +
                         (open_->is_compressed ? "one replica." : "a dyadic block, [k 2^j, (k + 1) 2^j)."));
  }
  if (IsDivergedMark(result)) {
    return CheckNumber(interval, "samples", ReadTally(result).samples, Expected(interval).samples);
  }
  if (Status status = CheckNumber(interval, "bytes", result.size(), ResultBytes()); !status.ok()) return status;
  if (Status status = CheckTally(interval, ReadTally(result)); !status.ok()) return status;
  if (open_->is_compressed) {
    result.remove_suffix(kTallyBytes);
    const Status status = CheckEncoded(spec_.local.upload, result, open_->floats);
    return status.ok() ? status : Status::Error("The result of " + ToString(interval) + ": " + status.message());
  }
  if (!AllFinite(result.data(), open_->floats)) {
    return Status::Error("The result of " + ToString(interval) + " holds a NaN or an infinity; allowed: finite " +
                         "numbers, or the mark of a training that diverged.");
  }
  return {};
}

Status Training::Merge(Interval interval, std::string result) {
  // A round whose sum has gone into the model takes no more; what is computed again for it changes nothing.
  if (open_ && open_->is_settled) return {};
  const bool fits = open_ && interval.end <= open_->plan->Size() && IsDyadicBlock(interval, open_->plan->Size());
  if (!fits || (result.size() != ResultBytes() && !IsDivergedMark(result))) {
    return Status::Error("The result of " + ToString(interval) + " was not checked.");
  }
  if (open_->is_compressed && !IsDivergedMark(result)) {
    const std::string_view codes(result.data(), result.size() - kTallyBytes);
    std::string decoded;
    decoded.reserve(4 * open_->floats + kTallyBytes);
    decoded.resize(4 * open_->floats);
    if (Status status = Decode(spec_.local.upload, codes, FloatsOf(decoded, open_->floats)); !status.ok()) {
      return status;
    }
    AppendTally(ReadTally(result), decoded);
    result = std::move(decoded);
  }
  open_->sum.Add(interval, std::move(result));
  return {};
}

Result<std::string> Training::Combine(std::span<const Part> parts) const {
  if (!open_) return Status::Error("No round is open.");
  std::string combined;
  if (open_->is_compressed) {
    for (const Part& part : parts) combined += part.payload;
    return combined;
  }
  DyadicSum sum(open_->plan->Size(), open_->floats);
  for (const Part& part : parts) {
    if (Status status = Check(part.interval, part.payload); !status.ok()) return status;
    sum.Add(part.interval, part.payload);
  }
  std::vector<Part> blocks = sum.TakeBlocks();
  if (blocks.size() == 1) return std::move(blocks.front().payload);
  for (const Part& block : blocks) combined += block.payload;
  return combined;
}

}  // namespace potluck::cnn
