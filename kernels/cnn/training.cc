#include "kernels/cnn/training.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <utility>

#include "kernels/cnn/results.h"

namespace potluck::cnn {
namespace {

// The weight of the losses before in the smoothed one.
constexpr double kSmoothing = 0.9;
// A smoothed loss of so many times what guessing has, after so many rounds, will not come back.
constexpr double kHopeless = 20;
constexpr uint64_t kHopelessAfter = 20;
constexpr uint32_t kBroadcastIndex = 0xffffffff;  // Of RoundingKey: no replica's.

std::string Shown(double value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.4g", value);
  return text;
}

Result<std::vector<float>> ParametersFrom(std::string_view bytes, const Model& model) {
  if (bytes.size() != 4 * model.parameter_count) {
    return Status::Error("The initial parameters have " + std::to_string(bytes.size()) + " bytes; allowed for this " +
                         "network: " + std::to_string(4 * model.parameter_count) + ".");
  }
  if (!AllFinite(bytes.data(), model.parameter_count)) {
    return Status::Error("The initial parameters hold a number that is not finite; allowed: finite ones.");
  }
  std::vector<float> parameters(model.parameter_count);
  std::memcpy(parameters.data(), bytes.data(), bytes.size());
  return parameters;
}

}  // namespace

Training::Training(std::string spec_bytes, Spec spec, Model model)
    : spec_bytes_(std::move(spec_bytes)), spec_(std::move(spec)), model_(std::move(model)), course_(spec_) {}

Status Training::Begin(const BlobReader& blobs) {
  progress_ = {};
  if (!spec_.initial_state.empty() || !spec_.initial_parameters.empty()) {
    if (!blobs) return Status::Error("The job names initial parameters, but there is nothing to read them from.");
  }
  if (!spec_.initial_state.empty()) {
    const Result<std::string> bytes = blobs(spec_.initial_state);
    if (!bytes.ok()) return bytes.status();
    Result<cnn::State> state = DecodeState(spec_, model_, *bytes);
    if (!state.ok()) return state.status();
    Progress& progress = state->progress;
    progress.round = 0;
    progress.earlier_seconds += std::exchange(progress.seconds, 0);
    progress.stopped_by.clear();
    if (progress.stage == Stage::kDone) progress.stage = Stage::kTraining;
    return Adopt(*std::move(state));
  }
  std::vector<float> parameters;
  if (spec_.initial_parameters.empty()) {
    parameters = InitialParameters(model_, spec_.seed);
  } else {
    const Result<std::string> bytes = blobs(spec_.initial_parameters);
    if (!bytes.ok()) return bytes.status();
    Result<std::vector<float>> given = ParametersFrom(*bytes, model_);
    if (!given.ok()) return given.status();
    parameters = *std::move(given);
  }
  weights_ = std::make_unique<Weights>(spec_, std::move(parameters));
  if (course_.total_steps() == 0) progress_.stage = Stage::kEvaluating;
  return {};
}

Status Training::Restore(std::string_view bytes) {
  Result<cnn::State> state = DecodeState(spec_, model_, bytes);
  if (!state.ok()) return state.status();
  return Adopt(*std::move(state));
}

Status Training::Adopt(cnn::State state) {
  if (state.progress.batches_done > course_.batches_an_epoch()) {
    return Status::Error("The saved state is damaged: it has done " + std::to_string(state.progress.batches_done) +
                         " batches of an epoch of " + std::to_string(course_.batches_an_epoch()) + ".");
  }
  open_.reset();
  failure_.reset();
  is_repeated_ = false;
  progress_ = state.progress;
  weights_ = std::make_unique<Weights>(spec_, std::move(state));
  return {};
}

std::vector<SharedBytes> Training::State() {
  if (!has_begun() || !Settle().ok()) return {};
  progress_.optimizer_steps = weights_->steps();
  std::vector<SharedBytes> parts{SharedBytes(EncodeStateHeader(spec_, progress_))};
  for (SharedBytes& array : weights_->Arrays()) parts.push_back(std::move(array));
  return parts;
}

Result<std::optional<Round>> Training::Next(double job_seconds) {
  if (open_ && !open_->is_settled && !open_->sum.complete()) {
    return Status::Error("Round " + std::to_string(progress_.round) +
                         " is not complete: " + std::to_string(open_->sum.added()) + " of " +
                         std::to_string(open_->plan->Size()) + " indices are merged.");
  }
  if (Status status = Settle(); !status.ok()) return status;
  open_.reset();
  progress_.seconds = job_seconds;
  if (!progress_.epochs.empty() && progress_.epochs.back().seconds == 0) progress_.epochs.back().seconds = Seconds();
  if (progress_.stage == Stage::kTraining && spec_.time_limit_seconds > 0 && Seconds() >= spec_.time_limit_seconds) {
    progress_.stopped_by = "time-limit";
    progress_.stage = progress_.epoch_tally.samples > 0 ? Stage::kEvaluating : Stage::kDone;
  }
  if (progress_.stage == Stage::kTraining && IsTrained()) AfterEvaluation();
  if (progress_.stage == Stage::kDone) return std::optional<Round>();
  return std::optional<Round>(progress_.stage == Stage::kTraining ? OpenTraining() : OpenEvaluation());
}

Round Training::OpenTraining() {
  const bool is_local = spec_.local.replicas > 0;
  Open open;
  open.kind = is_local ? RoundKind::kLocal : RoundKind::kGradient;
  open.shape = course_.Next(progress_.batches_done, progress_.step);
  open.floats = model_.parameter_count;
  open.is_compressed = is_local && spec_.local.upload != Compression::kNone;
  open_ = std::move(open);
  RoundPayload payload;
  payload.kind = open_->kind;
  payload.step = progress_.step;
  payload.position = progress_.epoch * spec_.train.samples + progress_.batches_done * spec_.batch;
  payload.samples = open_->shape.samples;
  payload.learning_rate = course_.LearningRate(progress_.step);
  for (uint64_t i = 0; is_local && i < open_->shape.steps; ++i) {
    payload.learning_rates.push_back(course_.LearningRate(progress_.step + i));
  }
  const uint64_t samples = payload.samples;
  return OpenRound(std::move(payload),
                   is_local ? MakeLocalPlan(spec_, model_, samples) : MakeGradientPlan(spec_, model_, samples));
}

Round Training::OpenEvaluation() {
  Open open;
  open.kind = RoundKind::kEvaluation;
  open_ = std::move(open);
  RoundPayload payload;
  payload.kind = RoundKind::kEvaluation;
  payload.samples = spec_.test.samples;
  payload.step = progress_.step;
  return OpenRound(std::move(payload), MakeEvaluationPlan(spec_, model_));
}

Round Training::OpenRound(RoundPayload payload, std::shared_ptr<const RoundPlan> plan) {
  open_->plan = std::move(plan);
  Reset();
  Round round;
  round.number = progress_.round;
  round.durability = Durability::kVolatile;
  round.plan = open_->plan;
  round.bulk = {weights_->parameters()};
  payload.spec = spec_bytes_;
  payload.has_update = weights_->update().size() > 0;
  if (payload.has_update) round.bulk.push_back(weights_->update());
  round.payload = Encode(payload);
  round.max_result_bytes = ResultBytes();
  round.is_exact = false;
  round.numerics_class = spec_.numerics_class;
  return round;
}

void Training::Reset() {
  if (open_) open_->sum = DyadicSum(open_->plan->Size(), open_->floats);
}

Status Training::Settle() {
  if (failure_) return *failure_;
  if (!open_ || open_->is_settled || !open_->sum.complete()) return {};
  open_->is_settled = true;
  std::string total = open_->sum.TakeTotal();
  ++progress_.round;
  if (IsDivergedMark(total)) {
    if (is_repeated_) return Diverged("a loss or a gradient is not a finite number");
    is_repeated_ = true;  // Nothing has changed: the same round is opened once more.
    return {};
  }
  is_repeated_ = false;
  if (open_->kind == RoundKind::kEvaluation) {
    SettleEvaluation(ReadTally(total));
    return {};
  }
  return SettleTraining(std::move(total));
}

Status Training::SettleTraining(std::string total) {
  const Tally tally = ReadTally(total);
  const RoundShape& shape = open_->shape;
  const bool is_local = open_->kind == RoundKind::kLocal;
  const double parts = static_cast<double>(is_local ? shape.replicas : tally.samples);
  const double rate = is_local ? spec_.local.outer_learning_rate : course_.LearningRate(progress_.step);
  const RoundingKey key{spec_.seed, static_cast<uint32_t>(progress_.step), kBroadcastIndex};
  if (Status status = weights_->Step(std::move(total), static_cast<float>(1 / parts), rate, key); !status.ok()) {
    return Diverged(status.message());
  }
  progress_.step += shape.steps;
  progress_.batches_done += shape.batches;
  progress_.samples_seen += tally.samples;
  CountTraining(tally);
  const double guessing = std::log(static_cast<double>(model_.classes));
  const double loss = progress_.loss / progress_.loss_weight;
  if (progress_.round >= kHopelessAfter && loss > kHopeless * guessing) {
    return Diverged("the loss is " + Shown(loss) + ", where guessing has " + Shown(guessing));
  }
  if (progress_.batches_done == course_.batches_an_epoch() || IsTrained()) {
    progress_.stage = Stage::kEvaluating;
  }
  return {};
}

void Training::CountTraining(const Tally& tally) {
  progress_.epoch_tally.Add(tally);
  const double loss = tally.loss_sum / static_cast<double>(tally.samples);
  progress_.loss = kSmoothing * progress_.loss + (1 - kSmoothing) * loss;
  progress_.loss_weight = kSmoothing * progress_.loss_weight + (1 - kSmoothing);
}

void Training::SettleEvaluation(const Tally& tally) {
  const auto mean = [](double sum, uint64_t count) { return count == 0 ? 0 : sum / static_cast<double>(count); };
  const Tally& train = progress_.epoch_tally;
  Epoch epoch{.epoch = progress_.epoch + (train.samples > 0 ? 1 : 0), .step = progress_.step};
  epoch.train_loss = mean(train.loss_sum, train.samples);
  epoch.train_accuracy = mean(static_cast<double>(train.hits), train.samples);
  epoch.test_loss = mean(tally.loss_sum, tally.samples);
  epoch.test_accuracy = mean(static_cast<double>(tally.hits), tally.samples);
  epoch.learning_rate = course_.LearningRate(progress_.step == 0 ? 0 : progress_.step - 1);
  progress_.epochs.push_back(epoch);
  if (progress_.stopped_by.empty() && spec_.target_accuracy > 0 && epoch.test_accuracy >= spec_.target_accuracy) {
    progress_.stopped_by = "target-accuracy";
  }
  AfterEvaluation();
}

void Training::AfterEvaluation() {
  if (progress_.batches_done == course_.batches_an_epoch()) {
    ++progress_.epoch;
    progress_.batches_done = 0;
    progress_.epoch_tally = {};
  }
  if (progress_.stopped_by.empty() && IsTrained()) {
    progress_.stopped_by = progress_.epoch >= spec_.epochs ? "epochs" : "max-steps";
  }
  progress_.stage = progress_.stopped_by.empty() ? Stage::kTraining : Stage::kDone;
}

Status Training::Diverged(const std::string& what) {
  const bool has_loss = progress_.loss_weight > 0;
  failure_ =
      Status::Error("Training diverged at step " + std::to_string(progress_.step + 1) + " (epoch " +
                    std::to_string(progress_.epoch + 1) + "): " + what + ". " +
                    (has_loss ? "The loss before was " + Shown(progress_.loss / progress_.loss_weight) + ". " : "") +
                    "Lower the learning rate (it was " + Shown(course_.LearningRate(progress_.step)) +
                    ") or let it rise slowly (warm-up).");
  return *failure_;
}

Summary Training::Summarize() const {
  Summary summary;
  const Tally& train = progress_.epoch_tally;
  summary.epoch = std::min(progress_.epoch + 1, spec_.epochs);
  summary.step = progress_.step;
  summary.total_steps = course_.total_steps();
  summary.samples_seen = progress_.samples_seen;
  summary.total_samples = course_.total_samples();
  summary.loss = progress_.loss_weight > 0 ? progress_.loss / progress_.loss_weight : 0;
  if (train.samples > 0) {
    summary.accuracy = static_cast<double>(train.hits) / static_cast<double>(train.samples);
  } else if (!progress_.epochs.empty()) {
    summary.accuracy = progress_.epochs.back().train_accuracy;
  }
  const bool is_done = progress_.step >= course_.total_steps();
  summary.learning_rate = course_.LearningRate(is_done && progress_.step > 0 ? progress_.step - 1 : progress_.step);
  summary.is_evaluating = progress_.stage == Stage::kEvaluating;
  summary.epochs = progress_.epochs;
  summary.stopped_by = progress_.stage == Stage::kDone ? progress_.stopped_by : "";
  return summary;
}

}  // namespace potluck::cnn
