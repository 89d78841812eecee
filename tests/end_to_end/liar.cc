// A worker that lies, for tests: `potluck join` and its executors, but now and then a result is wrong, in a way that no
// check of the coordinator's sees. Never installed.
//
// POTLUCK_LIES says when: "3/100" is the third of each hundred slices that an executor computes, "1/1" every one.
// Before it and a colon may stand "others": only by code paths that are not the device's default; or "large": only
// slices that are too large to be of a known-answer unit. Of training: "nan", "inf" and "short" results, which the
// coordinator refuses; any other lie is a number that is a little off.
#include <grpc/support/log.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "cli/commands.h"
#include "kernels/cnn/payload.h"
#include "kernels/nqueens/payload.h"
#include "worker/executor_main.h"

namespace potluck {
namespace {

constexpr uint64_t kLargestKnownAnswer = 8;

struct Lies {
  unsigned which = 0;  // Of each
  unsigned of = 0;     // slices; 0: never.
  std::string kind;
};

Lies ReadLies() {
  const char* text = std::getenv("POTLUCK_LIES");
  std::string rest = text == nullptr ? "" : text;
  Lies lies;
  if (const size_t colon = rest.find(':'); colon != std::string::npos) {
    lies.kind = rest.substr(0, colon);
    rest = rest.substr(colon + 1);
  }
  if (std::sscanf(rest.c_str(), "%u/%u", &lies.which, &lies.of) != 2) lies.of = 0;
  return lies;
}

// A number of a gradient, or of a compressed one a code, or what else is in its place.
std::string FalsifyTraining(std::string_view payload, const std::string& kind) {
  std::string result(payload);
  if (kind == "short") {
    result.resize(result.size() - 4);
    return result;
  }
  if (result.size() <= cnn::kTallyBytes) {  // An evaluation: one hit more or less.
    cnn::Tally tally = cnn::ReadTally(result);
    tally.hits = tally.hits > 0 ? tally.hits - 1 : 1;
    std::string falsified;
    cnn::AppendTally(tally, falsified);
    return falsified;
  }
  float value = 0;
  std::memcpy(&value, result.data(), sizeof value);
  value = kind == "nan"   ? std::numeric_limits<float>::quiet_NaN()
          : kind == "inf" ? std::numeric_limits<float>::infinity()
                          : value + 1.0f / 1024;
  std::memcpy(result.data(), &value, sizeof value);
  return result;
}

// Two solutions too many, if there is room for them; another checksum in any case.
std::string Falsify(std::string_view payload) {
  nqueens::Counts counts = *nqueens::DecodeCounts(payload);
  nqueens::Counts more;
  more.solutions = 2;
  nqueens::Counts sum = counts;
  if (sum.Add(more) && sum.solutions <= sum.nodes) counts = sum;
  counts.checksum ^= 0x5555;
  return nqueens::Encode(counts);
}

class LyingRunner final : public Runner {
 public:
  LyingRunner(std::unique_ptr<Runner> runner, std::string_view workload, const Lies& lies)
      : runner_(std::move(runner)), is_training_(workload == "cnn"), lies_(lies) {}

  Status SelfTest() override { return runner_->SelfTest(); }
  Status Open(const RoundInput& round) override { return runner_->Open(round); }
  Status Run(Interval interval, RunControl& control, const RunOptions& options, const SliceSink& sink) override {
    return runner_->Run(interval, control, options, [&](Interval slice, std::string_view payload, double busy) {
      const bool is_meant = lies_.of > 0 && (lies_.kind != "large" || slice.size() > kLargestKnownAnswer);
      const bool is_lie = is_meant && ++slices_ % lies_.of == lies_.which % lies_.of;
      if (!is_lie) return sink(slice, payload, busy);
      sink(slice, is_training_ ? FalsifyTraining(payload, lies_.kind) : Falsify(payload), busy);
    });
  }

 private:
  const std::unique_ptr<Runner> runner_;
  const bool is_training_;
  const Lies lies_;
  unsigned slices_ = 0;
};

int RunLyingExecutor(const Args& args) {
  static std::string default_path;
  for (size_t i = 0; i + 1 < args.size(); ++i) {
    if (args[i] == "--dispatch") default_path = args[i + 1];
  }
  static RunnerFactory factory = RegistryFactory();
  factory.make = [make = factory.make](std::string_view workload,
                                       const DeviceSpec& device) -> Result<std::unique_ptr<Runner>> {
    Result<std::unique_ptr<Runner>> runner = make(workload, device);
    Lies lies = ReadLies();
    if (lies.kind == "others" && device.dispatch == default_path) lies.of = 0;
    if (!runner.ok()) return runner.status();
    return std::unique_ptr<Runner>(std::make_unique<LyingRunner>(*std::move(runner), workload, lies));
  };
  return ExecutorMain(args, factory);
}

}  // namespace
}  // namespace potluck

int main(int argc, char** argv) {
  gpr_set_log_function([](gpr_log_func_args*) {});
  return potluck::RunCommand("",
                             {{"join", "work for a coordinator, and lie", potluck::RunJoin},
                              {"executor", "started by join", potluck::RunLyingExecutor}},
                             potluck::Args(argv + 1, argv + argc));
}
