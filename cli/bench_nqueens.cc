// `potluck bench nqueens`: the kernel alone, in this process, on one device.
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/strings/str_replace.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/nqueens_result.h"
#include "cli/output.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/nqueens/payload.h"
#include "kernels/workload/registry.h"
#include "worker/devices.h"

namespace potluck {
namespace {

struct BenchFlags {
  int n = 16;
  std::string algorithm = "backtracking";
  std::string device = "cpu";
  std::string dispatch = "auto";
  int threads = UsableThreads();
  bool json = false;
};

std::optional<int> ReadFlags(const Args& args, BenchFlags& flags) {
  Arguments arguments("bench nqueens", "Counts one board with the kernel alone, without coordinator or worker.");
  arguments.Flag("--n", "N", WholeNumber(&flags.n, 1, nqueens::kMaxN), "queens, and rows of the board", "16");
  arguments.Flag("--algorithm", "A", OneOf(&flags.algorithm, {"backtracking", "mitm"}), "how to count", "backtracking");
  arguments.Flag("--device", "D", OneOf(&flags.device, {"cpu", "cuda"}), "where: the CPU or the first GPU", "cpu");
  arguments.Flag("--dispatch", "D", DispatchName(&flags.dispatch), "CPU code path", "auto");
  arguments.Flag("--threads", "T", WholeNumber(&flags.threads, 1, 1024), "CPU threads", "all cores");
  arguments.Switch("--json", &flags.json, "one JSON object on standard output");
  return arguments.Read(args);
}

absl::Status ToAbsl(const Status& status) { return absl::InternalError(status.message()); }

// What keeps a GPU from being used ends, for workers, in a remark that does not hold here.
absl::Status WithoutFallback(const absl::Status& status) {
  return {status.code(), absl::StrReplaceAll(status.message(), {{"; the CPU is used instead", ""}})};
}

absl::StatusOr<std::unique_ptr<Runner>> MakeRunner(const BenchFlags& flags) {
  Result<std::unique_ptr<Runner>> runner = Status::Error("no device");
  if (flags.device == "cpu") {
    runner = MakeCpuRunner("nqueens", {.threads = flags.threads, .dispatch = flags.dispatch});
  } else {
    DeviceRequest request;
    request.device = flags.device;
    const absl::StatusOr<FoundDevices> found = FindDevices(request);
    if (!found.ok()) return WithoutFallback(found.status());
    runner = MakeGpuRunner("nqueens", found->devices[0].plugin, found->devices[0].index);
  }
  if (!runner.ok()) return WithoutFallback(ToAbsl(runner.status()));
  return std::move(runner).value();
}

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

absl::StatusOr<NQueensResult> Measure(const BenchFlags& flags) {
  absl::StatusOr<std::unique_ptr<Runner>> runner = MakeRunner(flags);
  if (!runner.ok()) return runner.status();
  const nqueens::Spec spec{.n = static_cast<uint32_t>(flags.n),
                           .algorithm = flags.algorithm == "mitm" ? nqueens::kMeetInTheMiddle : nqueens::kBacktracking};
  const Result<std::unique_ptr<Planner>> planner = MakePlanner("nqueens", Encode(spec));
  if (!planner.ok()) return ToAbsl(planner.status());
  const Result<std::optional<Round>> round = (*planner)->NextRound();
  if (!round.ok()) return ToAbsl(round.status());
  if (Status status = (*runner)->Open((*round)->payload); !status.ok()) return ToAbsl(status);

  const Interval all{0, (*round)->plan->Size()};
  RunControl control(all);
  Status merged;
  const double start = Seconds();
  const Status ran =
      (*runner)->Run(all, control, RunOptions{}, [&](Interval interval, std::string_view payload, double /*busy*/) {
        if (merged.ok()) merged = (*planner)->Merge(interval, payload);
      });
  NQueensResult result;
  result.seconds = Seconds() - start;
  if (!ran.ok()) return ToAbsl(ran);
  if (!merged.ok()) return ToAbsl(merged);
  const Result<nqueens::Counts> counts = nqueens::DecodeCounts((*planner)->Summary());
  if (!counts.ok()) return ToAbsl(counts.status());
  result.n = spec.n;
  result.algorithm = spec.algorithm;
  result.counts = *counts;
  return result;
}

// The code path that "auto" chose.
std::string Path(const BenchFlags& flags) {
  const Result<Dispatch> dispatch = ChooseDispatch(flags.dispatch);
  return dispatch.ok() ? std::string(ToString(*dispatch)) : flags.dispatch;
}

void Print(const BenchFlags& flags, const NQueensResult& result) {
  if (!flags.json) {
    std::printf("%sdevice          %s\n", ResultText(result).c_str(), flags.device.c_str());
    if (flags.device == "cpu") std::printf("threads         %d, dispatch %s\n", flags.threads, Path(flags).c_str());
    return;
  }
  nlohmann::ordered_json json = ResultJson(result);
  for (const char* key : {"workers", "job", "contributions", "disagreements", "unique"}) json.erase(key);
  json["device"] = flags.device;
  if (flags.device == "cpu") {
    json["threads"] = flags.threads;
    json["dispatch"] = Path(flags);
  }
  PrintJson(json);
}

}  // namespace

int RunBenchNQueens(const Args& args) {
  BenchFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  const absl::StatusOr<NQueensResult> result = Measure(flags);
  if (!result.ok()) return Fail(result.status());
  Print(flags, *result);
  FlushOutput().IgnoreError();  // Before what follows on standard error; main() tells.
  const absl::Status verified = CheckVerified(*result);
  return verified.ok() ? kExitOk : Fail(verified);
}

}  // namespace potluck
