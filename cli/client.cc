#include "cli/client.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/output.h"

namespace potluck {
namespace {

constexpr absl::Duration kRoundPause = absl::Milliseconds(500);

bool NobodyThere(const absl::Status& status) { return absl::IsUnavailable(status); }

}  // namespace

absl::StatusOr<JoinString> LoadCoordinator(const std::string& flag) {
  std::string argument = flag;
  if (argument.empty()) {
    if (const char* variable = std::getenv("POTLUCK_COORDINATOR"); variable != nullptr) argument = variable;
  }
  if (argument.empty()) {
    return absl::InvalidArgumentError(
        "--coordinator is missing; allowed is a join string, the name of a file that holds one, or - for standard "
        "input (the environment's POTLUCK_COORDINATOR serves as well)");
  }
  return LoadJoinString(argument);
}

Client::Client(JoinString join, Interrupt* interrupt) : join_(std::move(join)), interrupt_(interrupt) {}

absl::Status Client::OpenConnection() {
  absl::StatusOr<Connection> connection = Connect(join_, {.address = address_});
  if (!connection.ok()) return connection.status();
  connection_ = *std::move(connection);
  stub_ = v1::Jobs::NewStub(connection_->channel);
  return absl::OkStatus();
}

absl::Status Client::TryOnce(const Attempt& attempt, absl::Duration deadline) {
  if (!connection_) {
    if (absl::Status status = OpenConnection(); !status.ok()) return status;
  }
  grpc::ClientContext context;
  Authorize(context, join_.token);
  if (deadline != absl::InfiniteDuration()) context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  grpc::Status result;
  {
    const Interrupt::Scope scope(interrupt_, [&context] { context.TryCancel(); });
    result = attempt(*stub_, context);
  }
  if (result.ok()) return absl::OkStatus();
  if (interrupt_ != nullptr) {
    if (absl::Status reason = interrupt_->reason(); !reason.ok()) return reason;
  }
  absl::Status status = Explain(*connection_, result);
  if (absl::IsDeadlineExceeded(status)) {
    status = absl::UnavailableError(
        absl::StrCat("the coordinator at ", connection_->address, " did not answer within ", TimeText(deadline)));
  }
  // A coordinator that stops breaks its calls off.
  if (absl::IsCancelled(status)) {
    status = absl::UnavailableError(absl::StrCat("the coordinator at ", connection_->address, " broke off the call"));
  }
  if (NobodyThere(status)) {
    stub_.reset();
    connection_.reset();
    address_ = (address_ + 1) % std::max<size_t>(1, join_.addresses.size());
  }
  return status;
}

absl::Status Client::Try(const Attempt& attempt, bool retry, absl::Duration deadline) {
  const absl::Time end = absl::Now() + deadline;
  while (true) {
    absl::Status status;
    for (size_t left = join_.addresses.size(); left > 0; --left) {
      // An address that swallows everything leaves time for the others.
      status = TryOnce(attempt, std::max((end - absl::Now()) / static_cast<int64_t>(left), absl::Milliseconds(100)));
      if (!NobodyThere(status)) return status;
    }
    if (!retry || absl::Now() + kRoundPause >= end) return status;
    if (interrupt_ == nullptr) {
      absl::SleepFor(kRoundPause);
    } else if (interrupt_->WaitFor(kRoundPause)) {
      return interrupt_->reason();
    }
  }
}

absl::Status Client::Watch(uint64_t job, const std::function<void(const v1::JobStatus&)>& visit) {
  v1::WatchRequest request;
  request.set_job(job);
  return TryOnce(
      [&](v1::Jobs::StubInterface& stub, grpc::ClientContext& context) {
        const auto reader = stub.Watch(&context, request);
        v1::JobStatus status;
        while (reader->Read(&status)) visit(status);
        return reader->Finish();
      },
      absl::InfiniteDuration());
}

absl::Status Client::Slices(uint64_t job, const std::function<absl::Status(const v1::SlicesReply&)>& visit) {
  v1::JobRef request;
  request.set_job(job);
  bool begun = false;
  absl::Status visited;
  const auto attempt = [&](v1::Jobs::StubInterface& stub, grpc::ClientContext& context) {
    const auto reader = stub.Slices(&context, request);
    v1::SlicesReply reply;
    while (visited.ok() && reader->Read(&reply)) {
      begun = true;
      visited = visit(reply);
    }
    if (!visited.ok()) context.TryCancel();
    return reader->Finish();
  };
  absl::Status status;
  for (size_t left = join_.addresses.size(); left > 0; --left) {
    status = TryOnce(attempt, absl::InfiniteDuration());
    if (!visited.ok()) return visited;
    if (begun || !NobodyThere(status)) break;
  }
  if (absl::IsUnimplemented(status)) {
    return absl::UnimplementedError("the coordinator is of an older version, which does not tell a job's slices");
  }
  return status;
}

}  // namespace potluck
