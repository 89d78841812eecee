#include "kernels/cnn/replica.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <utility>

#include "kernels/cnn/results.h"

namespace potluck::cnn {

Replica::Replica(const Backend& backend, const Model& model, const Spec& spec, int threads)
    : backend_(backend),
      engine_(backend, model, threads, spec.micro_shard),
      optimizer_(spec.optimizer, backend.native_size()),
      native_(backend.native_size()) {}

Result<std::string> Replica::Run(const LocalRound& round, uint64_t index, const std::function<bool()>& cancelled) {
  optimizer_.Reset();
  std::copy(round.native.begin(), round.native.end(), native_.begin());
  Tally tally;
  for (uint64_t step = 0; step < round.shape.StepsOf(index); ++step) {
    const Status status = Step(round, index, step, cancelled, tally);
    if (SaysDiverged(status)) return DivergedMark(round.shape.SamplesOf(index));
    if (!status.ok()) return status;
  }
  return Change(round, index, tally);
}

Status Replica::Step(const LocalRound& round, uint64_t index, uint64_t step, const std::function<bool()>& cancelled,
                     Tally& tally) {
  const Interval samples = round.shape.BatchOf(index, step);
  TrainingSource source(round.feed, round.samples, round.spec.shift, round.round.position + samples.begin);
  const Batch batch{samples.size(), round.spec.seed, static_cast<uint32_t>(round.round.step + step)};
  const Result<std::unique_ptr<PreparedParameters>> prepared = backend_.Prepare(native_);
  if (!prepared.ok()) return prepared.status();
  // All micro-shards are one block, so that nothing is computed any more when its sum comes: the parameters may change.
  const auto step_along = [&](const BlockSum& sum) {
    tally.Add(sum.tally);
    ++tally.steps;
    optimizer_.Step(native_, sum.gradient, static_cast<float>(1.0 / static_cast<double>(samples.size())),
                    round.round.learning_rates[step], engine_.threads());
    return Status();
  };
  return engine_.Gradient(**prepared, source, batch, {0, engine_.Shards(batch)}, step_along, cancelled);
}

std::string Replica::Change(const LocalRound& round, uint64_t index, const Tally& tally) {
  const uint64_t count = round.parameters.size();
  const Compression compression = round.spec.local.upload;
  std::string change;
  change.reserve(4 * count + kTallyBytes);
  change.resize(4 * count);
  const std::span<float> floats = FloatsOf(change, count);
  backend_.FromNative(native_, floats);
  for (uint64_t i = 0; i < count; ++i) floats[i] = round.parameters[i] - floats[i];
  const std::string mark = DivergedMark(round.shape.SamplesOf(index));
  if (!AllFinite(floats) || !std::isfinite(tally.loss_sum)) return mark;
  if (compression != Compression::kNone) {
    std::string codes;
    codes.reserve(EncodedBytes(compression, count) + kTallyBytes);
    Encode(compression, floats,
           {round.spec.seed, static_cast<uint32_t>(round.round.step), static_cast<uint32_t>(index)}, codes);
    // A change too large for 16 bits.
    if (!CheckEncoded(compression, codes, count).ok()) return mark;
    change = std::move(codes);
  }
  AppendTally(tally, change);
  return change;
}

}  // namespace potluck::cnn
