// nqueens_check: checks and measures the N-Queens kernels on this machine, on the CPU and, where the plug-in finds one,
// on the GPU; needs nothing else of Potluck. Exits with 0 when every count was right.
//
//   nqueens_check [--n=N] [--bench=N] [--threads=N] [--plugin=PATH] [--no-gpu] [--repeat=N] [--json]
//
// It runs each device's self-test, counts the boards 1..n and compares with the published totals, and then measures
// board `bench`: on the CPU with one thread, interleaved with a plain recursion as the baseline (the least time of
// `repeat` runs each), then with all threads, and on each GPU.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

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
};

struct Measurement {
  std::string what;
  double seconds = 0;
  double nodes_per_second = 0;  // Visited ones.
};

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

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

// One board on one device, checked against what is known. `busy_seconds` receives the time spent on slices.
Result<nqueens::Counts> CountBoard(Runner& runner, int n, double& busy_seconds) {
  Result<std::unique_ptr<Planner>> planner = MakePlanner("nqueens", Encode(nqueens::Spec{static_cast<uint32_t>(n)}));
  if (!planner.ok()) return planner.status();
  Result<std::optional<Round>> round = (*planner)->NextRound();
  if (!round.ok()) return round.status();
  if (Status status = runner.Open((*round)->payload); !status.ok()) return status;
  const Interval all{0, (*round)->plan->Size()};
  RunControl control(all);
  Status merged;
  busy_seconds = 0;
  const SliceSink merge = [&](Interval interval, std::string_view payload, double seconds) {
    busy_seconds += seconds;
    if (merged.ok()) merged = (*planner)->Merge(interval, payload);
  };
  Status status = runner.Run(all, control, RunOptions{}, merge);
  if (!status.ok()) return status;
  if (!merged.ok()) return merged;
  Result<nqueens::Counts> counts = nqueens::DecodeCounts((*planner)->Summary());
  if (!counts.ok()) return counts;
  const std::optional<Count128> solutions = nqueens::KnownSolutions(n);
  const std::optional<Count128> nodes = nqueens::KnownNodes(n);
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
  bool CheckRunner(const std::string& name, Runner& runner) {
    if (Status status = runner.SelfTest(); !status.ok()) {
      Fail(name, status.message());
      return false;
    }
    for (int n = 1; n <= options_.n; ++n) {
      double seconds = 0;
      const Result<nqueens::Counts> counts = CountBoard(runner, n, seconds);
      if (!counts.ok()) {
        Fail(name, counts.status().message());
        return false;
      }
      Say(name + ": n = " + std::to_string(n) + ": " + counts->solutions.ToString() + " solutions, " +
          counts->nodes.ToString() + " nodes, checksum " + std::to_string(counts->checksum) + ", right");
      ++checked_;
    }
    return true;
  }

  std::optional<Measurement> Measure(const std::string& name, Runner& runner) {
    double seconds = 0;
    const Result<nqueens::Counts> counts = CountBoard(runner, options_.bench, seconds);
    if (!counts.ok()) {
      Fail(name, counts.status().message());
      return std::nullopt;
    }
    return Measurement{name, seconds, counts->visited.ToDouble() / seconds};
  }

  Measurement MeasurePlain() {
    PlainRecursion plain(options_.bench);
    const double start = Seconds();
    const uint64_t solutions = plain.CountLeftHalf();
    const double seconds = Seconds() - start;
    if (options_.bench % 2 == 0 && Count128(2 * solutions) != nqueens::KnownSolutions(options_.bench)) {
      Fail("plain recursion", "it found " + std::to_string(2 * solutions) + " solutions.");
    }
    return {"plain recursion, 1 thread", seconds, static_cast<double>(plain.nodes()) / seconds};
  }

  void Keep(const std::vector<Measurement>& runs) {
    if (runs.empty()) return;
    measurements_.push_back(*std::max_element(runs.begin(), runs.end(), [](const Measurement& a, const Measurement& b) {
      return a.nodes_per_second < b.nodes_per_second;
    }));
    char line[200];
    std::snprintf(line, sizeof(line), "%s: n = %d in %.3f s, %.3g nodes/s", measurements_.back().what.c_str(),
                  options_.bench, measurements_.back().seconds, measurements_.back().nodes_per_second);
    Say(line);
  }

  void CheckCpu() {
    Result<std::unique_ptr<Runner>> one = MakeCpuRunner("nqueens", CpuOptions{1});
    Result<std::unique_ptr<Runner>> all = MakeCpuRunner("nqueens", CpuOptions{options_.threads});
    if (!one.ok() || !all.ok()) return Fail("CPU", (one.ok() ? all : one).status().message());
    if (!CheckRunner("CPU", **all) || options_.bench == 0) return;
    std::vector<Measurement> plain, single, threaded;
    for (int run = 0; run < options_.repeat; ++run) {
      plain.push_back(MeasurePlain());
      if (const auto measured = Measure("CPU, 1 thread", **one)) single.push_back(*measured);
    }
    for (int run = 0; run < options_.repeat && options_.threads > 1; ++run) {
      const auto measured = Measure("CPU, " + std::to_string(options_.threads) + " threads", **all);
      if (measured) threaded.push_back(*measured);
    }
    Keep(plain);
    Keep(single);
    Keep(threaded);
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
      if (!CheckRunner(name, **runner) || options_.bench == 0) continue;
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
      std::printf("%s{\"what\": %s, \"seconds\": %.6f, \"nodes_per_second\": %.6g}", i ? ", " : "",
                  Quoted(measurements_[i].what).c_str(), measurements_[i].seconds, measurements_[i].nodes_per_second);
    }
    std::printf("]}\n");
  }

  const Options options_;
  int checked_ = 0;
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
    } else if (!TakeNumber(argument, "--n=", 0, 20, options.n) &&
               !TakeNumber(argument, "--bench=", 0, 24, options.bench) &&
               !TakeNumber(argument, "--threads=", 1, 1024, options.threads) &&
               !TakeNumber(argument, "--repeat=", 1, 100, options.repeat)) {
      std::fprintf(stderr,
                   "nqueens_check: \"%s\" is not allowed. Usage: nqueens_check [--n=0..20] [--bench=0..24] "
                   "[--threads=1..1024] [--plugin=PATH] [--no-gpu] [--repeat=1..100] [--json]\n",
                   argv[i]);
      return 2;
    }
  }
  return Check(options).Run();
}

}  // namespace
}  // namespace potluck

int main(int argc, char** argv) { return potluck::Main(argc, argv); }
