// The ranges of a specification's fields.
#include <algorithm>
#include <cmath>

#include "kernels/cnn/payload.h"

namespace potluck::cnn {

namespace {

constexpr uint64_t kMaxSamples = 0xffffffff;  // Of a set: places in it have 32 bits.
constexpr uint64_t kMaxShardBytes = uint64_t{256} << 20;
constexpr size_t kDigestBytes = 32;

Status Wrong(const std::string& field, const std::string& value, const std::string& allowed) {
  return Status::Error(field + " is " + value + "; allowed: " + allowed + ".");
}

Status InRange(const std::string& field, uint64_t value, uint64_t least, uint64_t most) {
  if (value >= least && value <= most) return {};
  return Wrong(field, std::to_string(value), std::to_string(least) + " to " + std::to_string(most));
}

Status IsText(const std::string& field, const std::string& text, size_t most) {
  if (text.size() > most) {
    return Wrong(field, std::to_string(text.size()) + " characters long", std::to_string(most) + " at most");
  }
  for (const char c : text) {
    if (c < 0x20 || c > 0x7e) return Status::Error(field + " may only have printable ASCII characters.");
  }
  return {};
}

Status IsDigest(const std::string& field, const std::string& digest, bool may_be_empty) {
  if (digest.size() == kDigestBytes || (may_be_empty && digest.empty())) return {};
  return Wrong(field, std::to_string(digest.size()) + " bytes long",
               std::to_string(kDigestBytes) + " (a digest)" + (may_be_empty ? ", or none" : ""));
}

std::string Shown(const Shape& shape) {
  return std::to_string(shape.channels) + " x " + std::to_string(shape.height) + " x " + std::to_string(shape.width);
}

Status CheckData(const std::string& set, const DataSpec& data, const Model& model) {
  Status status = IsText(set + ".name", data.name, 64);
  if (status.ok() && data.shape != model.spec.input) {
    status = Wrong(set + ".shape", Shown(data.shape), Shown(model.spec.input) + ", the network's input");
  }
  if (status.ok() && (data.classes < 2 || data.classes > model.classes)) {
    status = Wrong(set + ".classes", std::to_string(data.classes),
                   "2 to " + std::to_string(model.classes) + ", the network's outputs");
  }
  if (status.ok()) status = InRange(set + ".samples", data.samples, 1, kMaxSamples);
  if (status.ok()) {
    const uint64_t most = std::max<uint64_t>(1, kMaxShardBytes / (data.shape.size() + 2));
    status = InRange(set + ".samples_a_shard", data.samples_a_shard, 1, most);
  }
  if (!status.ok()) return status;
  const uint64_t shards = (data.samples + data.samples_a_shard - 1) / data.samples_a_shard;
  if (data.shards.size() != shards) {
    return Status::Error(set + ".shards has " + std::to_string(data.shards.size()) + " digests; allowed for " +
                         std::to_string(data.samples) + " samples, " + std::to_string(data.samples_a_shard) +
                         " a shard: " + std::to_string(shards) + ".");
  }
  for (size_t i = 0; i < shards && status.ok(); ++i) {
    status = IsDigest(set + ".shards[" + std::to_string(i) + "]", data.shards[i], false);
  }
  return status;
}

Status CheckCompression(const std::string& field, Compression compression) {
  return InRange(field, static_cast<uint32_t>(compression), 0, static_cast<uint32_t>(Compression::kTernary));
}

Status CheckLocal(const LocalSteps& local) {
  if (local == LocalSteps{}) return {};  // Synchronous.
  Status status = InRange("local.replicas", local.replicas, 1, 4096);
  if (status.ok()) status = InRange("local.inner_steps", local.inner_steps, 1, 1'000'000);
  if (status.ok() && !(local.outer_learning_rate > 0 && local.outer_learning_rate <= 100)) {
    status = Wrong("local.outer_learning_rate", std::to_string(local.outer_learning_rate), "more than 0, 100 at most");
  }
  if (status.ok() && !(local.outer_momentum >= 0 && local.outer_momentum < 1)) {
    status = Wrong("local.outer_momentum", std::to_string(local.outer_momentum), "0 to less than 1");
  }
  if (status.ok()) status = CheckCompression("local.upload", local.upload);
  if (status.ok()) status = CheckCompression("local.broadcast", local.broadcast);
  return status;
}

Status CheckLimits(const Spec& spec) {
  if (!(spec.target_accuracy >= 0 && spec.target_accuracy <= 1)) {
    return Wrong("target_accuracy", std::to_string(spec.target_accuracy), "0 (none) to 1");
  }
  if (!(spec.time_limit_seconds >= 0 && std::isfinite(spec.time_limit_seconds))) {
    return Wrong("time_limit_seconds", std::to_string(spec.time_limit_seconds), "0 (none) or more, finite");
  }
  const Shape& input = spec.model.input;
  return InRange("shift", spec.shift, 0, std::min<uint64_t>(8, std::min(input.height, input.width) - 1));
}

}  // namespace

Status CheckSpec(const Spec& spec) {
  const auto model = MakeModel(spec.model);
  if (!model.ok()) return model.status();
  Status status = CheckData("train", spec.train, *model);
  if (status.ok()) status = CheckData("test", spec.test, *model);
  if (status.ok()) status = InRange("batch", spec.batch, 1, 65536);
  if (status.ok()) status = InRange("epochs", spec.epochs, 0, 100'000);
  if (status.ok()) status = InRange("micro_shard", spec.micro_shard, 1, 4096);
  if (status.ok() && static_cast<uint32_t>(spec.precision) > 2) {
    status =
        Wrong("precision", std::to_string(static_cast<uint32_t>(spec.precision)), "0 (FP32), 1 (BF16) and 2 (FP16)");
  }
  if (status.ok()) status = CheckOptimizer(spec.optimizer);
  if (status.ok()) status = CheckSchedule(spec.schedule);
  if (status.ok()) status = CheckLocal(spec.local);
  if (status.ok()) status = CheckLimits(spec);
  if (status.ok()) status = IsDigest("initial_parameters", spec.initial_parameters, true);
  if (status.ok()) status = IsDigest("initial_state", spec.initial_state, true);
  if (status.ok()) status = IsText("numerics_class", spec.numerics_class, 200);
  return status;
}

}  // namespace potluck::cnn
