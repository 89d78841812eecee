#include "kernels/cnn/runner.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "kernels/cnn/data/order.h"
#include "kernels/cnn/dyadic.h"
#include "kernels/cnn/feed.h"
#include "kernels/cnn/held_parameters.h"
#include "kernels/cnn/plan.h"
#include "kernels/cnn/replica.h"
#include "kernels/cnn/results.h"
#include "kernels/cnn/self_test.h"

namespace potluck::cnn {
namespace {

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// A network made ready to be computed with. Its parts borrow the earlier ones.
struct Network {
  std::string key;  // Network, precision and what else the parts depend on.
  Model model;
  std::unique_ptr<Backend> backend;
  std::unique_ptr<Engine> gradients, evaluations;
  std::vector<std::unique_ptr<Replica>> replicas;
};

// How many indices to claim: about as long as a slice shall take, at the speed so far.
class Pace {
 public:
  uint64_t Next(double slice_seconds, uint64_t first) const {
    if (per_second_ <= 0) return first;
    return std::max<uint64_t>(1, static_cast<uint64_t>(per_second_ * slice_seconds));
  }
  void Took(uint64_t indices, double seconds) { per_second_ = static_cast<double>(indices) / std::max(seconds, 1e-6); }
  void Forget() { per_second_ = 0; }

 private:
  double per_second_ = 0;
};

class CnnRunner final : public Runner {
 public:
  CnnRunner(int threads, std::string onednn_plugin) : threads_(threads), onednn_plugin_(std::move(onednn_plugin)) {}

  Status SelfTest() override { return RunSelfTest(onednn_plugin_); }
  Status Open(const RoundInput& input) override;
  Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) override;

 private:
  // What a slice's result is sent with.
  struct Slices {
    RunControl& control;
    const RunOptions& options;
    const SliceSink& sink;
    std::function<bool()> cancelled;
  };

  Status OpenNetwork(const Spec& spec);
  Status OpenData(BlobSource& blobs);
  Status OpenParameters(const RoundInput& input);

  Status RunShards(Interval interval, const Slices& slices);
  Status ComputeShards(Interval claimed, const Slices& slices);
  Status ComputeBlocks(Interval shards, const Slices& slices, uint64_t& reported);
  std::string ResultOf(const BlockSum& sum);
  // Of a round of micro-shards.
  uint32_t Shard() const { return IsGradient() ? spec_.micro_shard : kEvaluationShard; }
  uint64_t SamplesOf(Interval shards) const { return SamplesIn(shards, Shard(), round_.samples); }
  uint64_t Size() const {
    return round_.kind == RoundKind::kLocal ? shape_.replicas : ShardsOf(round_.samples, Shard());
  }
  bool IsGradient() const { return round_.kind == RoundKind::kGradient; }

  Status RunReplicas(Interval interval, const Slices& slices);
  uint64_t OpenReplicas(uint64_t wanted);
  Status PrepareReplica(uint64_t replica);
  Result<std::vector<std::string>> ComputeReplicas(Interval replicas, const Slices& slices);

