#include "cli/train_result.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cli/output.h"
#include "kernels/cnn/model.h"

namespace potluck {
namespace {

using Json = nlohmann::ordered_json;

Json EpochJson(const cnn::Epoch& epoch) {
  return {{"epoch", epoch.epoch},
          {"step", epoch.step},
          {"train_loss", epoch.train_loss},
          {"train_accuracy", epoch.train_accuracy},
          {"test_loss", epoch.test_loss},
          {"test_accuracy", epoch.test_accuracy},
          {"learning_rate", epoch.learning_rate},
          {"seconds", epoch.seconds}};
}

// Not like Percent: 99.07 % and 99.12 % are different results.
std::string AccuracyText(double accuracy) { return absl::StrFormat("%.2f %%", accuracy * 100); }

std::string StoppedBy(const std::string& reason) {
  if (reason == "max-steps") return ", stopped at --max-steps";
  if (reason == "target-accuracy") return ", stopped at --target-accuracy";
  if (reason == "time-limit") return ", stopped at --time-limit";
  return "";
}

std::string Bytes(uint64_t bytes) { return absl::StrCat(Metric(static_cast<double>(bytes)), "B"); }

}  // namespace

double TrainResult::images_per_second() const {
  if (!(seconds > 0)) return 0;
  if (spec.initial_state.empty()) return static_cast<double>(summary.samples_seen) / seconds;
  // Of what was seen, jobs before this one did a part: its own is what its workers did (evaluations are a small share).
  double images = 0;
  for (const Contributor& worker : workers) images += worker.cost;
  return images / seconds;
}

uint64_t TrainResult::bytes_sent() const {
  uint64_t bytes = 0;
  for (const Contributor& worker : workers) bytes += worker.bytes_sent;
  return bytes;
}

uint64_t TrainResult::bytes_received() const {
  uint64_t bytes = 0;
  for (const Contributor& worker : workers) bytes += worker.bytes_received;
  return bytes;
}

std::string MethodText(const cnn::Spec& spec) {
  const cnn::LocalSteps& local = spec.local;
  if (local.replicas == 0) return absl::StrCat("synchronous, batch ", spec.batch);
  return absl::StrCat(local.replicas, local.replicas == 1 ? " replica" : " replicas", " of ", local.inner_steps,
                      " local steps, batch ", spec.batch, ", ", std::string(cnn::ToString(local.upload)), " up, ",
                      std::string(cnn::ToString(local.broadcast)), " down");
}

absl::StatusOr<TrainResult> ReadTrainResult(const v1::JobStatus& status, int64_t now_unix_ms) {
  if (status.workload() != "cnn") {
    return absl::InvalidArgumentError(
        absl::StrCat("job ", status.job(), " is of workload \"", status.workload(), "\", not cnn"));
  }
  TrainResult result;
  const Result<cnn::Spec> spec = cnn::DecodeSpec(status.spec());
  if (!spec.ok()) return absl::InvalidArgumentError(spec.status().message());
  const Result<cnn::Summary> summary = cnn::DecodeSummary(status.summary());
  if (!summary.ok()) return absl::InvalidArgumentError(summary.status().message());
  const Result<cnn::Model> model = cnn::MakeModel(spec->model);
  if (!model.ok()) return absl::InvalidArgumentError(model.status().message());
  const int64_t end = status.ended_unix_ms() != 0 ? status.ended_unix_ms() : now_unix_ms;
  result.job = status.job();
  result.spec = *spec;
  result.parameters = model->parameter_count;
  result.summary = *summary;
  result.seconds = static_cast<double>(std::max<int64_t>(0, end - status.submitted_unix_ms())) / 1000;
  result.workers = Contributors(status);
  result.message = status.message();
  return result;
}

std::string ResultText(const TrainResult& result, bool complete) {
  const cnn::Summary& summary = result.summary;
  std::vector<std::vector<std::string>> rows;
  if (const cnn::Epoch* last = result.last(); last != nullptr) {
    rows.push_back(
        {"test accuracy", absl::StrCat(AccuracyText(last->test_accuracy),
                                       absl::StrFormat(" (loss %.4f) of %s images", last->test_loss,
                                                       WithSeparators(absl::StrCat(result.spec.test.samples))))});
    rows.push_back({"training", absl::StrCat(AccuracyText(last->train_accuracy),
                                             absl::StrFormat(" (loss %.4f) in the last epoch", last->train_loss))});
  }
  rows.push_back({"method", MethodText(result.spec)});
  rows.push_back({"done", absl::StrCat(WithSeparators(absl::StrCat(summary.step)), " steps, ",
                                       WithSeparators(absl::StrCat(summary.samples_seen)), " images, ",
                                       summary.epochs.empty() ? 0 : summary.epochs.back().epoch, " of ",
                                       result.spec.epochs, " epochs", StoppedBy(summary.stopped_by))});
  rows.push_back({"time", absl::StrCat(TimeText(absl::Seconds(result.seconds)), ", ",
                                       absl::StrFormat("%.0f images/s", result.images_per_second()))});
  std::string text = absl::StrCat(Printable(result.spec.model.name.empty() ? "network" : result.spec.model.name), ", ",
                                  WithSeparators(absl::StrCat(result.parameters)), " parameters",
                                  complete ? "" : ", so far", "\n", Table(rows));
  std::vector<std::vector<std::string>> workers = {{"worker", "share", "slices", "busy", "sent", "received"}};
  for (const Contributor& worker : result.workers) {
    workers.push_back({Printable(worker.worker), Percent(worker.share), absl::StrCat(worker.slices),
                       TimeText(absl::Seconds(worker.busy_seconds)), Bytes(worker.bytes_sent),
                       Bytes(worker.bytes_received)});
  }
  if (workers.size() > 1) absl::StrAppend(&text, "\n", Table(workers, {1, 2, 3, 4, 5}));
  return text;
}

Json ResultJson(const TrainResult& result) {
  const cnn::Summary& summary = result.summary;
  const cnn::Epoch* last = result.last();
  Json json;
  json["model"] = Printable(result.spec.model.name);
  json["parameters"] = result.parameters;
  json["method"] = MethodText(result.spec);
  json["test_accuracy"] = last == nullptr ? Json() : Json(last->test_accuracy);
  json["test_loss"] = last == nullptr ? Json() : Json(last->test_loss);
  json["train_accuracy"] = last == nullptr ? Json() : Json(last->train_accuracy);
  json["train_loss"] = last == nullptr ? Json() : Json(last->train_loss);
  json["epochs"] = summary.epochs.empty() ? 0 : summary.epochs.back().epoch;
  json["steps"] = summary.step;
  json["images"] = summary.samples_seen;
  json["stopped_by"] = summary.stopped_by;
  json["seconds"] = result.seconds;
  json["images_per_second"] = result.images_per_second();
  json["bytes_sent"] = result.bytes_sent();
  json["bytes_received"] = result.bytes_received();
  json["workers"] = result.workers.size();
  json["job"] = result.job;
  json["message"] = result.message;
  json["history"] = Json::array();
  for (const cnn::Epoch& epoch : summary.epochs) json["history"].push_back(EpochJson(epoch));
  json["contributions"] = Json::array();
  for (const Contributor& worker : result.workers) {
    Json entry;
    entry["worker"] = Printable(worker.worker);
    entry["slices"] = worker.slices;
    entry["images"] = worker.cost;
    entry["percent"] = worker.share * 100;
    entry["busy_seconds"] = worker.busy_seconds;
    entry["bytes_sent"] = worker.bytes_sent;
    entry["bytes_received"] = worker.bytes_received;
    entry["numerics_class"] = Printable(worker.devices);
    json["contributions"].push_back(std::move(entry));
  }
  return json;
}

std::string MetricsJsonLines(const TrainResult& result) {
  std::string lines;
  for (const cnn::Epoch& epoch : result.summary.epochs) absl::StrAppend(&lines, EpochJson(epoch).dump(), "\n");
  return lines;
}

std::string MetricsCsv(const TrainResult& result) {
  std::string csv = "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,learning_rate,seconds\n";
  for (const cnn::Epoch& epoch : result.summary.epochs) {
    const Json json = EpochJson(epoch);  // Numbers as there: shortest text that reads back the same.
    std::string separator;
    for (const auto& [name, value] : json.items()) {
      absl::StrAppend(&csv, separator, value.dump());
      separator = ",";
    }
    csv += '\n';
  }
  return csv;
}

}  // namespace potluck
