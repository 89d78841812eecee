// nqueens_check: checks and measures the N-Queens kernels on this machine, on the CPU and, where the plug-in finds one,
// on the GPU; needs nothing else of Potluck. Exits with 0 when every count was right.
//
//   nqueens_check [--n=N] [--bench=N] [--algorithm=backtracking|mitm] [--threads=N] [--dispatch=all|auto|PATH]
//                 [--plugin=PATH] [--no-gpu] [--repeat=N] [--json]
//
// It runs the self-test of each device and CPU code path, counts the boards 1..n by both algorithms and compares with
// the published totals, and then measures board `bench` by one algorithm: on the CPU with one thread, each path in turn
// with a plain recursion and the scalar path as baselines (the least CPU time of `repeat` rounds each), then by the
// fastest path with all threads, and on each GPU. --dispatch=PATH checks and measures that path and the scalar one
// only.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "kernels/cpu/dispatch.h"
#include "kernels/cuda/loader.h"
#include "kernels/nqueens/known.h"
#include "kernels/nqueens/payload.h"
#include "kernels/workload/registry.h"

namespace potluck {
namespace {

struct Options {
  int n = 14;
  int bench = 16;
  int threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  int repeat = 3;
  bool gpu = true;
  bool json = false;
  std::string plugin;
  std::string dispatch = "all";
  uint32_t algorithm = nqueens::kBacktracking;  // To measure.
};

// The CPU code paths to look at, the fastest first; a sentence when there is none of this name.
Result<std::vector<Dispatch>> ChosenPaths(const std::string& dispatch) {
  if (dispatch == "all") return SupportedDispatches();
  const Result<Dispatch> chosen = ChooseDispatch(dispatch);
  if (!chosen.ok()) return chosen.status();
  return std::vector<Dispatch>{*chosen};
}

struct Measurement {
  std::string what;
  double seconds = 0;
  double nodes_per_second = 0;  // Visited ones; 0: none are.
  double against_scalar = 0;    // How many times as fast as the scalar path on one thread; 0: not known.
};

// CPU time of this process: what one thread takes, whoever else uses the processor.
double CpuSeconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

// The yardstick: the recursion that everybody writes, on the same half of the board.
class PlainRecursion {
 public:
  explicit PlainRecursion(int n) : full_(~uint32_t{0} >> (32 - n)), n_(n) {}

  // Visits the trees whose first queen stands left of the middle; returns their solutions.
  uint64_t CountLeftHalf() {
    uint64_t solutions = 0;
    for (int column = 0; column < n_ / 2; ++column) {
      const uint32_t bit = uint32_t{1} << column;
      ++nodes_;
      solutions += Count(bit, bit << 1, bit >> 1);
    }
    return solutions;
  }
  uint64_t nodes() const { return nodes_; }

 private:
  uint64_t Count(uint32_t columns, uint32_t left, uint32_t right) {
    if (columns == full_) return 1;
    uint64_t solutions = 0;
    for (uint32_t free = full_ & ~(columns | left | right); free != 0; free &= free - 1) {
      const uint32_t bit = free & (0u - free);
      ++nodes_;
      solutions += Count(columns | bit, (left | bit) << 1, (right | bit) >> 1);
    }
    return solutions;
  }