  const int threads_;
  const std::string onednn_plugin_;
  bool is_open_ = false;
  std::string spec_bytes_;
  Spec spec_;
  RoundPayload round_;
  RoundShape shape_;
  Network network_;
  HeldParameters parameters_;
  std::unique_ptr<Feed> train_, test_;
  EpochSamples samples_;
  Pace pace_[4];  // By RoundKind.
};

Status CnnRunner::Open(const RoundInput& input) {
  is_open_ = false;
  Result<RoundPayload> round = DecodeRound(input.payload);
  if (!round.ok()) return round.status();
  if (input.blobs == nullptr || input.bulk.size() != (round->has_update ? 2u : 1u)) {
    return Status::Error("The round names " + std::to_string(input.bulk.size()) + " blobs; allowed: " +
                         (round->has_update ? "2, the parameters and their update." : "1, the parameters."));
  }
  if (round->spec != spec_bytes_) {
    Result<Spec> spec = DecodeSpec(round->spec);
    if (!spec.ok()) return spec.status();
    if (Status status = OpenNetwork(*spec); !status.ok()) return status;
    spec_bytes_ = round->spec;
    spec_ = *std::move(spec);
    for (Pace& pace : pace_) pace.Forget();
  }
  round_ = *std::move(round);
  shape_ = ShapeOf(spec_, round_.samples);
  const bool is_local = round_.kind == RoundKind::kLocal;
  if (round_.samples == 0 || (is_local && round_.learning_rates.size() < shape_.steps)) {
    return Status::Error("The round is damaged: " + std::to_string(round_.samples) + " samples and " +
                         std::to_string(round_.learning_rates.size()) + " learning rates.");
  }
  if (Status status = OpenData(*input.blobs); !status.ok()) return status;
  if (Status status = OpenParameters(input); !status.ok()) return status;
  is_open_ = true;
  return {};
}

Status CnnRunner::OpenNetwork(const Spec& spec) {
  const std::string key = Encode(spec.model) + "/" + std::to_string(static_cast<int>(spec.precision)) + "/" +
                          std::to_string(spec.micro_shard);
  if (network_.backend != nullptr && network_.key == key) {
    network_.replicas.clear();  // They have the optimizer of the job before.
    return {};
  }
  spec_bytes_.clear();
  parameters_.Forget();
  network_ = {};
  Result<Model> model = MakeModel(spec.model);
  if (!model.ok()) return model.status();
  std::string note;  // What the worker said when it started.
  Result<std::unique_ptr<Backend>> backend = MakeCpuBackend(*model, spec.precision, onednn_plugin_, &note);
  if (!backend.ok()) return backend.status();
  network_.model = *std::move(model);
  network_.gradients = std::make_unique<Engine>(**backend, network_.model, threads_, spec.micro_shard);
  network_.evaluations = std::make_unique<Engine>(**backend, network_.model, threads_, kEvaluationShard);
  network_.backend = *std::move(backend);
  network_.key = key;
  return {};
}

Status CnnRunner::OpenData(BlobSource& blobs) {
  if (!train_ || train_->spec() != spec_.train) train_ = std::make_unique<Feed>(spec_.train, blobs);
  if (!test_ || test_->spec() != spec_.test) test_ = std::make_unique<Feed>(spec_.test, blobs);
  if (round_.kind == RoundKind::kEvaluation) {
    if (round_.samples <= spec_.test.samples) return {};
    return Status::Error("The round has " + std::to_string(round_.samples) + " test samples; allowed: at most " +
                         std::to_string(spec_.test.samples) + ".");
  }
  const uint64_t samples = spec_.train.samples, epoch = round_.position / samples;
  if (round_.samples > samples - round_.position % samples) {
    return Status::Error("The round's samples reach beyond its epoch's end.");
  }
  if (samples_.order.size() != samples || samples_.seed != spec_.seed || samples_.epoch != epoch) {
    samples_ = {spec_.seed, epoch,
                EpochOrder(spec_.seed, static_cast<uint32_t>(epoch), static_cast<uint32_t>(samples))};
  }
  return {};
}

Status CnnRunner::OpenParameters(const RoundInput& input) {
  const std::string update = round_.has_update ? input.bulk[1] : std::string();
  return parameters_.Take(*network_.backend, network_.model, *input.blobs, input.bulk[0], update,
                          spec_.local.broadcast);
}

Status CnnRunner::Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) {
  if (!is_open_) return Status::Error("No round is open; Open must come before Run.");
  if (interval.begin > interval.end || interval.end > Size()) {
    return Status::Error("The interval is " + ToString(interval) + "; allowed: within " +
                         ToString(Interval{0, Size()}) + ".");
  }
  const Slices slices{control, options, sink, [&control] { return control.cancelled(); }};
  const Status status = round_.kind == RoundKind::kLocal ? RunReplicas(interval, slices) : RunShards(interval, slices);
  return control.cancelled() ? Status() : status;
}

