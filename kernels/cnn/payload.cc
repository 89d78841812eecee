#include "kernels/cnn/payload.h"

#include <bit>
#include <cmath>
#include <limits>
#include <optional>

#include "kernels/workload/fields.h"

namespace potluck::cnn {

namespace {

// Fields of 32 bits that say more than that are out of every range: made the greatest value, so that a check says so.
uint32_t Narrow(uint64_t value) {
  constexpr uint32_t kMost = std::numeric_limits<uint32_t>::max();
  return value > kMost ? kMost : static_cast<uint32_t>(value);
}

Status NotWellFormed(const char* what, const char* message) {
  return Status::Error(std::string("The ") + what + " is not a well-formed " + message + " message.");
}

// --- ModelSpec

std::string Encode(const Shape& shape) {
  FieldWriter writer;
  writer.Uint(1, shape.channels);
  writer.Uint(2, shape.height);
  writer.Uint(3, shape.width);
  return writer.Take();
}

std::optional<Shape> DecodeShape(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return std::nullopt;
  return Shape{Narrow(fields->Number(1)), Narrow(fields->Number(2)), Narrow(fields->Number(3))};
}

// A layer's field numbers by kind, in the order of LayerKind.
constexpr uint32_t kKindFields[] = {2, 3, 4, 5, 6};

std::string EncodeKind(const Layer& layer) {
  FieldWriter writer;
  switch (layer.kind) {
    case LayerKind::kConv:
      writer.Uint(1, layer.units);
      writer.Uint(2, layer.kernel);
      writer.Uint(3, layer.stride);
      writer.Uint(4, layer.padding);
      writer.Bool(5, layer.relu);
      break;
    case LayerKind::kMaxPool:
      writer.Uint(1, layer.kernel);
      writer.Uint(2, layer.stride);
      break;
    case LayerKind::kDropout:
      writer.Double(1, layer.rate);
      break;
    case LayerKind::kFlatten:
      break;
    case LayerKind::kDense:
      writer.Uint(1, layer.units);
      writer.Bool(2, layer.relu);
      break;
  }
  return writer.Take();
}

std::string Encode(const Layer& layer) {
  FieldWriter writer;
  writer.Bytes(1, layer.name);
  writer.Message(kKindFields[static_cast<int>(layer.kind)], EncodeKind(layer));
  return writer.Take();
}

Status WrongLayer(size_t index, const std::string& what) {
  return Status::Error("Layer " + std::to_string(index + 1) + ": " + what);
}

Result<Layer> DecodeLayer(size_t index, std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return WrongLayer(index, "it is not a well-formed CnnLayer message.");
  Layer layer;
  layer.name = fields->Bytes(1);
  int kinds = 0;
  for (int i = 0; i < 5; ++i) {
    if (!fields->HasBytes(kKindFields[i])) continue;
    ++kinds;
    layer.kind = static_cast<LayerKind>(i);
  }
  if (kinds != 1) {
    return WrongLayer(index, "it is of " + std::string(kinds == 0 ? "no known kind" : "several kinds") +
                                 "; allowed: one of conv, max_pool, dropout, flatten and dense.");
  }
  const auto kind = FieldReader::Parse(fields->Bytes(kKindFields[static_cast<int>(layer.kind)]));
  if (!kind) return WrongLayer(index, "its kind is not a well-formed message.");
  const bool is_conv = layer.kind == LayerKind::kConv, is_dense = layer.kind == LayerKind::kDense;
  if (is_conv || is_dense) {
    layer.units = Narrow(kind->Number(1));
    const uint64_t activation = kind->Number(is_conv ? 5 : 2);
    if (activation > 1) {
      return WrongLayer(index, "activation is " + std::to_string(activation) + "; allowed: 0 (NONE) and 1 (RELU).");
    }
    layer.relu = activation == 1;
  }
  if (is_conv) {
    layer.kernel = Narrow(kind->Number(2));
    layer.stride = Narrow(kind->Number(3));
    layer.padding = Narrow(kind->Number(4));
  } else if (layer.kind == LayerKind::kMaxPool) {
    layer.kernel = Narrow(kind->Number(1));
    layer.stride = Narrow(kind->Number(2));
  } else if (layer.kind == LayerKind::kDropout) {
    layer.rate = kind->Double(1);
  }
  return layer;
}

// --- The parts of CnnSpec

std::string Encode(const DataSpec& data) {
  FieldWriter writer;
  writer.Bytes(1, data.name);
  writer.Message(2, Encode(data.shape));
  writer.Uint(3, data.classes);
  writer.Uint(4, data.samples);
  writer.Uint(5, data.samples_a_shard);
  for (const std::string& shard : data.shards) writer.Message(6, shard);
  return writer.Take();
}

std::optional<DataSpec> DecodeData(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return std::nullopt;
  const auto shape = DecodeShape(fields->Bytes(2));
  if (!shape) return std::nullopt;
  DataSpec data{std::string(fields->Bytes(1)), *shape, Narrow(fields->Number(3)), fields->Number(4),
                Narrow(fields->Number(5)),     {}};
  for (const std::string_view shard : fields->AllBytes(6)) data.shards.emplace_back(shard);
  return data;
}

std::string Encode(const OptimizerSpec& optimizer) {
  FieldWriter writer;
  writer.Uint(1, static_cast<uint64_t>(optimizer.kind));
  writer.Double(2, optimizer.learning_rate);
  writer.Double(3, optimizer.momentum);
  writer.Bool(4, optimizer.nesterov);
  writer.Double(5, optimizer.weight_decay);
  writer.Double(6, optimizer.rho);
  writer.Double(7, optimizer.beta1);
  writer.Double(8, optimizer.beta2);
  writer.Double(9, optimizer.epsilon);
  return writer.Take();
}

std::optional<OptimizerSpec> DecodeOptimizer(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return std::nullopt;
  OptimizerSpec optimizer;
  optimizer.kind = static_cast<OptimizerKind>(Narrow(fields->Number(1)));
  optimizer.learning_rate = fields->Double(2);
  optimizer.momentum = fields->Double(3);
  optimizer.nesterov = fields->Bool(4);
  optimizer.weight_decay = fields->Double(5);
  optimizer.rho = fields->Double(6);
  optimizer.beta1 = fields->Double(7);
  optimizer.beta2 = fields->Double(8);
  optimizer.epsilon = fields->Double(9);
  return optimizer;
}

std::string Encode(const ScheduleSpec& schedule) {
  FieldWriter writer;
  writer.Uint(1, static_cast<uint64_t>(schedule.kind));
  writer.Double(2, schedule.warmup_share);
  writer.Double(3, schedule.final_factor);
  writer.Double(4, schedule.gamma);
  return writer.Take();
}

std::optional<ScheduleSpec> DecodeSchedule(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return std::nullopt;
  return ScheduleSpec{static_cast<ScheduleKind>(Narrow(fields->Number(1))), fields->Double(2), fields->Double(3),
                      fields->Double(4)};
}

std::string Encode(const LocalSteps& local) {
  FieldWriter writer;
  writer.Uint(1, local.replicas);
  writer.Uint(2, local.inner_steps);
  writer.Double(3, local.outer_learning_rate);
  writer.Double(4, local.outer_momentum);
  writer.Uint(5, static_cast<uint64_t>(local.upload));
  writer.Uint(6, static_cast<uint64_t>(local.broadcast));
  return writer.Take();
}

std::optional<LocalSteps> DecodeLocal(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return std::nullopt;
  return LocalSteps{Narrow(fields->Number(1)),
                    Narrow(fields->Number(2)),
                    fields->Double(3),
                    fields->Double(4),
                    static_cast<Compression>(Narrow(fields->Number(5))),
                    static_cast<Compression>(Narrow(fields->Number(6)))};
}

std::string Encode(const Epoch& epoch) {
  FieldWriter writer;
  writer.Uint(1, epoch.epoch);
  writer.Uint(2, epoch.step);
  writer.Double(3, epoch.train_loss);
  writer.Double(4, epoch.train_accuracy);
  writer.Double(5, epoch.test_loss);
  writer.Double(6, epoch.test_accuracy);
  writer.Double(7, epoch.learning_rate);
  writer.Double(8, epoch.seconds);
  return writer.Take();
}

void AppendLittleEndian(uint64_t value, std::string& out) {
  for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(value >> shift));
}

uint64_t ReadLittleEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

}  // namespace