  uint32_t full_;
  int n_;
  uint64_t nodes_ = 0;
};

// What counting a board took.
struct Spent {
  double busy_seconds = 0;  // On slices.
  double cpu_seconds = 0;
};

// One board on one device, checked against what is known.
Result<nqueens::Counts> CountBoard(Runner& runner, int n, uint32_t algorithm, Spent& spent) {
  Result<std::unique_ptr<Planner>> planner =
      MakePlanner("nqueens", Encode(nqueens::Spec{static_cast<uint32_t>(n), algorithm, 0}));
  if (!planner.ok()) return planner.status();
  Result<std::optional<Round>> round = (*planner)->NextRound(0);
  if (!round.ok()) return round.status();
  if (Status status = runner.Open((*round)->payload); !status.ok()) return status;
  const Interval all{0, (*round)->plan->Size()};
  RunControl control(all);
  Status merged;
  spent = Spent{};
  const SliceSink merge = [&](Interval interval, std::string_view payload, double seconds) {
    spent.busy_seconds += seconds;
    if (merged.ok()) merged = (*planner)->Merge(interval, std::string(payload));
  };
  const double cpu_start = CpuSeconds();
  Status status = runner.Run(all, control, RunOptions{}, merge);
  spent.cpu_seconds = CpuSeconds() - cpu_start;
  if (!status.ok()) return status;
  if (!merged.ok()) return merged;
  Result<nqueens::Counts> counts = nqueens::DecodeCounts((*planner)->Summary());
  if (!counts.ok()) return counts;
  const std::optional<Count128> solutions = nqueens::KnownSolutions(n);
  const std::optional<Count128> nodes = algorithm == nqueens::kBacktracking ? nqueens::KnownNodes(n) : std::nullopt;
  if ((solutions && counts->solutions != *solutions) || (nodes && counts->nodes != *nodes)) {
    return Status::Error("n = " + std::to_string(n) + " gave " + counts->solutions.ToString() + " solutions and " +
                         counts->nodes.ToString() + " nodes; right are " + solutions->ToString() + " and " +
                         (nodes ? nodes->ToString() : "an unpublished number") + ".");
  }
  return counts;
}

class Check {
 public:
  explicit Check(const Options& options) : options_(options) {}

  int Run() {
    CheckCpu();
    if (options_.gpu) CheckGpus();
    if (options_.json) PrintJson();
    return failures_.empty() ? 0 : 1;
  }

 private:
  void Fail(const std::string& where, const std::string& sentence) {
    failures_.push_back(where + ": " + sentence);
    std::fprintf(stderr, "WRONG %s\n", failures_.back().c_str());
  }
  void Say(const std::string& line) {
    if (!options_.json) std::printf("%s\n", line.c_str());
    std::fflush(stdout);
  }

  // Self-test and boards 1..n; false when the device must not be measured.
  bool CheckRunner(const std::string& name, Runner& runner, bool on_gpu = false) {
    if (Status status = runner.SelfTest(); !status.ok()) {
      Fail(name, status.message());
      return false;
    }
    for (int n = 1; n <= options_.n; ++n) {
      for (const uint32_t algorithm : {nqueens::kBacktracking, nqueens::kMeetInTheMiddle}) {
        if (on_gpu && algorithm == nqueens::kMeetInTheMiddle) continue;  // It has no GPU code yet.
        if (!CheckBoard(name, runner, n, algorithm)) return false;
      }
    }
    return true;
  }

  bool CheckBoard(const std::string& name, Runner& runner, int n, uint32_t algorithm) {
    Spent spent;
    const Result<nqueens::Counts> counts = CountBoard(runner, n, algorithm, spent);
    if (!counts.ok()) {
      Fail(name, counts.status().message());
      return false;
    }
    Say(name + ": n = " + std::to_string(n) + " by " + std::string(nqueens::AlgorithmName(algorithm)) + ": " +
        counts->solutions.ToString() + " solutions, " +
        (algorithm == nqueens::kBacktracking ? counts->nodes.ToString() + " nodes, " : "") + "checksum " +
        std::to_string(counts->checksum) + ", right");
    ++checked_;
    return true;
  }

  // By CPU time where one thread is measured, so that neighbours on the machine do not count.
  std::optional<Measurement> Measure(const std::string& name, Runner& runner, bool by_cpu_time = false) {
    Spent spent;
    const Result<nqueens::Counts> counts = CountBoard(runner, options_.bench, options_.algorithm, spent);
    if (!counts.ok()) {
      Fail(name, counts.status().message());
      return std::nullopt;
    }
    const double seconds = by_cpu_time ? spent.cpu_seconds : spent.busy_seconds;
    return Measurement{name, seconds, counts->visited.ToDouble() / seconds};
  }

  Measurement MeasurePlain() {
    PlainRecursion plain(options_.bench);
    const double start = CpuSeconds();
    const uint64_t solutions = plain.CountLeftHalf();
    const double seconds = CpuSeconds() - start;
    if (options_.bench % 2 == 0 && Count128(2 * solutions) != nqueens::KnownSolutions(options_.bench)) {
      Fail("plain recursion", "it found " + std::to_string(2 * solutions) + " solutions.");
    }
    return {"plain recursion, left half of the board, 1 thread", seconds, static_cast<double>(plain.nodes()) / seconds};
  }