// Threads share the micro-shards of what is claimed at once, whatever its blocks are.
Status CnnRunner::RunShards(Interval interval, const Slices& slices) {
  Pace& pace = pace_[static_cast<int>(round_.kind)];
  for (uint64_t begin = interval.begin; begin < interval.end;) {
    const uint64_t wanted = begin + pace.Next(slices.options.slice_seconds, uint64_t{4} * threads_);
    const uint64_t end = std::min(slices.control.Claim(begin, std::min(wanted, interval.end)), interval.end);
    if (end <= begin) break;
    const Interval claimed{begin, end};
    // What has to be fetched first shall not count for the speed.
    const Interval samples{begin * Shard(), std::min(end * Shard(), round_.samples)};
    Status status = IsGradient() ? TrainingSource(*train_, samples_, spec_.shift, round_.position).Prepare(samples)
                                 : EvaluationSource(*test_).Prepare(samples);
    if (!status.ok()) return status;
    const double start = Seconds();
    status = ComputeShards(claimed, slices);
    if (!status.ok() || slices.control.cancelled()) return status;
    pace.Took(claimed.size(), Seconds() - start);
    begin = end;
  }
  return {};
}

Status CnnRunner::ComputeShards(Interval claimed, const Slices& slices) {
  uint64_t reported = claimed.begin;
  Status status = ComputeBlocks(claimed, slices, reported);
  if (!SaysDiverged(status)) return status;
  // Which blocks it is: a mark stands for its own block alone.
  for (const Interval block : DyadicBlocks({reported, claimed.end}, Size())) {
    const double start = Seconds();
    status = ComputeBlocks(block, slices, reported);
    if (SaysDiverged(status)) {
      slices.sink(block, DivergedMark(SamplesOf(block)), Seconds() - start);
    } else if (!status.ok()) {
      return status;
    }
  }
  return {};
}

// Reports the blocks of `shards`, ascending; `reported` is the end of the last one.
Status CnnRunner::ComputeBlocks(Interval shards, const Slices& slices, uint64_t& reported) {
  const Batch batch{round_.samples, spec_.seed, static_cast<uint32_t>(round_.step)};
  const double start = Seconds();
  double a_sample = 0;
  // All is computed when the first block comes.
  const auto report = [&](const BlockSum& sum) {
    if (a_sample == 0) a_sample = (Seconds() - start) / static_cast<double>(SamplesOf(shards));
    const std::string result = ResultOf(sum);
    slices.sink(sum.shards, result, a_sample * static_cast<double>(SamplesOf(sum.shards)));
    reported = sum.shards.end;
    return Status();
  };
  if (IsGradient()) {
    TrainingSource source(*train_, samples_, spec_.shift, round_.position);
    return network_.gradients->Gradient(parameters_.prepared(), source, batch, shards, report, slices.cancelled);
  }
  EvaluationSource source(*test_);
  return network_.evaluations->Evaluate(parameters_.prepared(), source, batch, shards, report, slices.cancelled);
}

std::string CnnRunner::ResultOf(const BlockSum& sum) {
  std::string result;
  if (!std::isfinite(sum.tally.loss_sum)) return DivergedMark(SamplesOf(sum.shards));
  if (IsGradient()) {
    const uint64_t count = network_.model.parameter_count;
    result.reserve(4 * count + kTallyBytes);
    result.resize(4 * count);
    network_.backend->FromNative(sum.gradient, FloatsOf(result, count));
  }
  AppendTally(sum.tally, result);
  return result;
}