std::string Encode(const ModelSpec& model) {
  FieldWriter writer;
  writer.Bytes(1, model.name);
  writer.Message(2, Encode(model.input));
  for (const Layer& layer : model.layers) writer.Message(3, Encode(layer));
  return writer.Take();
}

Result<ModelSpec> DecodeModelSpec(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return NotWellFormed("network", "ModelSpec");
  const auto input = DecodeShape(fields->Bytes(2));
  if (!input) return NotWellFormed("network's input", "CnnShape");
  ModelSpec model{std::string(fields->Bytes(1)), *input, {}};
  for (const std::string_view bytes_of_layer : fields->AllBytes(3)) {
    auto layer = DecodeLayer(model.layers.size(), bytes_of_layer);
    if (!layer.ok()) return layer.status();
    model.layers.push_back(*std::move(layer));
  }
  return model;
}

std::string Encode(const Spec& spec) {
  FieldWriter writer;
  writer.Message(1, Encode(spec.model));
  writer.Message(2, Encode(spec.train));
  writer.Message(3, Encode(spec.test));
  writer.Uint(4, spec.seed);
  writer.Uint(5, spec.batch);
  writer.Uint(6, spec.epochs);
  writer.Uint(7, spec.micro_shard);
  writer.Uint(8, static_cast<uint64_t>(spec.precision));
  writer.Message(9, Encode(spec.optimizer));
  writer.Message(10, Encode(spec.schedule));
  if (spec.local != LocalSteps{}) writer.Message(11, Encode(spec.local));
  writer.Uint(12, spec.max_steps);
  writer.Double(13, spec.target_accuracy);
  writer.Double(14, spec.time_limit_seconds);
  writer.Uint(15, spec.shift);
  writer.Bytes(16, spec.initial_parameters);
  writer.Bytes(17, spec.initial_state);
  writer.Bytes(18, spec.numerics_class);
  return writer.Take();
}

