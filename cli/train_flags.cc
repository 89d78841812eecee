#include "cli/train_flags.h"

#include <google/protobuf/io/tokenizer.h>
#include <google/protobuf/text_format.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <limits>
#include <sstream>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "proto/cnn.pb.h"

namespace potluck {
namespace {

constexpr size_t kMostSpecBytes = size_t{1} << 20;
constexpr int kMost = std::numeric_limits<int>::max();

// Remembers the first thing that the parser had to say.
class FirstError final : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column, const std::string& message) override {
    if (!message_.empty()) return;
    message_ = absl::StrCat("line ", line + 1, ", column ", column + 1, ": ", message);
  }
  void AddWarning(int, google::protobuf::io::ColumnNumber, const std::string&) override {}
  const std::string& message() const { return message_; }

 private:
  std::string message_;
};

absl::StatusOr<std::string> ReadSpecFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::InvalidArgumentError(
        absl::StrCat("SPEC is \"", path, "\", which is no file that can be read; allowed is a preset (",
                     absl::StrJoin(PresetNames(), ", "), ") or a file with a ModelSpec as text (docs/training.md)"));
  }
  std::string text;
  char buffer[1 << 16];
  while (file.read(buffer, sizeof buffer) || file.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(file.gcount()));
    if (text.size() > kMostSpecBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, " is longer than ", kMostSpecBytes, " bytes; a ModelSpec is a page of text"));
    }
  }
  return text;
}

cnn::Compression CompressionNamed(const std::string& name) {
  for (const cnn::Compression each :
       {cnn::Compression::kHalf, cnn::Compression::kInt8, cnn::Compression::kInt4, cnn::Compression::kTernary}) {
    if (name == cnn::ToString(each)) return each;
  }
  return cnn::Compression::kNone;
}

std::vector<std::string> CompressionNames() { return {"none", "fp16", "int8", "int4", "ternary"}; }

cnn::OptimizerSpec OptimizerOf(const TrainFlags& flags) {
  cnn::OptimizerSpec optimizer;
  const std::string name = !flags.optimizer.empty() ? flags.optimizer : flags.local() ? "sgd" : "adadelta";
  if (name == "sgd") {
    optimizer.kind = cnn::OptimizerKind::kSgd;
    // The outer momentum multiplies what replicas agree on: with 0.1 the paper's network diverges (docs/results.md).
    optimizer.learning_rate = flags.local() ? 0.02 : 0.05;
    optimizer.momentum = 0.9;
  } else if (name == "adamw") {
    optimizer.kind = cnn::OptimizerKind::kAdamW;
    optimizer.learning_rate = 0.001;
    optimizer.weight_decay = 0.01;
    optimizer.epsilon = 1e-8;
  }
  optimizer.learning_rate = flags.learning_rate.value_or(optimizer.learning_rate);
  optimizer.momentum = flags.momentum.value_or(optimizer.momentum);
  optimizer.weight_decay = flags.weight_decay.value_or(optimizer.weight_decay);
  optimizer.rho = flags.rho.value_or(optimizer.rho);
  optimizer.beta1 = flags.beta1.value_or(optimizer.beta1);
  optimizer.beta2 = flags.beta2.value_or(optimizer.beta2);
  optimizer.epsilon = flags.epsilon.value_or(optimizer.epsilon);
  optimizer.nesterov = flags.nesterov;
  return optimizer;
}

cnn::ScheduleSpec ScheduleOf(const TrainFlags& flags) {
  cnn::ScheduleSpec schedule;
  const std::string name = !flags.schedule.empty() ? flags.schedule : flags.local() ? "cosine" : "constant";
  if (name == "cosine") schedule.kind = cnn::ScheduleKind::kCosine;
  if (name == "exponential") {
    schedule.kind = cnn::ScheduleKind::kExponential;
    schedule.gamma = 0.9;
  }
  if (name == "cosine") schedule.warmup_share = 0.05;
  schedule.warmup_share = flags.warmup.value_or(schedule.warmup_share);
  schedule.final_factor = flags.final_factor.value_or(schedule.final_factor);
  schedule.gamma = flags.gamma.value_or(schedule.gamma);
  return schedule;
}

}  // namespace

