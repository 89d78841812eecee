#include "cli/train_files.h"

#include <filesystem>
#include <fstream>
#include <memory>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "cli/model_file.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "cli/train_flags.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/state.h"
#include "proto/versions.h"

namespace potluck {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

absl::Status WriteFile(const std::string& path, absl::string_view bytes) {
  absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create(path);
  if (!file.ok()) return file.status();
  if (absl::Status written = (*file)->Write(bytes); !written.ok()) return written;
  return (*file)->Finish();
}

// Hexadecimal.
absl::StatusOr<std::string> FileDigest(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  Sha256Stream stream;
  std::string buffer(size_t{1} << 20, '\0');
  while (file.read(buffer.data(), static_cast<std::streamsize>(buffer.size())) || file.gcount() > 0) {
    stream.Add(absl::string_view(buffer).substr(0, static_cast<size_t>(file.gcount())));
  }
  if (!file.eof()) return absl::InternalError(absl::StrCat(path, " cannot be read back"));
  return HexDigest(stream.Digest());
}

// Names a data set by its content: the SHA-256 of its shards' digests.
Json DataJson(const cnn::DataSpec& data) {
  Sha256Stream stream;
  for (const std::string& shard : data.shards) stream.Add(shard);
  return {{"name", Printable(data.name)},
          {"samples", data.samples},
          {"channels", data.shape.channels},
          {"height", data.shape.height},
          {"width", data.shape.width},
          {"classes", data.classes},
          {"samples_a_shard", data.samples_a_shard},
          {"shards", data.shards.size()},
          {"sha256_of_shard_digests", HexDigest(stream.Digest())}};
}

const char* PrecisionName(cnn::Precision precision) {
  return precision == cnn::Precision::kBf16 ? "bf16" : precision == cnn::Precision::kFp16 ? "fp16" : "fp32";
}

Json OptimizerJson(const cnn::OptimizerSpec& optimizer) {
  Json json = {{"name", cnn::ToString(optimizer.kind)}, {"learning_rate", optimizer.learning_rate}};
  switch (optimizer.kind) {
    case cnn::OptimizerKind::kSgd:
      json["momentum"] = optimizer.momentum;
      json["nesterov"] = optimizer.nesterov;
      json["weight_decay"] = optimizer.weight_decay;
      break;
    case cnn::OptimizerKind::kAdadelta:
      json["rho"] = optimizer.rho;
      json["epsilon"] = optimizer.epsilon;
      break;
    case cnn::OptimizerKind::kAdamW:
      json["beta1"] = optimizer.beta1;
      json["beta2"] = optimizer.beta2;
      json["epsilon"] = optimizer.epsilon;
      json["weight_decay"] = optimizer.weight_decay;
      break;
  }
  return json;
}

const char* ScheduleName(cnn::ScheduleKind kind) {
  return kind == cnn::ScheduleKind::kCosine        ? "cosine"
         : kind == cnn::ScheduleKind::kExponential ? "exponential"
                                                   : "constant";
}

Json SpecJson(const cnn::Spec& spec) {
  Json json;
  json["model"] = ModelSpecText(spec.model);
  json["seed"] = spec.seed;
  json["epochs"] = spec.epochs;
  json["batch"] = spec.batch;
  json["micro_shard"] = spec.micro_shard;
  json["precision"] = PrecisionName(spec.precision);
  json["optimizer"] = OptimizerJson(spec.optimizer);
  json["schedule"] = {{"name", ScheduleName(spec.schedule.kind)},
                      {"warmup", spec.schedule.warmup_share},
                      {"final_factor", spec.schedule.final_factor},
                      {"gamma", spec.schedule.gamma}};
  json["shift"] = spec.shift;
  json["local_steps"] = nullptr;
  if (const cnn::LocalSteps& local = spec.local; local.replicas > 0) {
    json["local_steps"] = {{"replicas", local.replicas},
                           {"inner_steps", local.inner_steps},
                           {"outer_learning_rate", local.outer_learning_rate},
                           {"outer_momentum", local.outer_momentum},
                           {"compress", cnn::ToString(local.upload)},
                           {"broadcast", cnn::ToString(local.broadcast)}};
  }
  json["max_steps"] = spec.max_steps;
  json["target_accuracy"] = spec.target_accuracy;
  json["time_limit_seconds"] = spec.time_limit_seconds;
  json["numerics_class"] = spec.numerics_class;
  json["initial_parameters"] = HexDigest(spec.initial_parameters);
  json["initial_state"] = HexDigest(spec.initial_state);
  return json;
}

}  // namespace