Result<Spec> DecodeSpec(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return NotWellFormed("specification", "CnnSpec");
  Spec spec;
  auto model = DecodeModelSpec(fields->Bytes(1));
  if (!model.ok()) return model.status();
  spec.model = *std::move(model);
  auto train = DecodeData(fields->Bytes(2)), test = DecodeData(fields->Bytes(3));
  if (!train || !test) return NotWellFormed(train ? "test set" : "training set", "CnnData");
  spec.train = *std::move(train);
  spec.test = *std::move(test);
  const auto optimizer = DecodeOptimizer(fields->Bytes(9));
  if (!optimizer) return NotWellFormed("optimizer", "CnnOptimizer");
  spec.optimizer = *optimizer;
  if (fields->HasBytes(10)) {
    const auto schedule = DecodeSchedule(fields->Bytes(10));
    if (!schedule) return NotWellFormed("schedule", "CnnSchedule");
    spec.schedule = *schedule;
  }
  if (fields->HasBytes(11)) {
    const auto local = DecodeLocal(fields->Bytes(11));
    if (!local) return NotWellFormed("description of local steps", "CnnLocalSteps");
    spec.local = *local;
  }
  spec.seed = fields->Number(4);
  spec.batch = Narrow(fields->Number(5));
  spec.epochs = Narrow(fields->Number(6));
  spec.micro_shard = Narrow(fields->Number(7));
  spec.precision = static_cast<Precision>(Narrow(fields->Number(8)));
  spec.max_steps = fields->Number(12);
  spec.target_accuracy = fields->Double(13);
  spec.time_limit_seconds = fields->Double(14);
  spec.shift = Narrow(fields->Number(15));
  spec.initial_parameters = fields->Bytes(16);
  spec.initial_state = fields->Bytes(17);
  spec.numerics_class = fields->Bytes(18);
  Status status = CheckSpec(spec);
  if (!status.ok()) return status;
  return spec;
}

