// A command's connection to a coordinator: calls of the service Jobs, by a join string.
//
// Not thread-safe, but that an Interrupt may be raised from another thread. Errors are sentences; their codes say what
// ExitCodeFor makes of them: Unavailable (nobody can be reached at any of the addresses), Unauthenticated (token),
// PermissionDenied (role, key), else the coordinator's own.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "cli/signals.h"
#include "proto/jobs.grpc.pb.h"
#include "proto/join_string.h"
#include "worker/transport.h"

namespace potluck {

// A command gives up after this.
inline constexpr absl::Duration kCallDeadline = absl::Seconds(14);

// The join string of `--coordinator`, or, where that is empty, of the environment's POTLUCK_COORDINATOR.
absl::StatusOr<JoinString> LoadCoordinator(const std::string& flag);

class Client {
 public:
  // Connects at the first call. `interrupt`, if there is one, cancels calls, which then return its reason; it must
  // outlive the client.
  explicit Client(JoinString join, Interrupt* interrupt = nullptr);

  template <typename Request, typename Reply>
  using Method = grpc::Status (v1::Jobs::StubInterface::*)(grpc::ClientContext*, const Request&, Reply*);

  // One call, at each of the addresses in turn until one answers, for `deadline` in all. With `retry`, which only calls
  // may ask for that do no harm when repeated, it goes round the addresses until the deadline.
  template <typename Request, typename Reply>
  absl::Status Call(Method<Request, Reply> method, const Request& request, Reply* reply, bool retry = false,
                    absl::Duration deadline = kCallDeadline) {
    return Try([&](v1::Jobs::StubInterface& stub,
                   grpc::ClientContext& context) { return (stub.*method)(&context, request, reply); },
               retry, deadline);
  }

  // Calls `visit` for each status of the job as it comes, until it has ended (Ok) or the connection is lost
  // (Unavailable). Tries one address a call; the next call tries the next one.
  absl::Status Watch(uint64_t job, const std::function<void(const v1::JobStatus&)>& visit);

  // Calls `visit` for each message of the job's slices as they come. An error of its ends the call and is returned.
  // Goes on to the next address only as long as nothing came.
  absl::Status Slices(uint64_t job, const std::function<absl::Status(const v1::SlicesReply&)>& visit);

  // Has the coordinator keep these bytes until a job names them; only pieces that it lacks are sent. Returns the blob's
  // digest. An interrupted transfer is taken up again, for as long as somebody answers now and then.
  absl::StatusOr<std::string> PutBlob(absl::string_view bytes);
  // A blob that the job names, or its saved state; verified.
  absl::StatusOr<std::string> GetBlob(uint64_t job, const std::string& digest);

 private:
  using Attempt = std::function<grpc::Status(v1::Jobs::StubInterface& stub, grpc::ClientContext& context)>;

  absl::Status Try(const Attempt& attempt, bool retry, absl::Duration deadline);
  // At the current address; moves on to the next one if nobody is there.
  absl::Status TryOnce(const Attempt& attempt, absl::Duration deadline);
  // Repeats a transfer that goes on where it was interrupted, until `kMostTries` in a row have brought nothing.
  absl::Status Transfer(const Attempt& attempt, const std::function<uint64_t()>& progress);
  absl::Status OpenConnection();

  const JoinString join_;
  Interrupt* const interrupt_;
  size_t address_ = 0;
  std::optional<Connection> connection_;
  std::unique_ptr<v1::Jobs::StubInterface> stub_;
};

}  // namespace potluck
