// `potluck verify`: whether the certificate of a result holds.
#include <cstdio>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "cli/certificate_check.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/nqueens_result.h"
#include "cli/output.h"
#include "cli/progress_display.h"
#include "kernels/workload/registry.h"
#include "worker/devices.h"

namespace potluck {
namespace {

// Without --sample: as much as a person waits for, and no more than tells something.
constexpr double kUsualSample = 0.01;
constexpr absl::Duration kUsualTime = absl::Seconds(10);

struct VerifyFlags {
  std::string file;
  std::optional<double> sample;
  std::string dispatch = "auto";
  int threads = UsableThreads();
  std::optional<int> seed;
  bool json = false;
};

std::optional<int> ReadFlags(const Args& args, VerifyFlags& flags) {
  Arguments arguments("verify", "Checks the certificate of a result: adds it up again and recomputes a sample of it.");
  arguments.Positional("FILE", Text(&flags.file), "the certificate, compressed or not; - for standard input");
  arguments.Flag("--sample", "F", RealNumber(&flags.sample, 0, 1), "share of the slices to recompute",
                 "0.01, for about 10 s at most");
  arguments.Flag("--dispatch", "D", DispatchName(&flags.dispatch), "CPU code path to recompute with", "auto");
  arguments.Flag("--threads", "T", WholeNumber(&flags.threads, 1, 1024), "CPU threads", "all cores");
  arguments.Flag("--seed", "S", WholeNumber(&flags.seed, 0, 2147483647), "draws the sample", "by chance");
  arguments.Switch("--json", &flags.json, "one JSON object on standard output");
  return arguments.Read(args);
}

// One that finds known answers here: what it says about others' would mean nothing otherwise.
absl::StatusOr<std::unique_ptr<Runner>> MakeRunner(const VerifyFlags& flags) {
  Result<std::unique_ptr<Runner>> runner =
      MakeCpuRunner("nqueens", {.threads = flags.threads, .dispatch = flags.dispatch});
  if (!runner.ok()) return absl::InternalError(runner.status().message());
  if (Status test = (*runner)->SelfTest(); !test.ok()) return absl::InternalError(test.message());
  return std::move(runner).value();
}

std::string RecomputedText(const CertificateFindings& findings, uint64_t seed) {
  if (findings.recomputed == 0) return "no slice was recomputed";
  if (findings.recomputed == findings.totals.slices) return "all slices recomputed on this machine agree";
  const double share = static_cast<double>(findings.recomputed) / static_cast<double>(findings.totals.slices);
  const bool one = findings.recomputed == 1;
  return absl::StrCat(WithSeparators(absl::StrCat(findings.recomputed)), one ? " slice (" : " slices (", Percent(share),
                      ") recomputed on this machine ", one ? "agrees" : "agree", " (seed ", seed, ")");
}

void Print(const CertificateFindings& findings, uint64_t seed) {
  const std::string solutions = WithSeparators(findings.totals.counts.solutions.ToString());
  std::printf(
      "the certificate holds: %s slices cover all of %s subproblems of %u queens by %s; totals add up; %s; %s%s\n",
      WithSeparators(absl::StrCat(findings.totals.slices)).c_str(),
      WithSeparators(absl::StrCat(findings.header.index_space)).c_str(), findings.header.spec.n,
      std::string(nqueens::AlgorithmName(findings.header.spec.algorithm)).c_str(),
      RecomputedText(findings, seed).c_str(), solutions.c_str(),
      findings.published ? " is the published value" : " is the total, and none is published");
}

void PrintAsJson(const CertificateFindings& findings, uint64_t seed) {
  nlohmann::ordered_json json;
  json["holds"] = true;
  json["n"] = findings.header.spec.n;
  json["algorithm"] = nqueens::AlgorithmName(findings.header.spec.algorithm);
  json["solutions"] = findings.totals.counts.solutions.ToString();
  json["nodes"] = findings.totals.counts.nodes.ToString();
  json["published"] = nullptr;
  if (findings.published) json["published"] = *findings.published;
  json["index_space"] = findings.header.index_space;
  json["slices"] = findings.totals.slices;
  json["workers"] = findings.workers;
  json["verified_slices"] = findings.verified_slices;
  json["recomputed_slices"] = findings.recomputed;
  json["drawn_slices"] = findings.drawn;
  json["seed"] = seed;
  json["created"] = findings.header.created;
  json["version"] = findings.header.version;
  PrintJson(json);
}

}  // namespace

int RunVerify(const Args& args) {
  VerifyFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  absl::StatusOr<std::unique_ptr<CertificateReader>> reader = CertificateReader::Open(flags.file);
  if (!reader.ok()) return FailLocally(reader.status());
  ProgressDisplay display;
  CertificateCheckOptions options;
  options.sample = flags.sample.value_or(kUsualSample);
  if (!flags.sample) options.longest = kUsualTime;
  // Nobody who made the certificate may know which slices will be looked at.
  options.seed = flags.seed ? static_cast<uint64_t>(*flags.seed) : std::random_device()() & 0x7fffffff;
  options.now = AwakeNow;
  options.progress = [&display](uint64_t done, uint64_t drawn) {
    display.Show(absl::StrCat(done, " of at most ", drawn, " slices recomputed"));
  };
  const absl::StatusOr<CertificateFindings> findings =
      CheckCertificate(**reader, options, [&flags] { return MakeRunner(flags); });
  display.Clear();
  if (!findings.ok()) return FailLocally(findings.status());
  if (flags.json) {
    PrintAsJson(*findings, options.seed);
  } else {
    Print(*findings, options.seed);
  }
  return kExitOk;
}

}  // namespace potluck