void TrainFlags::Declare(Arguments& arguments) {
  arguments.Flag("--epochs", "N", WholeNumber(&epochs, 0, 100000), "passes over the training set", "12");
  arguments.Flag("--batch", "B", WholeNumber(&batch, 1, 65536), "samples of an optimizer step",
                 "128; 32 with --local-steps");
  arguments.Flag("--seed", "S", WholeNumber(&seed, 0, kMost), "all random numbers follow from it", "1");
  arguments.Flag("--precision", "P", OneOf(&precision, {"fp32", "bf16"}), "of the layers' arithmetic", "fp32");
  arguments.Flag("--optimizer", "O", OneOf(&optimizer, {"adadelta", "sgd", "adamw"}), "how parameters are changed",
                 "adadelta; sgd with --local-steps");
  arguments.Flag("--lr", "X", RealNumber(&learning_rate, 0, 1000), "learning rate",
                 "adadelta 1, sgd 0.05 (0.02 with --local-steps), adamw 0.001");
  arguments.Flag("--momentum", "X", RealNumber(&momentum, 0, 0.9999), "of sgd", "0.9");
  arguments.Switch("--nesterov", &nesterov, "Nesterov's momentum for sgd");
  arguments.Flag("--weight-decay", "X", RealNumber(&weight_decay, 0, 10), "of sgd and adamw", "0; adamw 0.01");
  arguments.Flag("--rho", "X", RealNumber(&rho, 0, 0.999999), "of adadelta", "0.95");
  arguments.Flag("--beta1", "X", RealNumber(&beta1, 0, 0.999999), "of adamw", "0.9");
  arguments.Flag("--beta2", "X", RealNumber(&beta2, 0, 0.999999), "of adamw", "0.999");
  arguments.Flag("--epsilon", "X", RealNumber(&epsilon, 1e-30, 1), "of adadelta and adamw", "1e-7; adamw 1e-8");
  arguments.Flag("--schedule", "S", OneOf(&schedule, {"constant", "cosine", "exponential"}),
                 "how the learning rate changes", "constant; cosine with --local-steps");
  arguments.Flag("--warmup", "SHARE", RealNumber(&warmup, 0, 1), "share of all steps in which it rises from 0",
                 "0; 0.05 with cosine");
  arguments.Flag("--final-factor", "X", RealNumber(&final_factor, 0, 1), "of the learning rate, where cosine ends",
                 "0");
  arguments.Flag("--gamma", "X", RealNumber(&gamma, 0, 1), "factor an epoch of the exponential schedule", "0.9");
  arguments.Flag("--shift", "PIXELS", WholeNumber(&shift, 0, 8), "images are shifted by up to so much each way", "0");
  arguments.Switch("--sync", &sync, "synchronous steps: the same mathematics as one big machine (this is the default)");
  arguments.Flag("--local-steps", "H", WholeNumber(&local_steps, 1, 100000),
                 "replicas go H steps by themselves between two exchanges", "synchronous");
  arguments.Flag("--replicas", "R", WholeNumber(&replicas, 1, 4096), "of the model, with --local-steps", "8");
  arguments.Flag("--compress", "C", OneOf(&compress, CompressionNames()), "what replicas send, with --local-steps",
                 "none");
  arguments.Flag("--broadcast", "C", OneOf(&broadcast, CompressionNames()), "what they get, with --local-steps",
                 "none; int4 with --compress int4 or ternary, else as --compress");
  arguments.Flag("--outer-lr", "X", RealNumber(&outer_learning_rate, 0, 100), "of the outer step, with --local-steps",
                 "0.7");
  arguments.Flag("--outer-momentum", "X", RealNumber(&outer_momentum, 0, 0.9999), "of the outer step", "0.9");
  arguments.Flag("--micro-shard", "N", WholeNumber(&micro_shard, 1, 4096),
                 "samples whose gradient one thread computes alone", "64");
  arguments.Flag("--max-steps", "N", WholeNumber(&max_steps, 1, kMost),
                 "stop after so many optimizer steps (of one replica)", "none");
  arguments.Flag("--target-accuracy", "X", RealNumber(&target_accuracy, 0, 1), "stop once the test accuracy is so high",
                 "none");
  arguments.Flag("--time-limit", "TIME", TimeSpan(&time_limit), "stop after so long", "none");
  arguments.Flag("--numerics", "CLASS", Text(&numerics), "only devices of this numerics class may compute",
                 "any; equal bits are promised within one class");
}