std::string Encode(const RoundPayload& round) {
  FieldWriter writer;
  writer.Bytes(1, round.spec);
  writer.Uint(2, static_cast<uint64_t>(round.kind));
  writer.Uint(3, round.position);
  writer.Uint(4, round.samples);
  writer.Uint(5, round.step);
  writer.Double(6, round.learning_rate);
  writer.Bool(7, round.has_update);
  writer.Doubles(8, round.learning_rates);
  return writer.Take();
}

Result<RoundPayload> DecodeRound(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return NotWellFormed("round", "CnnRound");
  auto rates = fields->Doubles(8);
  if (!rates) return NotWellFormed("round", "CnnRound");
  const uint64_t kind = fields->Number(2);
  if (kind < 1 || kind > 3) {
    return Status::Error("The round's kind is " + std::to_string(kind) +
                         "; allowed: 1 (GRADIENT), 2 (LOCAL) and 3 (EVALUATION).");
  }
  RoundPayload round{std::string(fields->Bytes(1)),
                     static_cast<RoundKind>(kind),
                     fields->Number(3),
                     fields->Number(4),
                     fields->Number(5),
                     fields->Double(6),
                     fields->Bool(7),
                     *std::move(rates)};
  for (const double rate : round.learning_rates) {
    if (!std::isfinite(rate) || rate < 0)
      return Status::Error("A learning rate of the round is negative or not finite.");
  }
  if (!std::isfinite(round.learning_rate) || round.learning_rate < 0) {
    return Status::Error("The round's learning rate is negative or not finite.");
  }
  return round;
}

std::string Encode(const Summary& summary) {
  FieldWriter writer;
  writer.Uint(1, summary.epoch);
  writer.Uint(2, summary.step);
  writer.Uint(3, summary.total_steps);
  writer.Uint(4, summary.samples_seen);
  writer.Uint(5, summary.total_samples);
  writer.Double(6, summary.loss);
  writer.Double(7, summary.accuracy);
  writer.Double(8, summary.learning_rate);
  writer.Bool(9, summary.is_evaluating);
  for (const Epoch& epoch : summary.epochs) writer.Message(10, Encode(epoch));
  writer.Bytes(11, summary.stopped_by);
  return writer.Take();
}

Result<Summary> DecodeSummary(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return NotWellFormed("summary", "CnnSummary");
  Summary summary{Narrow(fields->Number(1)),
                  fields->Number(2),
                  fields->Number(3),
                  fields->Number(4),
                  fields->Number(5),
                  fields->Double(6),
                  fields->Double(7),
                  fields->Double(8),
                  fields->Bool(9),
                  {},
                  std::string(fields->Bytes(11))};
  for (const std::string_view bytes_of_epoch : fields->AllBytes(10)) {
    const auto epoch = FieldReader::Parse(bytes_of_epoch);
    if (!epoch) return NotWellFormed("summary", "CnnSummary");
    summary.epochs.push_back({Narrow(epoch->Number(1)), epoch->Number(2), epoch->Double(3), epoch->Double(4),
                              epoch->Double(5), epoch->Double(6), epoch->Double(7), epoch->Double(8)});
  }
  return summary;
}

void AppendTally(const Tally& tally, std::string& result) {
  AppendLittleEndian(std::bit_cast<uint64_t>(tally.loss_sum), result);
  AppendLittleEndian(tally.samples, result);
  AppendLittleEndian(tally.hits, result);
  AppendLittleEndian(tally.steps, result);
}

Tally ReadTally(std::string_view result) {
  const std::string_view tail = result.substr(result.size() - kTallyBytes);
  return {std::bit_cast<double>(ReadLittleEndian(tail)), ReadLittleEndian(tail.substr(8)),
          ReadLittleEndian(tail.substr(16)), ReadLittleEndian(tail.substr(24))};
}

}  // namespace potluck::cnn
