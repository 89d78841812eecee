// `potluck jobs`: what a coordinator has to do, and steering it.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/follow.h"
#include "cli/job_certificate.h"
#include "cli/job_output.h"
#include "cli/nqueens_result.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "cli/progress_display.h"
#include "cli/signals.h"

namespace potluck {
namespace {

using Stub = v1::Jobs::StubInterface;

int64_t NowUnixMs() { return absl::ToUnixMillis(absl::Now()); }

absl::StatusOr<v1::JobStatus> FindJob(Client& client, uint64_t job) {
  v1::ListReply reply;
  if (absl::Status status = client.Call(&Stub::List, v1::ListRequest(), &reply, true); !status.ok()) return status;
  for (v1::JobStatus& status : *reply.mutable_jobs()) {
    if (status.job() == job) return std::move(status);
  }
  return absl::NotFoundError(absl::StrCat("job is ", job, "; allowed is one that `potluck jobs list` shows"));
}

void PrintJob(const v1::JobStatus& status, bool json) {
  if (json) {
    PrintJson(JobJson(status, NowUnixMs()));
  } else {
    std::fputs(JobText(status, NowUnixMs()).c_str(), stdout);
  }
}

int List(const Args& args) {
  Arguments arguments("jobs list", "Lists the jobs that have not been deleted.");
  CoordinatorFlags flags;
  flags.Declare(arguments);
  if (const std::optional<int> code = flags.Read(arguments, args)) return *code;
  v1::ListReply reply;
  if (absl::Status status = Client(flags.join).Call(&Stub::List, v1::ListRequest(), &reply); !status.ok()) {
    return Fail(status);
  }
  if (flags.json) {
    PrintJson(JobsJson(reply, NowUnixMs()));
  } else {
    std::fputs(JobsText(reply).c_str(), stdout);
  }
  return kExitOk;
}

// What the commands about one job share.
struct OneJob {
  CoordinatorFlags flags;
  uint64_t job = 0;