absl::Status TrainFlags::Check() const {
  const auto contradict = [](absl::string_view flag, absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat(flag, " is given ", why));
  };
  if (sync && local()) return contradict("--sync", "together with --local-steps or --replicas; allowed is either");
  const std::string name = !optimizer.empty() ? optimizer : local() ? "sgd" : "adadelta";
  const std::tuple<bool, const char*, bool> of_optimizers[] = {
      {momentum.has_value(), "--momentum", name == "sgd"},
      {nesterov, "--nesterov", name == "sgd"},
      {weight_decay.has_value(), "--weight-decay", name != "adadelta"},
      {rho.has_value(), "--rho", name == "adadelta"},
      {beta1.has_value(), "--beta1", name == "adamw"},
      {beta2.has_value(), "--beta2", name == "adamw"},
      {epsilon.has_value(), "--epsilon", name != "sgd"}};
  for (const auto& [given, flag, allowed] : of_optimizers) {
    if (given && !allowed) return contradict(flag, absl::StrCat("with the optimizer ", name, ", which has none"));
  }
  const std::string course = !schedule.empty() ? schedule : local() ? "cosine" : "constant";
  if (gamma && course != "exponential") return contradict("--gamma", "without --schedule exponential, which it is of");
  if (final_factor && course != "cosine")
    return contradict("--final-factor", "without --schedule cosine, which it is of");
  if (!local_steps) {
    const char* flag = replicas              ? "--replicas"
                       : !compress.empty()   ? "--compress"
                       : !broadcast.empty()  ? "--broadcast"
                       : outer_learning_rate ? "--outer-lr"
                       : outer_momentum      ? "--outer-momentum"
                                             : nullptr;
    if (flag != nullptr) return contradict(flag, "without --local-steps H; allowed is it only together with that");
  }
  return absl::OkStatus();
}

std::string TrainFlags::FixedFlag() const {
  const std::pair<bool, const char*> given[] = {{batch.has_value(), "--batch"},
                                                {micro_shard.has_value(), "--micro-shard"},
                                                {shift.has_value(), "--shift"},
                                                {seed.has_value(), "--seed"},
                                                {precision != "fp32", "--precision"},
                                                {!optimizer.empty(), "--optimizer"},
                                                {learning_rate.has_value(), "--lr"},
                                                {momentum.has_value(), "--momentum"},
                                                {nesterov, "--nesterov"},
                                                {weight_decay.has_value(), "--weight-decay"},
                                                {rho.has_value(), "--rho"},
                                                {beta1.has_value(), "--beta1"},
                                                {beta2.has_value(), "--beta2"},
                                                {epsilon.has_value(), "--epsilon"},
                                                {!schedule.empty(), "--schedule"},
                                                {warmup.has_value(), "--warmup"},
                                                {final_factor.has_value(), "--final-factor"},
                                                {gamma.has_value(), "--gamma"},
                                                {sync, "--sync"},
                                                {local_steps.has_value(), "--local-steps"},
                                                {replicas.has_value(), "--replicas"},
                                                {!compress.empty(), "--compress"},
                                                {!broadcast.empty(), "--broadcast"},
                                                {outer_learning_rate.has_value(), "--outer-lr"},
                                                {outer_momentum.has_value(), "--outer-momentum"},
                                                {!numerics.empty(), "--numerics"},
                                                {model != "mnist-cnn", "SPEC"}};
  for (const auto& [is_given, flag] : given) {
    if (is_given) return flag;
  }
  return "";
}

std::vector<std::string> PresetNames() { return {"mnist-cnn"}; }

