#include "kernels/cnn/state.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "kernels/cnn/results.h"
#include "kernels/workload/fields.h"

namespace potluck::cnn {
namespace {

constexpr std::string_view kMagic = "PLCNNST1";
constexpr size_t kPrefixBytes = 16;

Status Damaged(const std::string& what) { return Status::Error("The saved state is damaged: " + what + "."); }

// What a state must share with the job that goes on from it.
struct Trait {
  uint32_t number;
  const char* name;
  uint64_t value;
};

std::vector<Trait> TraitsOf(const Spec& spec) {
  return {{2, "optimizer", static_cast<uint64_t>(spec.optimizer.kind)},
          {3, "arrays of the optimizer", static_cast<uint64_t>(StateArrays(PlannerOptimizer(spec)))},
          {4, "train.samples", spec.train.samples},
          {5, "batch", spec.batch},
          {6, "local.replicas", spec.local.replicas},
          {7, "local.inner_steps", spec.local.inner_steps},
          {8, "compressed broadcast", HasBroadcastError(spec) ? 1u : 0u}};
}

Status CheckTraits(const Spec& spec, const FieldReader& fields) {
  if (fields.Bytes(1) != Encode(spec.model)) {
    const Result<ModelSpec> model = DecodeModelSpec(fields.Bytes(1));
    if (!model.ok()) return Damaged("it names no network");
    return Status::Error("The saved state is of another network, \"" + model->name + "\"; this job trains \"" +
                         spec.model.name + "\", whose layers must be the same.");
  }
  for (const Trait& trait : TraitsOf(spec)) {
    if (fields.Number(trait.number) == trait.value) continue;
    return Status::Error("The saved state is of a job with " + std::string(trait.name) + " " +
                         std::to_string(fields.Number(trait.number)) +
                         "; allowed to go on from here: " + std::to_string(trait.value) + ".");
  }
  return {};
}

Result<Progress> DecodeProgress(const FieldReader& fields) {
  const Result<Summary> summary = DecodeSummary(fields.Bytes(30));
  const uint64_t stage = fields.Number(10);
  if (!summary.ok() || stage < 1 || stage > 3) return Damaged("its header does not say how far it is");
  Progress progress;
  progress.stage = static_cast<Stage>(stage);
  progress.round = static_cast<uint32_t>(fields.Number(11));
  progress.epoch = static_cast<uint32_t>(fields.Number(12));
  progress.batches_done = fields.Number(13);
  progress.step = fields.Number(14);
  progress.optimizer_steps = fields.Number(15);
  progress.samples_seen = fields.Number(16);
  progress.epoch_tally = {fields.Double(17), fields.Number(18), fields.Number(19), fields.Number(20)};
  progress.loss = fields.Double(21);
  progress.loss_weight = fields.Double(22);
  progress.earlier_seconds = fields.Double(23);
  progress.seconds = fields.Double(24);
  progress.epochs = summary->epochs;
  progress.stopped_by = summary->stopped_by;
  for (const double number : {progress.epoch_tally.loss_sum, progress.loss, progress.loss_weight,
                              progress.earlier_seconds, progress.seconds}) {
    if (!std::isfinite(number)) return Damaged("a number in its header is not finite");
  }
  return progress;
}

std::vector<float> TakeFloats(std::string_view& bytes, uint64_t count) {
  std::vector<float> floats(count);
  std::memcpy(floats.data(), bytes.data(), 4 * count);
  bytes.remove_prefix(4 * count);
  return floats;
}

}  // namespace

OptimizerSpec PlannerOptimizer(const Spec& spec) {
  if (spec.local.replicas == 0) return spec.optimizer;
  OptimizerSpec outer{.kind = OptimizerKind::kSgd, .learning_rate = spec.local.outer_learning_rate};
  outer.momentum = spec.local.outer_momentum;
  outer.nesterov = outer.momentum > 0;
  return outer;
}

bool HasBroadcastError(const Spec& spec) {
  return spec.local.replicas > 0 && spec.local.broadcast != Compression::kNone;
}

std::string EncodeStateHeader(const Spec& spec, const Progress& progress) {
  FieldWriter writer;
  writer.Bytes(1, Encode(spec.model));
  for (const Trait& trait : TraitsOf(spec)) writer.Uint(trait.number, trait.value);
  writer.Uint(10, static_cast<uint64_t>(progress.stage));
  writer.Uint(11, progress.round);
  writer.Uint(12, progress.epoch);
  writer.Uint(13, progress.batches_done);
  writer.Uint(14, progress.step);
  writer.Uint(15, progress.optimizer_steps);
  writer.Uint(16, progress.samples_seen);
  writer.Double(17, progress.epoch_tally.loss_sum);
  writer.Uint(18, progress.epoch_tally.samples);
  writer.Uint(19, progress.epoch_tally.hits);
  writer.Uint(20, progress.epoch_tally.steps);
  writer.Double(21, progress.loss);
  writer.Double(22, progress.loss_weight);
  writer.Double(23, progress.earlier_seconds);
  writer.Double(24, progress.seconds);
  Summary summary;
  summary.epochs = progress.epochs;
  summary.stopped_by = progress.stopped_by;
  writer.Message(30, Encode(summary));
  const std::string header = writer.Take();
  std::string bytes(kMagic);
  for (int shift = 0; shift < 64; shift += 8) bytes.push_back(static_cast<char>(uint64_t{header.size()} >> shift));
  return bytes + header;
}

Result<State> DecodeState(const Spec& spec, const Model& model, std::string_view bytes) {
  if (bytes.size() < kPrefixBytes || !bytes.starts_with(kMagic)) {
    return Damaged("it does not begin with " + std::string(kMagic));
  }
  uint64_t length = 0;
  for (size_t i = kPrefixBytes; i-- > kMagic.size();) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  bytes.remove_prefix(kPrefixBytes);
  if (length > bytes.size()) return Damaged("it ends within its header");
  const auto fields = FieldReader::Parse(bytes.substr(0, length));
  if (!fields) return Damaged("its header is not a well-formed message");
  bytes.remove_prefix(length);
  if (Status status = CheckTraits(spec, *fields); !status.ok()) return status;
  Result<Progress> progress = DecodeProgress(*fields);
  if (!progress.ok()) return progress.status();
  const int optimizer_arrays = StateArrays(PlannerOptimizer(spec));
  const uint64_t count = model.parameter_count, arrays = 1 + optimizer_arrays + (HasBroadcastError(spec) ? 1 : 0);
  if (bytes.size() != 4 * count * arrays) {
    return Damaged("it has " + std::to_string(bytes.size()) + " bytes of numbers, but " + std::to_string(arrays) +
                   " arrays of " + std::to_string(count) + " make " + std::to_string(4 * count * arrays));
  }
  if (!AllFinite(bytes.data(), count * arrays)) return Damaged("a number in it is not finite");
  State state;
  state.progress = *std::move(progress);
  state.parameters = TakeFloats(bytes, count);
  for (int i = 0; i < optimizer_arrays; ++i) state.optimizer.push_back(TakeFloats(bytes, count));
  if (HasBroadcastError(spec)) state.broadcast_error = TakeFloats(bytes, count);
  return state;
}

}  // namespace potluck::cnn