  static Measurement Best(const std::vector<Measurement>& runs) {
    return *std::max_element(runs.begin(), runs.end(),
                             [](const Measurement& a, const Measurement& b) { return a.seconds > b.seconds; });
  }

  // `format` takes one number.
  static std::string Text(const char* format, double number) {
    char text[64];
    std::snprintf(text, sizeof(text), format, number);
    return text;
  }

  void Keep(const std::vector<Measurement>& runs) {
    if (runs.empty()) return;
    Measurement best = Best(runs);
    if (scalar_seconds_ > 0) best.against_scalar = scalar_seconds_ / best.seconds;
    std::string line = best.what + ": n = " + std::to_string(options_.bench) + " in " + Text("%.3f s", best.seconds);
    if (best.nodes_per_second > 0) line += Text(", %.3g nodes/s", best.nodes_per_second);
    if (best.against_scalar > 0) line += Text(", %.2f x scalar on 1 thread", best.against_scalar);
    Say(line);
    measurements_.push_back(std::move(best));
  }

  // A path on one thread, and what was measured of it.
  struct Path {
    Dispatch dispatch;
    std::unique_ptr<Runner> runner;
    std::vector<Measurement> runs;
  };

  static Result<std::unique_ptr<Runner>> MakeRunner(int threads, Dispatch dispatch) {
    return MakeCpuRunner("nqueens", CpuOptions{threads, std::string(ToString(dispatch))});
  }

  void CheckCpu() {
    const Result<std::vector<Dispatch>> chosen = ChosenPaths(options_.dispatch);
    if (!chosen.ok()) return Fail("CPU", chosen.status().message());
    std::vector<Path> paths;
    for (const Dispatch dispatch : *chosen) {
      const std::string name = "CPU " + std::string(ToString(dispatch));
      Result<std::unique_ptr<Runner>> one = MakeRunner(1, dispatch);
      Result<std::unique_ptr<Runner>> all = MakeRunner(options_.threads, dispatch);
      if (!one.ok() || !all.ok()) return Fail(name, (one.ok() ? all : one).status().message());
      if (CheckRunner(name, **all)) paths.push_back({dispatch, *std::move(one), {}});
    }
    if (options_.bench > 0 && !paths.empty()) MeasureCpu(std::move(paths));
  }

  void MeasureCpu(std::vector<Path> paths) {
    const Dispatch fastest = paths.front().dispatch;
    if (paths.back().dispatch != Dispatch::kScalar) {
      Result<std::unique_ptr<Runner>> scalar = MakeRunner(1, Dispatch::kScalar);
      if (!scalar.ok()) return Fail("CPU scalar", scalar.status().message());
      paths.push_back({Dispatch::kScalar, *std::move(scalar), {}});
    }
    std::vector<Measurement> plain;
    for (int run = 0; run < options_.repeat; ++run) {
      if (options_.algorithm == nqueens::kBacktracking) plain.push_back(MeasurePlain());
      for (Path& path : paths) {
        const std::string name = "CPU " + std::string(ToString(path.dispatch)) + ", 1 thread";
        if (const auto measured = Measure(name, *path.runner, true)) path.runs.push_back(*measured);
      }
    }
    if (!paths.back().runs.empty()) scalar_seconds_ = Best(paths.back().runs).seconds;
    Keep(plain);
    for (auto path = paths.rbegin(); path != paths.rend(); ++path) Keep(path->runs);
    if (options_.threads > 1) MeasureThreads(fastest);
  }

  void MeasureThreads(Dispatch dispatch) {
    Result<std::unique_ptr<Runner>> all = MakeRunner(options_.threads, dispatch);
    const std::string name =
        "CPU " + std::string(ToString(dispatch)) + ", " + std::to_string(options_.threads) + " threads";
    if (!all.ok()) return Fail(name, all.status().message());
    std::vector<Measurement> runs;
    for (int run = 0; run < options_.repeat; ++run) {
      if (const auto measured = Measure(name, **all)) runs.push_back(*measured);
    }
    Keep(runs);
  }

