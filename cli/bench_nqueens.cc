// `potluck bench nqueens`: the kernel alone, in this process, on one device.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
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
  int units = 1;
  bool json = false;
};

std::optional<int> ReadFlags(const Args& args, BenchFlags& flags) {
  Arguments arguments("bench nqueens", "Counts one board with the kernel alone, without coordinator or worker.");
  arguments.Flag("--n", "N", WholeNumber(&flags.n, 1, nqueens::kMaxN), "queens, and rows of the board", "16");
  arguments.Flag("--algorithm", "A", OneOf(&flags.algorithm, {"backtracking", "mitm"}), "how to count", "backtracking");
  arguments.Flag("--device", "D", OneOf(&flags.device, {"cpu", "cuda"}), "where: the CPU or the first GPU", "cpu");
  arguments.Flag("--dispatch", "D", DispatchName(&flags.dispatch), "CPU code path", "auto");
  arguments.Flag("--threads", "T", WholeNumber(&flags.threads, 1, 1024), "CPU threads", "all cores");
  arguments.Flag("--units", "U", WholeNumber(&flags.units, 1, 10000),
                 "cut the board into U units of equal predicted cost and tell how long each took", "1");
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

struct Measurement {
  NQueensResult result;
  std::vector<double> unit_seconds;  // In the order of the index space.
};

// Computes the round in units of equal predicted cost and merges what they report.
absl::Status RunUnits(const BenchFlags& flags, Runner& runner, const RoundPlan& plan, Planner& planner,
                      Measurement& measurement) {
  const double unit_cost = plan.Cost({0, plan.Size()}) / flags.units;
  Interval unit{0, 0};
  while (unit.end < plan.Size()) {
    unit.begin = unit.end;
    const auto done = static_cast<double>(measurement.unit_seconds.size());
    // Up to the next multiple of the units' cost, so that what one unit is off does not add up.
    unit.end = flags.units == 1
                   ? plan.Size()
                   : plan.Cut({unit.begin, plan.Size()}, unit_cost * (done + 1) - plan.Cost({0, unit.begin}));
    RunControl control(unit);
    Status merged;
    const double start = Seconds();
    const Status ran = runner.Run(unit, control, RunOptions{}, [&](Interval slice, std::string_view payload, double) {
      if (merged.ok()) merged = planner.Merge(slice, std::string(payload));
    });
    measurement.unit_seconds.push_back(Seconds() - start);
    if (!ran.ok()) return ToAbsl(ran);
    if (!merged.ok()) return ToAbsl(merged);
  }
  return absl::OkStatus();
}

absl::StatusOr<Measurement> Measure(const BenchFlags& flags) {
  absl::StatusOr<std::unique_ptr<Runner>> runner = MakeRunner(flags);
  if (!runner.ok()) return runner.status();
  const nqueens::Spec spec{.n = static_cast<uint32_t>(flags.n),
                           .algorithm = flags.algorithm == "mitm" ? nqueens::kMeetInTheMiddle : nqueens::kBacktracking};
  const Result<std::unique_ptr<Planner>> planner = MakePlanner("nqueens", Encode(spec));
  if (!planner.ok()) return ToAbsl(planner.status());
  const Result<std::optional<Round>> round = (*planner)->NextRound(0);
  if (!round.ok()) return ToAbsl(round.status());
  if (Status status = (*runner)->Open((*round)->payload); !status.ok()) return ToAbsl(status);

  Measurement measurement;
  const double start = Seconds();
  if (absl::Status run = RunUnits(flags, **runner, *(*round)->plan, **planner, measurement); !run.ok()) return run;
  NQueensResult& result = measurement.result;
  result.seconds = Seconds() - start;
  const Result<nqueens::Counts> counts = nqueens::DecodeCounts((*planner)->Summary());
  if (!counts.ok()) return ToAbsl(counts.status());
  result.n = spec.n;
  result.algorithm = spec.algorithm;
  result.counts = *counts;
  return measurement;
}

// What separates quick units from slow ones.
struct Spread {
  double least, low, median, high, most;  // Seconds; low and high are the 5th and 95th percentile.
};

Spread SpreadOf(std::vector<double> seconds) {
  std::sort(seconds.begin(), seconds.end());
  const auto at = [&](double share) {
    return seconds[static_cast<size_t>(share * static_cast<double>(seconds.size() - 1) + 0.5)];
  };
  return {seconds.front(), at(0.05), at(0.5), at(0.95), seconds.back()};
}

// The code path that "auto" chose.
std::string Path(const BenchFlags& flags) {
  const Result<Dispatch> dispatch = ChooseDispatch(flags.dispatch);
  return dispatch.ok() ? std::string(ToString(*dispatch)) : flags.dispatch;
}

void Print(const BenchFlags& flags, const Measurement& measurement) {
  const Spread spread = SpreadOf(measurement.unit_seconds);
  const size_t units = measurement.unit_seconds.size();
  if (!flags.json) {
    std::printf("%sdevice          %s\n", ResultText(measurement.result).c_str(), flags.device.c_str());
    if (flags.device == "cpu") std::printf("threads         %d, dispatch %s\n", flags.threads, Path(flags).c_str());
    if (units > 1) {
      std::printf("unit times      %zu units: median %.4g s, 5 %% to 95 %%: %.4g to %.4g s, all: %.4g to %.4g s\n",
                  units, spread.median, spread.low, spread.high, spread.least, spread.most);
    }
    return;
  }
  nlohmann::ordered_json json = ResultJson(measurement.result);
  for (const char* key : {"workers", "job", "contributions", "disagreements", "unique"}) json.erase(key);
  json["device"] = flags.device;
  if (flags.device == "cpu") {
    json["threads"] = flags.threads;
    json["dispatch"] = Path(flags);
  }
  if (units > 1) {
    json["units"] = {{"count", units},
                     {"least_seconds", spread.least},
                     {"p5_seconds", spread.low},
                     {"median_seconds", spread.median},
                     {"p95_seconds", spread.high},
                     {"most_seconds", spread.most}};
  }
  PrintJson(json);
}

}  // namespace

int RunBenchNQueens(const Args& args) {
  BenchFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  if (flags.algorithm == "mitm" && flags.n > nqueens::kMaxMeetInTheMiddleN) {
    return FailUsage(absl::InvalidArgumentError(
        absl::StrCat("--n is ", flags.n, "; allowed with --algorithm mitm is 1 to ", nqueens::kMaxMeetInTheMiddleN)));
  }
  if (flags.algorithm == "mitm" && flags.device == "cuda") {
    return FailUsage(absl::InvalidArgumentError(
        "--device is cuda with --algorithm mitm, which has no GPU code yet; allowed with it is backtracking"));
  }
  const absl::StatusOr<Measurement> measurement = Measure(flags);
  if (!measurement.ok()) return Fail(measurement.status());
  Print(flags, *measurement);
  FlushOutput().IgnoreError();  // Before what follows on standard error; main() tells.
  const absl::Status verified = CheckVerified(measurement->result);
  return verified.ok() ? kExitOk : Fail(verified);
}

}  // namespace potluck