absl::StatusOr<TrainFolder> TrainFolder::Open(const std::string& path) {
  std::error_code error;
  fs::create_directories(path, error);
  if (error || !fs::is_directory(path, error)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--out is \"", path, "\", where no folder can be made", error ? absl::StrCat(": ", error.message()) : "",
        "; allowed is a folder that can be written, or one that does not exist yet"));
  }
  return TrainFolder(path);
}

std::string TrainFolder::Path(absl::string_view name) const { return (fs::path(path_) / std::string(name)).string(); }

bool TrainFolder::HasState() const {
  std::error_code error;
  return fs::exists(fs::path(state_directory()) / "potluck.db", error);
}

TrainFolder::Unfinished TrainFolder::ReadUnfinished() const {
  Unfinished run;
  std::ifstream(fs::path(state_directory()) / "job") >> run.job >> run.parameter_bytes;
  return run;
}

void TrainFolder::NoteUnfinished(const Unfinished& run) const {
  std::ofstream(fs::path(state_directory()) / "job") << run.job << "\n" << run.parameter_bytes << "\n";
}

bool TrainFolder::HasResult() const {
  std::error_code error;
  return fs::exists(Path("run.json"), error) || fs::exists(Path("model.safetensors"), error);
}

absl::Status TrainFolder::RemoveState() const {
  std::error_code error;
  if (!HasState()) return absl::OkStatus();
  fs::remove_all(state_directory(), error);
  if (!error) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(state_directory(), " cannot be removed: ", error.message()));
}

Json RunRecord(const TrainResult& result, const Args& command, const std::string& model_sha256, int64_t started_unix_ms,
               int64_t ended_unix_ms) {
  Json json;
  json["potluck"] = kVersion;
  json["command"] = Json::array({"potluck", "train"});
  for (const std::string& argument : command) {
    json["command"].push_back(absl::StrContains(argument, "potluck://") ? "potluck://..." : Printable(argument));
  }
  json["started"] = DateText(started_unix_ms);
  json["ended"] = DateText(ended_unix_ms);
  json["train_data"] = DataJson(result.spec.train);
  json["test_data"] = DataJson(result.spec.test);
  json["specification"] = SpecJson(result.spec);
  std::set<std::string> classes;
  for (const Contributor& worker : result.workers) {
    if (!worker.devices.empty()) classes.insert(Printable(worker.devices));
  }
  json["numerics_classes"] = classes;
  json["model_sha256"] = model_sha256;
  json["result"] = ResultJson(result);
  return json;
}

absl::StatusOr<TrainFolder::Written> TrainFolder::Write(const TrainResult& result, absl::string_view saved_state,
                                                        const Args& command, int64_t started_unix_ms,
                                                        int64_t ended_unix_ms) const {
  const Result<cnn::Model> model = cnn::MakeModel(result.spec.model);
  if (!model.ok()) return absl::InternalError(model.status().message());
  const Result<cnn::State> state =
      cnn::DecodeState(result.spec, *model, std::string_view(saved_state.data(), saved_state.size()));
  if (!state.ok()) return absl::DataLossError(state.status().message());
  Written written;
  written.files = {Path("model.safetensors"), Path("metrics.jsonl"), Path("metrics.csv"), Path("run.json")};
  if (absl::Status status = WriteSafetensors(*model, state->parameters, written.files[0]); !status.ok()) return status;
  const absl::StatusOr<std::string> digest = FileDigest(written.files[0]);
  if (!digest.ok()) return digest.status();
  written.model_sha256 = *digest;
  const std::string record =
      RunRecord(result, command, written.model_sha256, started_unix_ms, ended_unix_ms).dump(2) + "\n";
  const std::string texts[] = {MetricsJsonLines(result), MetricsCsv(result), record};
  for (size_t i = 0; i < 3; ++i) {
    if (absl::Status status = WriteFile(written.files[1 + i], texts[i]); !status.ok()) return status;
  }
  // Last: its format has a limit that others have not.
  const std::string onnx = Path("model.onnx");
  if (absl::Status status = WriteOnnx(*model, state->parameters, onnx); status.ok()) {
    written.files.push_back(onnx);
  } else {
    written.note = std::string(status.message());
  }
  return written;
}

}  // namespace potluck
