#include "cli/nqueens_result.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/output.h"
#include "kernels/nqueens/known.h"

namespace potluck {
namespace {

double PerSecond(const Count128& count, double seconds) { return seconds > 0 ? count.ToDouble() / seconds : 0; }

std::string VerdictText(const NQueensResult& result) {
  const std::optional<bool> verified = result.verified();
  if (!verified) return "not published: there is nothing to compare with";
  if (*verified) return "the same total: verified";
  return absl::StrCat("DIFFERS: ", WithSeparators(nqueens::KnownSolutions(static_cast<int>(result.n))->ToString()));
}

std::string_view AlgorithmText(uint32_t algorithm) {
  return algorithm == nqueens::kMeetInTheMiddle ? "meeting in the middle" : nqueens::AlgorithmName(algorithm);
}

}  // namespace

std::optional<bool> NQueensResult::verified() const {
  const std::optional<Count128> solutions = nqueens::KnownSolutions(static_cast<int>(n));
  if (!solutions) return std::nullopt;
  const std::optional<Count128> nodes = nqueens::KnownNodes(static_cast<int>(n));
  return counts.solutions == *solutions && (!counts_nodes() || !nodes || counts.nodes == *nodes);
}

std::optional<Count128> NQueensResult::unique() const {
  if (verified() != true) return std::nullopt;
  return nqueens::KnownUpToSymmetry(static_cast<int>(n));
}

double NQueensResult::nodes_per_second() const { return PerSecond(counts.visited, seconds); }
double NQueensResult::solutions_per_second() const { return PerSecond(counts.solutions, seconds); }

absl::StatusOr<NQueensResult> ReadNQueensResult(const v1::JobStatus& status, int64_t now_unix_ms) {
  if (status.workload() != "nqueens") {
    return absl::InvalidArgumentError(
        absl::StrCat("job ", status.job(), " is of workload \"", status.workload(), "\", not nqueens"));
  }
  const Result<nqueens::Spec> spec = nqueens::DecodeSpec(status.spec());
  if (!spec.ok()) return absl::InvalidArgumentError(spec.status().message());
  const Result<nqueens::Counts> counts = nqueens::DecodeCounts(status.summary());
  if (!counts.ok()) return absl::InvalidArgumentError(counts.status().message());
  const int64_t end = status.ended_unix_ms() != 0 ? status.ended_unix_ms() : now_unix_ms;
  NQueensResult result;
  result.job = status.job();
  result.n = spec->n;
  result.algorithm = spec->algorithm;
  result.counts = *counts;
  result.seconds = static_cast<double>(std::max<int64_t>(0, end - status.submitted_unix_ms())) / 1000;
  result.workers = Contributors(status);
  result.disagreements = status.disagreements();
  result.verify = status.verify();
  result.verified_share = status.cost() > 0 ? status.verified_cost() / status.cost() : 0;
  result.verified_slices = status.verified_slices();
  return result;
}

std::string ResultText(const NQueensResult& result, bool complete) {
  const std::string solutions = result.counts.solutions.ToString();
  const std::string grouped = WithSeparators(solutions);
  std::vector<std::vector<std::string>> rows;
  rows.push_back({"solutions", grouped == solutions ? solutions : absl::StrCat(grouped, " (", solutions, ")")});
  if (const std::optional<Count128> unique = result.unique(); complete && unique) {
    rows.push_back({"up to symmetry", WithSeparators(unique->ToString())});
  }
  if (complete) rows.push_back({"published", VerdictText(result)});
  std::string speed = absl::StrCat(Metric(result.solutions_per_second()), " solutions/s");
  if (result.counts_nodes()) {
    rows.push_back({"nodes", WithSeparators(result.counts.nodes.ToString())});
    speed = absl::StrCat(Metric(result.nodes_per_second()), " nodes/s visited, ", speed);
  }
  rows.push_back({"time", absl::StrCat(TimeText(absl::Seconds(result.seconds)), ", ", speed)});
  if (result.verify > 0) {
    rows.push_back({"verified", absl::StrCat(Percent(result.verified_share), " by a second worker (",
                                             result.verified_slices, " slices)")});
  }
  if (result.disagreements > 0) rows.push_back({"disagreements", absl::StrCat(result.disagreements)});
  std::string text = absl::StrCat(result.n, " queens by ", std::string(AlgorithmText(result.algorithm)),
                                  complete ? "" : ", so far", "\n", Table(rows));

  std::vector<std::vector<std::string>> workers = {{"worker", "share", "slices", "busy"}};
  for (const Contributor& worker : result.workers) {
    workers.push_back({Printable(worker.worker), Percent(worker.share), absl::StrCat(worker.slices),
                       TimeText(absl::Seconds(worker.busy_seconds))});
  }
  if (workers.size() > 1) absl::StrAppend(&text, "\n", Table(workers, {1, 2, 3}));
  return text;
}

nlohmann::ordered_json ResultJson(const NQueensResult& result, bool complete) {
  nlohmann::ordered_json json;
  json["n"] = result.n;
  json["algorithm"] = nqueens::AlgorithmName(result.algorithm);
  json["solutions"] = result.counts.solutions.ToString();
  json["nodes"] = nullptr;
  if (result.counts_nodes()) json["nodes"] = result.counts.nodes.ToString();
  json["seconds"] = result.seconds;
  json["workers"] = result.workers.size();
  json["verified"] = nullptr;
  if (const std::optional<bool> verified = result.verified(); complete && verified) json["verified"] = *verified;
  json["unique"] = nullptr;
  if (const std::optional<Count128> unique = result.unique(); complete && unique) json["unique"] = unique->ToString();
  json["job"] = result.job;
  json["visited"] = nullptr;
  if (result.counts_nodes()) json["visited"] = result.counts.visited.ToString();
  json["checksum"] = absl::StrCat(result.counts.checksum);
  json["nodes_per_second"] = nullptr;
  if (result.counts_nodes()) json["nodes_per_second"] = result.nodes_per_second();
  json["solutions_per_second"] = result.solutions_per_second();
  json["disagreements"] = result.disagreements;
  json["verify"] = result.verify;
  json["verified_share"] = result.verified_share;
  json["verified_slices"] = result.verified_slices;
  json["contributions"] = nlohmann::ordered_json::array();
  for (const Contributor& worker : result.workers) {
    nlohmann::ordered_json entry;
    entry["worker"] = Printable(worker.worker);
    entry["slices"] = worker.slices;
    entry["cost"] = worker.cost;
    entry["percent"] = worker.share * 100;
    entry["busy_seconds"] = worker.busy_seconds;
    json["contributions"].push_back(std::move(entry));
  }
  return json;
}

absl::Status CheckVerified(const NQueensResult& result) {
  if (result.verified() != false) return absl::OkStatus();
  const int n = static_cast<int>(result.n);
  const Count128 published = *nqueens::KnownSolutions(n);
  if (result.counts.solutions != published) {
    return absl::DataLossError(absl::StrCat("the total of n = ", n, " is ", result.counts.solutions.ToString(),
                                            ", but the published one is ", published.ToString()));
  }
  return absl::DataLossError(absl::StrCat("the nodes of n = ", n, " are ", result.counts.nodes.ToString(), ", but ",
                                          nqueens::KnownNodes(n)->ToString(), " are known"));
}

}  // namespace potluck