// Summed, a block of replicas is one result, so whole blocks are claimed; compressed, as many as are computed at once.
Status CnnRunner::RunReplicas(Interval interval, const Slices& slices) {
  const bool sums = spec_.local.upload == Compression::kNone;
  for (uint64_t begin = interval.begin; begin < interval.end;) {
    const uint64_t lanes = OpenReplicas(interval.end - begin);
    const uint64_t wanted = sums ? DyadicBlocks({begin, interval.end}, shape_.replicas).front().end : begin + lanes;
    const uint64_t end = std::min(slices.control.Claim(begin, std::min(wanted, interval.end)), interval.end);
    if (end <= begin) break;
    DyadicSum sum(shape_.replicas, network_.model.parameter_count);
    double busy = 0;
    for (Interval some{begin, begin}; some.end < end;) {
      some = {some.end, std::min(some.end + lanes, end)};
      for (uint64_t replica = some.begin; replica < some.end; ++replica) {
        if (Status status = PrepareReplica(replica); !status.ok()) return status;
      }
      const double start = Seconds();
      Result<std::vector<std::string>> results = ComputeReplicas(some, slices);
      if (!results.ok()) return results.status();
      const double each = (Seconds() - start) / static_cast<double>(some.size());
      busy += Seconds() - start;
      for (uint64_t i = 0; i < some.size(); ++i) {
        const Interval one{some.begin + i, some.begin + i + 1};
        if (sums) {
          sum.Add(one, std::move((*results)[i]));
        } else {
          slices.sink(one, (*results)[i], each);
        }
      }
    }
    const double each = busy / static_cast<double>(end - begin);
    for (const Part& block : sum.TakeBlocks()) {
      slices.sink(block.interval, block.payload, each * static_cast<double>(block.interval.size()));
    }
    begin = end;
  }
  return {};
}

// How many replicas to compute at once: a replica gets as many threads as its batches have micro-shards.
uint64_t CnnRunner::OpenReplicas(uint64_t wanted) {
  const int shards = static_cast<int>(std::min<uint64_t>(ShardsOf(spec_.batch, spec_.micro_shard), threads_));
  const uint64_t most = static_cast<uint64_t>(threads_ / shards), lanes = std::min(wanted, most);
  std::vector<std::unique_ptr<Replica>>& replicas = network_.replicas;
  while (replicas.size() < lanes) {
    replicas.push_back(std::make_unique<Replica>(*network_.backend, network_.model, spec_, threads_ / most));
  }
  return lanes;
}

Status CnnRunner::PrepareReplica(uint64_t replica) {
  TrainingSource source(*train_, samples_, spec_.shift, round_.position);
  for (uint64_t step = 0; step < shape_.StepsOf(replica); ++step) {
    if (Status status = source.Prepare(shape_.BatchOf(replica, step)); !status.ok()) return status;
  }
  return {};
}

// Each on threads of its own, so that OpenMP keeps a team for each.
Result<std::vector<std::string>> CnnRunner::ComputeReplicas(Interval replicas, const Slices& slices) {
  const LocalRound round{spec_, round_, shape_, *train_, samples_, parameters_.parameters(), parameters_.native()};
  std::vector<std::optional<Result<std::string>>> results(replicas.size());
  const auto run = [&](uint64_t i) {
    results[i] = network_.replicas[i]->Run(round, replicas.begin + i, slices.cancelled);
  };
  std::vector<std::thread> others;
  for (uint64_t i = 1; i < replicas.size(); ++i) others.emplace_back(run, i);
  run(0);
  for (std::thread& other : others) other.join();
  std::vector<std::string> all;
  for (std::optional<Result<std::string>>& result : results) {
    if (!result->ok()) return result->status();
    all.push_back(std::move(*result).value());
  }
  return all;
}

}  // namespace

std::unique_ptr<Runner> MakeCpuRunner(int threads, std::string onednn_plugin) {
  return std::make_unique<CnnRunner>(threads, std::move(onednn_plugin));
}

}  // namespace potluck::cnn
