// `potluck workers`: who is at the table.
#include <algorithm>
#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>

#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/job_output.h"
#include "cli/output.h"

namespace potluck {
namespace {

using Stub = v1::Jobs::StubInterface;

int List(const Args& args) {
  Arguments arguments("workers list", "Lists the workers that joined.");
  CoordinatorFlags flags;
  flags.Declare(arguments);
  if (const std::optional<int> code = flags.Read(arguments, args)) return *code;
  v1::ListWorkersReply reply;
  if (absl::Status status = Client(flags.join).Call(&Stub::ListWorkers, v1::Empty(), &reply); !status.ok()) {
    return Fail(status);
  }
  if (flags.json) {
    PrintJson(WorkersJson(reply));
  } else {
    std::fputs(WorkersText(reply).c_str(), stdout);
  }
  return kExitOk;
}

int Drain(const Args& args) {
  Arguments arguments("workers drain", "Lets a worker, or all of one name, finish what it computes and leave.");
  CoordinatorFlags flags;
  v1::DrainWorkerRequest request;
  arguments.Positional("NAME", {"a name that `potluck workers list` shows", Text(request.mutable_name()).read},
                       "the worker");
  flags.Declare(arguments);
  if (const std::optional<int> code = flags.Read(arguments, args)) return *code;
  Client client(flags.join);
  v1::ListWorkersReply workers;  // The answer to the request itself does not say how many have the name.
  if (absl::Status status = client.Call(&Stub::ListWorkers, v1::Empty(), &workers, true); !status.ok()) {
    return Fail(status);
  }
  v1::Empty reply;
  if (absl::Status status = client.Call(&Stub::DrainWorker, request, &reply, true); !status.ok()) return Fail(status);
  const auto named = std::count_if(workers.workers().begin(), workers.workers().end(),
                                   [&](const v1::WorkerStatus& worker) { return worker.name() == request.name(); });
  if (flags.json) {
    PrintJson({{"worker", request.name()}, {"done", "draining"}, {"workers", std::max<ptrdiff_t>(1, named)}});
  } else if (named > 1) {
    std::printf("%td workers named %s are draining\n", named, Printable(request.name()).c_str());
  } else {
    std::printf("%s is draining\n", Printable(request.name()).c_str());
  }
  return kExitOk;
}

int Pardon(const Args& args) {
  Arguments arguments("workers pardon", "Lets a quarantined worker, or all of one name, join again.");
  CoordinatorFlags flags;
  v1::PardonWorkerRequest request;
  arguments.Positional("NAME", {"a name that `potluck workers list` shows", Text(request.mutable_name()).read},
                       "the worker");
  flags.Declare(arguments);
  if (const std::optional<int> code = flags.Read(arguments, args)) return *code;
  v1::Empty reply;
  // Not sent again after a lost answer: then it would find nobody to pardon.
  if (absl::Status status = Client(flags.join).Call(&Stub::PardonWorker, request, &reply); !status.ok()) {
    return Fail(status);
  }
  if (flags.json) {
    PrintJson({{"worker", request.name()}, {"done", "pardoned"}});
  } else {
    std::printf("%s may join again\n", Printable(request.name()).c_str());
  }
  return kExitOk;
}

}  // namespace

int RunWorkers(const Args& args) {
  return RunCommand("workers",
                    {{"list", "list the workers", List},
                     {"drain", "let a worker leave", Drain},
                     {"pardon", "let a quarantined worker join again", Pardon}},
                    args);
}

}  // namespace potluck
