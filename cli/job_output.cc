#include "cli/job_output.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/nqueens_result.h"
#include "cli/output.h"
#include "cli/train_result.h"

namespace potluck {
namespace {

using Json = nlohmann::ordered_json;
using Rows = std::vector<std::vector<std::string>>;

double Fraction(const v1::JobStatus& status) {
  if (status.state() == v1::JobStatus::DONE) return 1;
  if (const auto training = ReadTrainResult(status, 0); training.ok()) {  // Of many rounds.
    const cnn::Summary& summary = training->summary;
    const uint64_t total = std::max<uint64_t>(1, summary.total_samples);
    return static_cast<double>(summary.samples_seen) / static_cast<double>(total);
  }
  return status.cost() > 0 ? status.committed_cost() / status.cost() : 0;
}

std::string DeviceText(const v1::WorkerStatus& worker) {
  return absl::StrJoin(worker.devices(), ", ", [](std::string* out, const v1::DeviceStatus& device) {
    absl::StrAppend(out, Printable(device.kind()));
    if (device.threads() > 0) absl::StrAppend(out, " x ", device.threads());
    if (!device.name().empty()) absl::StrAppend(out, " (", Printable(device.name()), ")");
  });
}

std::string WorkerState(const v1::WorkerStatus& worker) {
  if (!worker.quarantined().empty()) return "quarantined";
  return !worker.connected() ? "away" : worker.draining() ? "draining" : "here";
}

std::string TokenState(const v1::TokenStatus& token, int64_t now_unix_ms) {
  if (token.revoked()) return "revoked";
  return token.expires_unix_ms() != 0 && token.expires_unix_ms() <= now_unix_ms ? "expired" : "valid";
}

}  // namespace

std::string StateName(v1::JobStatus::State state) { return absl::AsciiStrToLower(v1::JobStatus::State_Name(state)); }

std::string JobsText(const v1::ListReply& reply) {
  if (reply.jobs().empty()) return "no jobs\n";
  Rows rows = {{"job", "name", "workload", "state", "done", "workers", "priority", "weight", "submitted"}};
  for (const v1::JobStatus& job : reply.jobs()) {
    rows.push_back({absl::StrCat(job.job()), Printable(job.name()), Printable(job.workload()), StateName(job.state()),
                    Percent(Fraction(job)), absl::StrCat(job.workers()), absl::StrCat(job.priority()),
                    absl::StrCat(job.weight()), DateText(job.submitted_unix_ms())});
  }
  return Table(rows, {0, 4, 5, 6, 7});
}

Json JobsJson(const v1::ListReply& reply, int64_t now_unix_ms) {
  Json json;
  json["jobs"] = Json::array();
  for (const v1::JobStatus& job : reply.jobs()) json["jobs"].push_back(JobJson(job, now_unix_ms));
  return json;
}

std::string JobText(const v1::JobStatus& status, int64_t now_unix_ms) {
  Rows rows = {{"job", absl::StrCat(status.job())},         {"workload", Printable(status.workload())},
               {"state", StateName(status.state())},        {"done", Percent(Fraction(status))},
               {"workers", absl::StrCat(status.workers())}, {"priority", absl::StrCat(status.priority())},
               {"weight", absl::StrCat(status.weight())},   {"submitted", DateText(status.submitted_unix_ms())}};
  if (!status.submitted_by().empty()) rows.back()[1] += absl::StrCat(" by ", Printable(status.submitted_by()));
  if (!status.name().empty()) rows.insert(rows.begin() + 1, {"name", Printable(status.name())});
  if (status.ended_unix_ms() != 0) rows.push_back({"ended", DateText(status.ended_unix_ms())});
  if (!status.message().empty()) rows.push_back({"message", Printable(status.message())});
  if (!status.waiting_for().empty()) rows.push_back({"waiting", Printable(status.waiting_for())});
  std::string text = Table(rows);
  if (const auto result = ReadNQueensResult(status, now_unix_ms); result.ok()) {
    absl::StrAppend(&text, "\n", ResultText(*result, status.state() == v1::JobStatus::DONE));
  } else if (const auto training = ReadTrainResult(status, now_unix_ms); training.ok()) {
    absl::StrAppend(&text, "\n", ResultText(*training, status.state() == v1::JobStatus::DONE));
  }
  return text;
}

Json JobJson(const v1::JobStatus& status, int64_t now_unix_ms) {
  Json json;
  json["job"] = status.job();
  json["name"] = status.name();
  json["workload"] = status.workload();
  json["state"] = StateName(status.state());
  json["message"] = status.message();
  json["waiting_for"] = status.waiting_for();
  json["done"] = Fraction(status);
  json["rate"] = status.rate();
  json["workers"] = status.workers();
  json["priority"] = status.priority();
  json["weight"] = status.weight();
  json["round"] = status.round();
  json["size"] = status.size();
  json["committed"] = status.committed();
  json["verify"] = status.verify();
  json["verified"] = status.verified_indices();
  json["submitted_unix_ms"] = status.submitted_unix_ms();
  json["ended_unix_ms"] = status.ended_unix_ms();
  json["submitted_by"] = status.submitted_by();
  json["result"] = nullptr;
  if (const auto result = ReadNQueensResult(status, now_unix_ms); result.ok()) {
    json["result"] = ResultJson(*result, status.state() == v1::JobStatus::DONE);
  } else if (const auto training = ReadTrainResult(status, now_unix_ms); training.ok()) {
    json["result"] = ResultJson(*training);
  }
  return json;
}

std::string WorkersText(const v1::ListWorkersReply& reply) {
  if (reply.workers().empty()) return "no workers\n";
  Rows rows = {
      {"worker", "state", "place", "leaves in", "devices", "leases", "slices", "refused", "heard", "version", "token"}};
  for (const v1::WorkerStatus& worker : reply.workers()) {
    rows.push_back({Printable(worker.name()), WorkerState(worker), Printable(worker.place()),
                    worker.has_seconds_left() ? TimeText(absl::Seconds(worker.seconds_left())) : "", DeviceText(worker),
                    absl::StrCat(worker.leases()), absl::StrCat(worker.slices()), absl::StrCat(worker.refused_slices()),
                    worker.quarantined().empty()
                        ? absl::StrCat(TimeText(absl::Seconds(worker.seconds_since_heard())), " ago")
                        : "",
                    Printable(worker.version()), Printable(worker.token_name())});
  }
  std::string text = Table(rows, {3, 5, 6, 7, 8});
  for (const v1::WorkerStatus& worker : reply.workers()) {
    if (worker.quarantined().empty()) continue;
    absl::StrAppend(&text, "\n", Printable(worker.name()), " is quarantined: ", Printable(worker.quarantined()), "\n");
  }
  return text;
}

Json WorkersJson(const v1::ListWorkersReply& reply) {
  Json json;
  json["workers"] = Json::array();
  for (const v1::WorkerStatus& worker : reply.workers()) {
    Json entry;
    entry["name"] = worker.name();
    entry["state"] = WorkerState(worker);
    entry["connected"] = worker.connected();
    entry["draining"] = worker.draining();
    entry["quarantined"] = worker.quarantined();
    entry["devices"] = Json::array();
    for (const v1::DeviceStatus& device : worker.devices()) {
      entry["devices"].push_back({{"kind", device.kind()}, {"name", device.name()}, {"threads", device.threads()}});
    }
    entry["leases"] = worker.leases();
    entry["slices"] = worker.slices();
    entry["refused_slices"] = worker.refused_slices();
    entry["seconds_since_heard"] = worker.seconds_since_heard();
    entry["version"] = worker.version();
    entry["platform"] = worker.platform();
    entry["place"] = worker.place();
    entry["seconds_left"] = worker.has_seconds_left() ? Json(worker.seconds_left()) : Json();
    entry["token"] = worker.token_name();
    json["workers"].push_back(std::move(entry));
  }
  return json;
}

std::string RoleName(v1::TokenRole role) {
  switch (role) {
    case v1::TOKEN_ROLE_WORKER:
      return "worker";
    case v1::TOKEN_ROLE_VIEWER:
      return "viewer";
    case v1::TOKEN_ROLE_ADMIN:
      return "admin";
    default:
      return "unknown";
  }
}

std::string TokensText(const v1::ListTokensReply& reply, int64_t now_unix_ms) {
  Rows rows = {{"token", "name", "role", "state", "created", "expires"}};
  for (const v1::TokenStatus& token : reply.tokens()) {
    rows.push_back({absl::StrCat(token.token()), Printable(token.name()), RoleName(token.role()),
                    TokenState(token, now_unix_ms), DateText(token.created_unix_ms()),
                    DateText(token.expires_unix_ms())});
  }
  return Table(rows, {0});
}

Json TokensJson(const v1::ListTokensReply& reply, int64_t now_unix_ms) {
  Json json;
  json["tokens"] = Json::array();
  for (const v1::TokenStatus& token : reply.tokens()) {
    Json entry;
    entry["token"] = token.token();
    entry["name"] = token.name();
    entry["role"] = RoleName(token.role());
    entry["state"] = TokenState(token, now_unix_ms);
    entry["created_unix_ms"] = token.created_unix_ms();
    entry["expires_unix_ms"] = token.expires_unix_ms();
    json["tokens"].push_back(std::move(entry));
  }
  return json;
}

}  // namespace potluck