absl::StatusOr<cnn::ModelSpec> LoadModelSpec(const std::string& preset_or_file) {
  if (preset_or_file == "mnist-cnn") return cnn::MnistCnn();
  const absl::StatusOr<std::string> text = ReadSpecFile(preset_or_file);
  if (!text.ok()) return text.status();
  v1::ModelSpec message;
  google::protobuf::TextFormat::Parser parser;
  FirstError error;
  parser.RecordErrorsTo(&error);
  if (!parser.ParseFromString(*text, &message)) {
    return absl::InvalidArgumentError(absl::StrCat(preset_or_file, " is not a ModelSpec: ", error.message()));
  }
  const Result<cnn::ModelSpec> spec = cnn::DecodeModelSpec(message.SerializeAsString());
  if (!spec.ok()) return absl::InvalidArgumentError(absl::StrCat(preset_or_file, ": ", spec.status().message()));
  const Result<cnn::Model> model = cnn::MakeModel(*spec);
  if (!model.ok()) return absl::InvalidArgumentError(absl::StrCat(preset_or_file, ": ", model.status().message()));
  return *spec;
}

std::string ModelSpecText(const cnn::ModelSpec& model) {
  v1::ModelSpec message;
  std::string text;
  if (message.ParseFromString(cnn::Encode(model))) google::protobuf::TextFormat::PrintToString(message, &text);
  return text;
}

absl::StatusOr<cnn::Spec> MakeSpec(const TrainFlags& flags) {
  const absl::StatusOr<cnn::ModelSpec> model = LoadModelSpec(flags.model);
  if (!model.ok()) return model.status();
  cnn::Spec spec;
  spec.model = *model;
  spec.seed = static_cast<uint64_t>(flags.seed.value_or(1));
  spec.batch = static_cast<uint32_t>(flags.batch.value_or(flags.local() ? 32 : 128));
  spec.micro_shard = static_cast<uint32_t>(flags.micro_shard.value_or(64));
  spec.precision = flags.precision == "bf16" ? cnn::Precision::kBf16 : cnn::Precision::kFp32;
  spec.optimizer = OptimizerOf(flags);
  spec.schedule = ScheduleOf(flags);
  spec.shift = static_cast<uint32_t>(flags.shift.value_or(0));
  spec.numerics_class = flags.numerics;
  if (flags.local()) {
    spec.local.replicas = static_cast<uint32_t>(flags.replicas.value_or(8));
    spec.local.inner_steps = static_cast<uint32_t>(*flags.local_steps);
    spec.local.outer_learning_rate = flags.outer_learning_rate.value_or(0.7);
    spec.local.outer_momentum = flags.outer_momentum.value_or(0.9);
    spec.local.upload = CompressionNamed(flags.compress);
    const bool is_coarse =
        spec.local.upload == cnn::Compression::kInt4 || spec.local.upload == cnn::Compression::kTernary;
    spec.local.broadcast = !flags.broadcast.empty() ? CompressionNamed(flags.broadcast)
                           : is_coarse              ? cnn::Compression::kInt4
                                                    : spec.local.upload;
  }
  spec.epochs = 12;
  ChangeLimits(flags, spec);
  return spec;
}

void ChangeLimits(const TrainFlags& flags, cnn::Spec& spec) {
  if (flags.epochs) spec.epochs = static_cast<uint32_t>(*flags.epochs);
  if (flags.max_steps) spec.max_steps = static_cast<uint64_t>(*flags.max_steps);
  if (flags.target_accuracy) spec.target_accuracy = *flags.target_accuracy;
  if (flags.time_limit) spec.time_limit_seconds = absl::ToDoubleSeconds(*flags.time_limit);
}

TrainFlags OtherMethod(const TrainFlags& flags) {
  TrainFlags other;
  other.model = flags.model;
  other.epochs = flags.epochs;
  other.seed = flags.seed;
  other.shift = flags.shift;
  other.micro_shard = flags.micro_shard;
  other.precision = flags.precision;
  other.numerics = flags.numerics;
  other.max_steps = flags.max_steps;
  other.target_accuracy = flags.target_accuracy;
  other.time_limit = flags.time_limit;
  if (!flags.local()) {
    other.local_steps = 16;
    other.compress = "int4";
  }
  return other;
}

}  // namespace potluck
