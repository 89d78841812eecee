// `potluck nqueens`: one N-Queens job, from its submission to its result; without a server, on this machine.
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/client.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/follow.h"
#include "cli/job_certificate.h"
#include "cli/nqueens_result.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "cli/progress_display.h"
#include "cli/signals.h"
#include "cli/submission.h"
#include "kernels/nqueens/payload.h"

namespace potluck {
namespace {

struct NQueensFlags {
  int n = 0;
  LocalRunFlags local;
  JobFlags job;
  std::string algorithm = "auto";
  bool nodes = false;
  std::string certificate;
};

void Declare(Arguments& arguments, NQueensFlags& flags) {
  arguments.Positional("N", WholeNumber(&flags.n, 1, nqueens::kMaxN), "queens, and rows of the board");
  arguments.Flag("--algorithm", "A", OneOf(&flags.algorithm, {"auto", "mitm", "backtracking"}),
                 "how to count: meeting in the middle is by far the fastest; backtracking counts nodes too",
                 "mitm, or backtracking with --nodes");
  arguments.Switch("--nodes", &flags.nodes, "count the nodes of the search tree too");
  flags.local.Declare(arguments);
  arguments.Flag("--certificate", "FILE", Text(&flags.certificate),
                 "write down there what the result is made of, for `potluck verify`; compressed if it ends in .gz",
                 "nowhere");
  flags.job.Declare(arguments);
}

uint32_t Algorithm(const NQueensFlags& flags) {
  if (flags.algorithm == "mitm") return nqueens::kMeetInTheMiddle;
  if (flags.algorithm == "backtracking" || flags.nodes) return nqueens::kBacktracking;
  return flags.n <= nqueens::kMaxMeetInTheMiddleN ? nqueens::kMeetInTheMiddle : nqueens::kBacktracking;
}

absl::Status CheckTogether(const NQueensFlags& flags) {
  if (flags.nodes && flags.algorithm == "mitm") {
    return absl::InvalidArgumentError(
        "--nodes is given with --algorithm mitm, which visits no nodes; allowed with it are auto and backtracking");
  }
  if (flags.algorithm == "mitm" && flags.n > nqueens::kMaxMeetInTheMiddleN) {
    return absl::InvalidArgumentError(
        absl::StrCat("N is ", flags.n, "; allowed with --algorithm mitm is 1 to ", nqueens::kMaxMeetInTheMiddleN));
  }
  return flags.local.Check();
}

absl::StatusOr<uint64_t> Submit(Client& client, const NQueensFlags& flags) {
  const nqueens::Spec spec{.n = static_cast<uint32_t>(flags.n), .algorithm = Algorithm(flags)};
  return SubmitJob(client, flags.job.Request("nqueens", nqueens::Encode(spec)));
}

int PrintResult(const v1::JobStatus& status, bool json) {
  if (absl::Status outcome = Outcome(status); !outcome.ok()) return Fail(outcome);
  const absl::StatusOr<NQueensResult> result = ReadNQueensResult(status, absl::ToUnixMillis(absl::Now()));
  if (!result.ok()) return Fail(result.status());
  if (json) {
    PrintJson(ResultJson(*result));
  } else {
    std::fputs(ResultText(*result).c_str(), stdout);
  }
  FlushOutput().IgnoreError();  // Before what follows on standard error; main() tells.
  const absl::Status verified = CheckVerified(*result);
  return verified.ok() ? kExitOk : Fail(verified);
}

// The job stays where it is, so what fails here can be done again.
int WriteCertificateOf(Client& client, uint64_t job, OutputFile& file, bool embedded) {
  const absl::StatusOr<uint64_t> slices = WriteCertificate(client, job, file);
  if (!slices.ok()) {
    const std::string again = embedded ? "" : absl::StrCat("; `potluck jobs certificate ", job, "` writes it later");
    return Fail(absl::Status(slices.status().code(), absl::StrCat(slices.status().message(), again)));
  }
  std::fprintf(stderr, "potluck: %s names %llu slices; `potluck verify` checks it\n", Printable(file.path()).c_str(),
               static_cast<unsigned long long>(*slices));
  return kExitOk;
}

// Ctrl-C, or workers that never come up: nobody else wants a job of this machine's own; a server goes on with its.
int Interrupted(const absl::Status& reason, const JoinString& join, uint64_t job, bool embedded) {
  if (!embedded && absl::IsCancelled(reason)) {
    return Fail(
        absl::CancelledError(absl::StrCat("interrupted; job ", job, " goes on at the server: `potluck jobs watch ", job,
                                          "` shows it, `potluck jobs cancel ", job, "` ends it")));
  }
  if (embedded) {
    Client client(join);
    v1::JobRef request;
    request.set_job(job);
    v1::Empty reply;
    // If that fails the job ends with this process all the same.
    client.Call(&v1::Jobs::StubInterface::Cancel, request, &reply, false, absl::Seconds(2)).IgnoreError();
  }
  return Fail(reason);
}

int Run(const NQueensFlags& flags) {
  const bool embedded = flags.local.embedded();
  std::unique_ptr<OutputFile> certificate;
  if (!flags.certificate.empty()) {  // Before hours of work, not after.
    absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create(flags.certificate);
    if (!file.ok()) return FailLocally(file.status());
    certificate = *std::move(file);
  }
  Interrupt interrupt;
  ProgressDisplay display;
  const SignalWatcher watcher([&](int count) {
    if (count > 1) _exit(kExitInterrupted);  // The local workers end with this process.
    interrupt.Raise(absl::CancelledError("interrupted"));
  });
  std::unique_ptr<LocalRun> run;
  const absl::StatusOr<JoinString> join =
      OpenTable(flags.local, flags.job, /*state_directory=*/"", /*result_bytes=*/0, interrupt, display, run);
  if (!join.ok()) return absl::IsInvalidArgument(join.status()) ? FailUsage(join.status()) : Fail(join.status());
  Client client(*join, &interrupt);
  const absl::StatusOr<uint64_t> job = Submit(client, flags);
  if (!job.ok()) return Fail(job.status());
  const absl::StatusOr<v1::JobStatus> status = Follow(client, *job, flags.job.patience, interrupt, display,
                                                      /*waits_for_others=*/!embedded);
  display.Clear();
  if (status.ok() && flags.job.verify > 0 && status->verify() <= 0) {
    display.Say("the coordinator is of an older version, which verifies nothing: no result was computed again");
  }
  if (status.ok()) {
    const int code = PrintResult(*status, flags.job.json);
    if (certificate == nullptr || !Outcome(*status).ok()) return code;
    // Also of a total that is not the published one: it tells who computed what.
    const int written = WriteCertificateOf(client, *job, *certificate, embedded);
    return code != kExitOk ? code : written;
  }
  if (!interrupt.reason().ok()) return Interrupted(status.status(), *join, *job, embedded);
  return Fail(status.status());
}

}  // namespace

int RunNQueens(const Args& args) {
  NQueensFlags flags;
  Arguments arguments("nqueens",
                      "Counts the ways to place N queens on an N x N board so that none attacks another.\n"
                      "Without --coordinator everything runs on this machine and ends with the command.");
  Declare(arguments, flags);
  if (const std::optional<int> code = arguments.Read(args)) return *code;
  flags.local.ReadEnvironment();
  if (absl::Status status = CheckTogether(flags); !status.ok()) return FailUsage(status);
  BlockSignals();
  return Run(flags);
}

}  // namespace potluck
