#include "cli/submission.h"

#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace potluck {

void JobFlags::Declare(Arguments& arguments) {
  arguments.Flag("--patience", "TIME", TimeSpan(&patience), "how long a coordinator may be away while the job runs",
                 "10min");
  arguments.Flag("--name", "TEXT", Text(&name), "the job's name, for people", "none");
  arguments.Flag("--priority", "P", WholeNumber(&priority, -1000, 1000), "jobs of a higher one go first", "0");
  arguments.Flag("--weight", "W", RealNumber(&weight, 0.001, 1000), "share of the workers among equal priorities", "1");
  arguments.Flag("--verify", "F", RealNumber(&verify, 0, 1), "share of the results that a second worker computes again",
                 "0");
  arguments.Switch("--json", &json, "one JSON object on standard output");
}

v1::SubmitRequest JobFlags::Request(const std::string& workload, const std::string& spec) const {
  v1::SubmitRequest request;
  request.set_workload(workload);
  request.set_name(name);
  request.set_spec(spec);
  request.set_priority(priority);
  request.set_weight(weight);
  request.set_verify(verify);
  return request;
}

absl::StatusOr<uint64_t> SubmitJob(Client& client, v1::SubmitRequest request) {
  std::random_device random;
  request.set_request_id(absl::StrFormat("%08x%08x%08x%08x", random(), random(), random(), random()));
  v1::SubmitReply reply;
  if (absl::Status status = client.Call(&v1::Jobs::StubInterface::Submit, request, &reply, /*retry=*/true);
      !status.ok()) {
    return status;
  }
  return reply.job();
}

absl::StatusOr<JoinString> OpenTable(const LocalRunFlags& local, const JobFlags& job,
                                     const std::string& state_directory, uint64_t result_bytes, Interrupt& interrupt,
                                     ProgressDisplay& display, std::unique_ptr<LocalRun>& run) {
  if (!local.embedded()) {
    absl::StatusOr<JoinString> join = LoadJoinString(local.coordinator);
    return join.ok() ? join : absl::InvalidArgumentError(join.status().message());
  }
  absl::StatusOr<std::unique_ptr<LocalRun>> started = LocalRun::Start(
      local, state_directory, result_bytes, job.verify > 0 ? 2 : 1,
      absl::StrCat("--verify is ", job.verify, ", and a second worker computes again what the first did"), interrupt,
      display);
  if (!started.ok()) return started.status();
  run = *std::move(started);
  return run->join_string();
}

}  // namespace potluck