  void Declare(Arguments& arguments) {
    arguments.Positional("ID", JobNumber(&job), "the job's number");
    flags.Declare(arguments);
  }
  std::optional<int> Read(Arguments& arguments, const Args& args) { return flags.Read(arguments, args); }
};

int Show(const Args& args) {
  Arguments arguments("jobs show", "Shows one job, with its result so far.");
  OneJob one;
  one.Declare(arguments);
  if (const std::optional<int> code = one.Read(arguments, args)) return *code;
  Client client(one.flags.join);
  const absl::StatusOr<v1::JobStatus> status = FindJob(client, one.job);
  if (!status.ok()) return Fail(status.status());
  PrintJob(*status, one.flags.json);
  return kExitOk;
}

int Watch(const Args& args) {
  Arguments arguments("jobs watch", "Shows how far a job is until it has ended, then its result.");
  OneJob one;
  absl::Duration patience = absl::Minutes(10);
  one.Declare(arguments);
  arguments.Flag("--patience", "TIME", TimeSpan(&patience), "how long the coordinator may be away meanwhile", "10min");
  if (const std::optional<int> code = one.Read(arguments, args)) return *code;
  BlockSignals();
  Interrupt interrupt;
  const SignalWatcher watcher([&](int count) {
    if (count > 1) _exit(kExitInterrupted);
    interrupt.Raise(absl::CancelledError("interrupted; the job goes on"));
  });
  Client client(one.flags.join, &interrupt);
  ProgressDisplay display;
  // Nobody there at all is told at once, and not after the patience for a job under way.
  if (absl::StatusOr<v1::JobStatus> status = FindJob(client, one.job); !status.ok()) return Fail(status.status());
  const absl::StatusOr<v1::JobStatus> status =
      Follow(client, one.job, patience, interrupt, display, /*waits_for_others=*/true);
  display.Clear();
  if (!status.ok()) return Fail(status.status());
  PrintJob(*status, one.flags.json);
  FlushOutput().IgnoreError();  // Before what follows on standard error; main() tells.
  if (absl::Status outcome = Outcome(*status); !outcome.ok()) return Fail(outcome);
  const absl::StatusOr<NQueensResult> result = ReadNQueensResult(*status, NowUnixMs());
  const absl::Status verified = result.ok() ? CheckVerified(*result) : absl::OkStatus();
  return verified.ok() ? kExitOk : Fail(verified);
}

int Certificate(const Args& args) {
  Arguments arguments(
      "jobs certificate",
      "Writes the certificate of a job that is done, which `potluck verify` checks (docs/certificate.md).");
  OneJob one;
  std::string output;
  one.Declare(arguments);
  arguments.Flag("--output", "FILE", Text(&output), "where to; compressed if it ends in .gz", "standard output");
  if (const std::optional<int> code = one.Read(arguments, args)) return *code;
  if (one.flags.json && output.empty()) {
    return FailUsage(absl::InvalidArgumentError(
        "--json is about what is said of the file that was written; allowed is it together with --output FILE"));
  }
  Client client(one.flags.join);
  const absl::StatusOr<v1::JobStatus> job = FindJob(client, one.job);
  if (!job.ok()) return Fail(job.status());
  if (absl::Status status = CheckCertifiable(*job); !status.ok()) return Fail(status);
  absl::StatusOr<std::unique_ptr<OutputFile>> file =
      output.empty() ? OutputFile::ToStandardOutput() : OutputFile::Create(output);
  if (!file.ok()) return FailLocally(file.status());
  const absl::StatusOr<uint64_t> slices = WriteCertificate(client, one.job, **file);
  if (!slices.ok()) return Fail(slices.status());
  if (one.flags.json) {
    PrintJson({{"job", one.job}, {"certificate", output}, {"slices", *slices}});
  } else if (!output.empty()) {
    std::printf("%s names %llu slices\n", Printable(output).c_str(), static_cast<unsigned long long>(*slices));
  }
  return kExitOk;
}

// Makes the call that changes the job, then says that it is done.
template <typename Request>
int Do(const OneJob& one, Client::Method<Request, v1::Empty> method, const Request& request, const std::string& done) {
  v1::Empty reply;
  if (absl::Status status = Client(one.flags.join).Call(method, request, &reply, true); !status.ok())
    return Fail(status);
  if (one.flags.json) {
    PrintJson({{"job", one.job}, {"done", done}});
  } else {
    std::printf("job %llu %s\n", static_cast<unsigned long long>(one.job), done.c_str());
  }
  return kExitOk;
}

int CancelOrDelete(const Args& args, const char* command, const char* summary, bool cancel) {
  Arguments arguments(command, summary);
  OneJob one;
  one.Declare(arguments);
  if (const std::optional<int> code = one.Read(arguments, args)) return *code;
  v1::JobRef request;
  request.set_job(one.job);
  return cancel ? Do<v1::JobRef>(one, &Stub::Cancel, request, "cancelled")
                : Do<v1::JobRef>(one, &Stub::Delete, request, "deleted");
}

int Cancel(const Args& args) { return CancelOrDelete(args, "jobs cancel", "Ends a job without its result.", true); }
int Delete(const Args& args) {
  return CancelOrDelete(args, "jobs delete", "Forgets a job that has ended, with its result.", false);
}

int PauseOrResume(const Args& args, const char* command, const char* summary, bool paused) {
  Arguments arguments(command, summary);
  OneJob one;
  one.Declare(arguments);
  if (const std::optional<int> code = one.Read(arguments, args)) return *code;
  v1::ChangeRequest request;
  request.set_job(one.job);
  request.set_paused(paused);
  return Do<v1::ChangeRequest>(one, &Stub::Change, request, paused ? "paused" : "resumed");
}

int Pause(const Args& args) {
  return PauseOrResume(args, "jobs pause", "Hands out no more of a job; what is being computed still counts.", true);
}
int Resume(const Args& args) { return PauseOrResume(args, "jobs resume", "Goes on with a paused job.", false); }

int Set(const Args& args) {
  Arguments arguments("jobs set", "Changes how a job shares the workers with others.");
  OneJob one;
  std::optional<int> priority;
  std::optional<double> weight;
  one.Declare(arguments);
  arguments.Flag("--priority", "P", WholeNumber(&priority, -1000, 1000), "jobs of a higher one go first", "as it is");
  arguments.Flag("--weight", "W", RealNumber(&weight, 0.001, 1000), "share of the workers among equal priorities",
                 "as it is");
  if (const std::optional<int> code = one.Read(arguments, args)) return *code;
  if (!priority && !weight) {
    return FailUsage(absl::InvalidArgumentError("nothing to set is given; allowed is --priority or --weight or both"));
  }
  v1::ChangeRequest request;
  request.set_job(one.job);
  if (priority) request.set_priority(*priority);
  if (weight) request.set_weight(*weight);
  return Do<v1::ChangeRequest>(one, &Stub::Change, request, "changed");
}

}  // namespace

int RunJobs(const Args& args) {
  return RunCommand("jobs",
                    {{"list", "list all jobs", List},
                     {"show", "show one job", Show},
                     {"watch", "show progress until a job has ended", Watch},
                     {"certificate", "write down what a job's result is made of", Certificate},
                     {"cancel", "end a job", Cancel},
                     {"pause", "stop handing out a job", Pause},
                     {"resume", "go on with a paused job", Resume},
                     {"delete", "forget a job that has ended", Delete},
                     {"set", "change a job's priority or weight", Set}},
                    args);
}

}  // namespace potluck