  void CheckGpus() {
    const auto devices = cuda::ListDevices(options_.plugin);
    if (!devices.ok()) {
      no_gpu_ = devices.status().message();
      return Say("GPU: " + no_gpu_);
    }
    for (size_t index = 0; index < devices->size(); ++index) {
      const std::string name = "GPU " + std::to_string(index) + " " + (*devices)[index].name;
      Result<std::unique_ptr<Runner>> runner = MakeGpuRunner("nqueens", options_.plugin, static_cast<int>(index));
      if (!runner.ok()) {
        Fail(name, runner.status().message());
        continue;
      }
      if (!CheckRunner(name, **runner, true)) continue;
      if (options_.bench == 0 || options_.algorithm != nqueens::kBacktracking) continue;
      std::vector<Measurement> runs;
      for (int run = 0; run < options_.repeat; ++run) {
        if (const auto measured = Measure(name, **runner)) runs.push_back(*measured);
      }
      Keep(runs);
    }
  }

  static std::string Quoted(const std::string& text) {
    std::string quoted = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
    }
    return quoted + '"';
  }

  void PrintJson() const {
    std::printf("{\"boards_checked\": %d, \"bench_n\": %d, \"gpu_note\": %s, \"failures\": [", checked_, options_.bench,
                Quoted(no_gpu_).c_str());
    for (size_t i = 0; i < failures_.size(); ++i) std::printf("%s%s", i ? ", " : "", Quoted(failures_[i]).c_str());
    std::printf("], \"measurements\": [");
    for (size_t i = 0; i < measurements_.size(); ++i) {
      std::printf("%s{\"what\": %s, \"seconds\": %.6f, \"nodes_per_second\": %.6g, \"against_scalar\": %.4g}",
                  i ? ", " : "", Quoted(measurements_[i].what).c_str(), measurements_[i].seconds,
                  measurements_[i].nodes_per_second, measurements_[i].against_scalar);
    }
    std::printf("]}\n");
  }

  const Options options_;
  int checked_ = 0;
  double scalar_seconds_ = 0;
  std::string no_gpu_;
  std::vector<std::string> failures_;
  std::vector<Measurement> measurements_;
};

// Parses "--name=VALUE" into `value` when `argument` has that name; false when it has not, or the value is not allowed.
bool TakeNumber(std::string_view argument, std::string_view name, int low, int high, int& value) {
  if (!argument.starts_with(name)) return false;
  const std::optional<Count128> number = Count128::Parse(argument.substr(name.size()));
  if (!number || *number < Count128(static_cast<uint64_t>(low)) || *number > Count128(static_cast<uint64_t>(high))) {
    return false;
  }
  value = static_cast<int>(number->low());
  return true;
}

int Main(int argc, char** argv) {
  Options options;
  options.plugin = (std::filesystem::absolute(argv[0]).parent_path() / "libpotluck_cuda.so").string();
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    if (argument == "--json") {
      options.json = true;
    } else if (argument == "--no-gpu") {
      options.gpu = false;
    } else if (argument.starts_with("--plugin=")) {
      options.plugin = argument.substr(9);
    } else if (argument == "--algorithm=mitm" || argument == "--algorithm=backtracking") {
      options.algorithm = argument.ends_with("mitm") ? nqueens::kMeetInTheMiddle : nqueens::kBacktracking;
    } else if (argument.starts_with("--dispatch=")) {
      options.dispatch = argument.substr(11);
      if (const auto paths = ChosenPaths(options.dispatch); !paths.ok()) {
        std::fprintf(stderr, "nqueens_check: %s\n", paths.status().message().c_str());
        return 2;
      }
    } else if (!TakeNumber(argument, "--n=", 0, 20, options.n) &&
               !TakeNumber(argument, "--bench=", 0, 24, options.bench) &&
               !TakeNumber(argument, "--threads=", 1, 1024, options.threads) &&
               !TakeNumber(argument, "--repeat=", 1, 100, options.repeat)) {
      std::fprintf(stderr,
                   "nqueens_check: \"%s\" is not allowed. Usage: nqueens_check [--n=0..20] [--bench=0..24] "
                   "[--algorithm=backtracking|mitm] [--threads=1..1024] [--dispatch=all|auto|avx512|avx2|scalar] "
                   "[--plugin=PATH] [--no-gpu] "
                   "[--repeat=1..100] [--json]\n",
                   argv[i]);
      return 2;
    }
  }
  return Check(options).Run();
}

}  // namespace
}  // namespace potluck

int main(int argc, char** argv) { return potluck::Main(argc, argv); }
