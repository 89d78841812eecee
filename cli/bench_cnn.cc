// `potluck bench cnn`: training and inference of the paper's network in this process, on one device.
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/cnn_training.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "kernels/cnn/data/readers.h"
#include "kernels/cnn/data/synthesis.h"
#include "worker/devices.h"

namespace potluck {
namespace {

constexpr int kWindows = 4;  // The first one warms up.

struct BenchCnnFlags {
  std::string device = "cpu";
  std::string precision = "fp32";
  int threads = UsableThreads();
  int batch = 128;
  int micro_shard = 64;
  std::string data;
  double seconds = 2;
  bool json = false;
};

std::optional<int> ReadFlags(const Args& args, BenchCnnFlags& flags) {
  Arguments arguments("bench cnn",
                      "Measures whole training steps of the paper's network, and inference, on data in memory:\n"
                      "the best of three windows.");
  arguments.Flag("--device", "D", OneOf(&flags.device, {"cpu", "cuda"}), "where: the CPU or the first GPU", "cpu");
  arguments.Flag("--precision", "P", OneOf(&flags.precision, {"fp32", "bf16", "fp16"}), "what layers compute in",
                 "fp32");
  arguments.Flag("--threads", "T", WholeNumber(&flags.threads, 1, 1024), "CPU threads", "all cores");
  arguments.Flag("--batch", "B", WholeNumber(&flags.batch, 1, 65536), "samples of a step", "128");
  arguments.Flag("--micro-shard", "S", WholeNumber(&flags.micro_shard, 1, 4096), "samples that one thread does alone",
                 "64");
  arguments.Flag("--data", "DIR", Text(&flags.data), "folder with MNIST or a set of the same shape", "digits drawn");
  arguments.Flag("--seconds", "S", RealNumber(&flags.seconds, 0.01, 3600), "how long a window is", "2");
  arguments.Switch("--json", &flags.json, "one JSON object on standard output");
  return arguments.Read(args);
}

absl::StatusOr<cnn::DataPair> LoadData(const BenchCnnFlags& flags) {
  if (flags.data.empty()) return cnn::DrawDigits({});
  Result<cnn::DataPair> data = cnn::ReadDataFolder(flags.data);
  if (!data.ok()) return absl::InvalidArgumentError(data.status().message());
  return std::move(data).value();
}

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double ProcessorSeconds() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
}

struct Rate {
  double images_per_second = 0;
  // What a thread that had a core to itself would do, all threads together: by processor time.
  double images_per_processor_second = 0;
};

// `work` does some images and returns how many.
absl::StatusOr<Rate> Measure(double window, const std::function<absl::StatusOr<uint64_t>()>& work) {
  Rate best;
  for (int i = 0; i < kWindows; ++i) {
    uint64_t images = 0;
    const double start = Seconds(), start_cpu = ProcessorSeconds();
    double elapsed = 0;
    do {
      const absl::StatusOr<uint64_t> done = work();
      if (!done.ok()) return done.status();
      images += *done;
      elapsed = Seconds() - start;
    } while (elapsed < window);
    if (i == 0) continue;
    const double processor = ProcessorSeconds() - start_cpu;
    best.images_per_second = std::max(best.images_per_second, static_cast<double>(images) / elapsed);
    best.images_per_processor_second =
        std::max(best.images_per_processor_second, static_cast<double>(images) / processor);
  }
  return best;
}

struct Outcome {
  std::string numerics_class, note, data;
  Rate training, inference;
};

absl::StatusOr<Outcome> Run(const BenchCnnFlags& flags) {
  if (flags.device == "cuda") {
    return absl::UnimplementedError("--device is cuda, for which training has no code yet; allowed is cpu");
  }
  if (flags.precision == "fp16") {
    return absl::InvalidArgumentError("--precision is fp16, which is for GPUs; allowed with --device cpu: fp32, bf16");
  }
  const absl::StatusOr<cnn::DataPair> data = LoadData(flags);
  if (!data.ok()) return data.status();
  CnnTrainingOptions options;
  options.model = cnn::MnistCnn();
  options.precision = flags.precision == "bf16" ? cnn::Precision::kBf16 : cnn::Precision::kFp32;
  options.seed = 1;
  options.threads = flags.threads;
  options.batch = static_cast<uint32_t>(flags.batch);
  options.micro_shard = static_cast<uint32_t>(flags.micro_shard);
  Outcome outcome;
  absl::StatusOr<std::unique_ptr<CnnTraining>> training = CnnTraining::Create(options, *data, &outcome.note);
  if (!training.ok()) return training.status();
  outcome.numerics_class = (*training)->numerics_class();
  outcome.data = flags.data.empty() ? "drawn digits" : data->train.name;

  const absl::StatusOr<Rate> trained = Measure(flags.seconds, [&]() -> absl::StatusOr<uint64_t> {
    const uint64_t before = (*training)->position();
    if (absl::Status stepped = (*training)->Step(); !stepped.ok()) return stepped;
    return (*training)->position() - before;
  });
  if (!trained.ok()) return trained.status();
  outcome.training = *trained;
  const uint64_t at_once = uint64_t{options.micro_shard} * static_cast<uint64_t>(options.threads) * 4;
  const absl::StatusOr<Rate> inferred = Measure(flags.seconds, [&]() -> absl::StatusOr<uint64_t> {
    const absl::StatusOr<cnn::Tally> tally = (*training)->Evaluate(at_once);
    if (!tally.ok()) return tally.status();
    return tally->samples;
  });
  if (!inferred.ok()) return inferred.status();
  outcome.inference = *inferred;
  return outcome;
}

nlohmann::ordered_json RateJson(const Rate& rate) {
  return {{"images_per_second", rate.images_per_second},
          {"images_per_processor_second", rate.images_per_processor_second}};
}

void Print(const BenchCnnFlags& flags, const Outcome& outcome) {
  if (flags.json) {
    PrintJson({{"model", cnn::MnistCnn().name},
               {"device", flags.device},
               {"precision", flags.precision},
               {"threads", flags.threads},
               {"batch", flags.batch},
               {"micro_shard", flags.micro_shard},
               {"data", outcome.data},
               {"numerics_class", outcome.numerics_class},
               {"note", outcome.note},
               {"training", RateJson(outcome.training)},
               {"inference", RateJson(outcome.inference)}});
    return;
  }
  if (!outcome.note.empty()) std::fprintf(stderr, "%s\n", outcome.note.c_str());
  std::printf("device          %s, %s, %d threads, %s\n", flags.device.c_str(), flags.precision.c_str(), flags.threads,
              outcome.numerics_class.c_str());
  std::printf("batch           %d, micro-shards of %d, %s\n", flags.batch, flags.micro_shard, outcome.data.c_str());
  std::printf("training        %.0f images/s (%.0f a second of processor time)\n", outcome.training.images_per_second,
              outcome.training.images_per_processor_second);
  std::printf("inference       %.0f images/s (%.0f a second of processor time)\n", outcome.inference.images_per_second,
              outcome.inference.images_per_processor_second);
}

}  // namespace

int RunBenchCnn(const Args& args) {
  BenchCnnFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  const absl::StatusOr<Outcome> outcome = Run(flags);
  if (!outcome.ok())
    return absl::IsInvalidArgument(outcome.status()) ? FailUsage(outcome.status()) : Fail(outcome.status());
  Print(flags, *outcome);
  return kExitOk;
}

}  // namespace potluck
