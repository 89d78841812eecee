#include "cli/doctor_local.h"

#include <fcntl.h>
#include <gnu/libc-version.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "cli/output.h"
#include "worker/cache_directory.h"

namespace potluck {
namespace {

constexpr double kGibibyte = 1024.0 * 1024 * 1024;
constexpr uint64_t kLittleMemory = uint64_t{1} << 30;
constexpr uint64_t kLittleDisk = uint64_t{1} << 30;
constexpr size_t kTrialBytes = size_t{1} << 20;
constexpr absl::Duration kShortSession = absl::Minutes(30);

std::string Gibibytes(uint64_t bytes) { return absl::StrFormat("%.3g GiB", static_cast<double>(bytes) / kGibibyte); }

// The value of KEY=value in a file like /etc/os-release, without quotes.
std::string ValueIn(const std::string& path, absl::string_view key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    absl::string_view value = line;
    if (!absl::ConsumePrefix(&value, key) || !absl::ConsumePrefix(&value, "=")) continue;
    absl::ConsumePrefix(&value, "\"");
    absl::ConsumeSuffix(&value, "\"");
    return std::string(value);
  }
  return "";
}

// MemAvailable, bytes; 0: not known.
uint64_t AvailableMemory() {
  std::ifstream file("/proc/meminfo");
  for (std::string line; std::getline(file, line);) {
    absl::string_view value = line;
    uint64_t kibibytes = 0;
    if (!absl::ConsumePrefix(&value, "MemAvailable:") || !absl::ConsumeSuffix(&value, " kB")) continue;
    return absl::SimpleAtoi(value, &kibibytes) ? kibibytes * 1024 : 0;
  }
  return 0;
}

// Writes a file of kTrialBytes into the directory and removes it; the error number, 0 if that went well.
int TryToWrite(const std::string& directory) {
  std::string name = directory + "/doctor.XXXXXX";
  const int file = mkostemp(name.data(), O_CLOEXEC);
  if (file < 0) return errno;
  const std::string bytes(kTrialBytes, 'x');
  errno = 0;
  const ssize_t written = write(file, bytes.data(), bytes.size());
  int error = written == static_cast<ssize_t>(bytes.size()) ? 0 : errno == 0 ? ENOSPC : errno;
  if (error == 0 && fsync(file) != 0) error = errno;
  close(file);
  unlink(name.c_str());
  return error;
}

}  // namespace

CheckRow CheckPlatform(const Platform& platform, bool has_gpu, absl::Duration age) {
  const absl::Duration left = SessionLeft(platform, has_gpu, age);
  CheckRow row = OkRow("platform", platform.title);
  if (!platform.limits.empty()) absl::StrAppend(&row.message, ": ", absl::StripSuffix(platform.limits, "."));
  row.data = {{"name", platform.name}, {"session_age_seconds", absl::ToInt64Seconds(age)}};
  if (left == absl::InfiniteDuration()) return row;
  row.data["session_left_seconds"] = absl::ToInt64Seconds(left);
  absl::StrAppend(&row.message, "; ", TimeText(left), " of this session are left if it began ", TimeText(age), " ago");
  if (left >= kShortSession) return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "start a new session before you join: this one is about to end";
  return row;
}

CheckRow CheckRule(const Platform& platform) {
  if (platform.rule.empty()) return OkRow("rule", "no rule about workers is known here");
  CheckRow row = OkRow("rule", absl::StrCat(absl::StripSuffix(platform.rule, ".")));
  row.data = {{"restricts", platform.restricts}, {"source", platform.source}, {"dated", platform.dated}};
  if (!platform.source.empty()) absl::StrAppend(&row.message, " (", platform.source, ", ", platform.dated, ")");
  if (!platform.restricts) return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "read the rule; `potluck join` asks you to confirm it with --confirm-platform-rules";
  return row;
}

CheckRow CheckSystem() {
  utsname system{};
  uname(&system);
  std::string name = ValueIn("/etc/os-release", "PRETTY_NAME");
  if (name.empty()) name = system.sysname;
  CheckRow row = OkRow("system", absl::StrCat(name, ", Linux ", system.release, ", glibc ", gnu_get_libc_version(),
                                              ", ", system.machine));
  row.data = {
      {"name", name}, {"kernel", system.release}, {"glibc", gnu_get_libc_version()}, {"architecture", system.machine}};
  return row;
}

CheckRow CheckCpu(const DeviceSpec& cpu) {
  CheckRow row = OkRow("cpu", absl::StrCat(cpu.name, ", code path ", cpu.dispatch));
  row.data = {{"name", cpu.name}, {"dispatch", cpu.dispatch}, {"implementations", cpu.implementations}};
  if (cpu.dispatch != "scalar") return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "this processor shows no AVX2, or hides it: the portable code path is several times slower";
  return row;
}

CheckRow CheckThreads(int usable, int on_board) {
  CheckRow row = OkRow("threads", absl::StrCat(usable, usable == 1 ? " is" : " are", " usable here"));
  row.data = {{"usable", usable}, {"machine", on_board}};
  if (usable < on_board) absl::StrAppend(&row.message, ", of ", on_board, " that the machine has");
  return row;
}

CheckRow CheckMemory(uint64_t usable_bytes, uint64_t available_bytes) {
  CheckRow row = OkRow("memory", absl::StrCat(Gibibytes(usable_bytes), ", ", Gibibytes(available_bytes), " available"));
  row.data = {{"usable_bytes", usable_bytes}, {"available_bytes", available_bytes}};
  if (available_bytes == 0 || available_bytes >= kLittleMemory) return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "end other programs: large boards and training need more than 1 GiB";
  return row;
}

CheckRow CheckClock(absl::Time now) {
  CheckRow row = OkRow("clock", DateText(absl::ToUnixMillis(now)));
  row.data = {{"unix_ms", absl::ToUnixMillis(now)}};
  // No copy of this program is older.
  if (now >= absl::FromCivil(absl::CivilDay(2026, 1, 1), absl::UTCTimeZone())) return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "set this machine's clock: certificates look as if they were not valid yet";
  return row;
}

CheckRow CheckCache(const std::string& directory) {
  const std::string elsewhere =
      "set XDG_CACHE_HOME to a folder that can be written, or give `potluck join` --cache DIR";
  if (directory.empty()) {
    return WarnRow("cache", "there is no home folder to keep data sets and this installation's id in", elsewhere);
  }
  if (const int error = TryToWrite(directory); error == ENOSPC || error == EDQUOT) {
    return FailRow(
        "cache", absl::StrCat("no disk space: 1 MiB cannot be written to ", directory, " (", std::strerror(error), ")"),
        absl::StrCat("free some disk space, or ", elsewhere));
  } else if (error != 0) {
    return FailRow("cache", absl::StrCat(directory, " cannot be written: ", std::strerror(error)), elsewhere);
  }
  struct statvfs disk {};
  if (statvfs(directory.c_str(), &disk) != 0) return OkRow("cache", absl::StrCat(directory, " can be written"));
  const uint64_t free_bytes = uint64_t{disk.f_bavail} * disk.f_frsize;
  CheckRow row = OkRow("cache", absl::StrCat(directory, " can be written, ", Gibibytes(free_bytes), " free"));
  row.data = {{"directory", directory}, {"free_bytes", free_bytes}};
  if (free_bytes >= kLittleDisk) return row;
  row.status = CheckStatus::kWarn;
  row.remedy = "free some disk space, or give `potluck join` a smaller --cache-size: data sets are kept there";
  return row;
}

CheckRow CheckDeviceRate(const std::string& check, const std::string& name, const absl::StatusOr<DeviceRate>& rate) {
  if (!rate.ok()) {
    return FailRow(check, absl::StrCat(name, " fails its self-test: ", absl::StripSuffix(rate.status().message(), ".")),
                   "do not join with this device: its results would be refused");
  }
  CheckRow row =
      OkRow(check, absl::StrCat("self-test passed in ", TimeText(rate->self_test), "; ", rate->n, " queens rightly in ",
                                TimeText(absl::Seconds(rate->seconds)), ", ", Metric(rate->nodes_per_second),
                                "nodes/s, ", Metric(rate->solutions_per_second), "solutions/s by backtracking"));
  row.data = {{"name", name},
              {"self_test_seconds", absl::ToDoubleSeconds(rate->self_test)},
              {"n", rate->n},
              {"seconds", rate->seconds},
              {"nodes_per_second", rate->nodes_per_second},
              {"solutions_per_second", rate->solutions_per_second}};
  return row;
}

CheckRow CheckOnednn(bool is_there, const std::string& path, const std::string& backend_class) {
  if (!is_there) {
    return WarnRow("onednn", absl::StrCat("the CPU plug-in ", path, " is not there: training uses slower code"),
                   "take libpotluck_onednn.so and libdnnl.so.3 of the same release and put them beside the program");
  }
  CheckRow row = OkRow("onednn", absl::StrCat("the CPU plug-in is used for training (", backend_class, ")"));
  row.data = {{"plugin", path}, {"backend_class", backend_class}};
  if (absl::StrContains(backend_class, "onednn")) return row;
  row.status = CheckStatus::kWarn;
  row.message = absl::StrCat("the CPU plug-in ", path, " is there but is not used: it does not load here");
  row.remedy = "put libdnnl.so.3 of the same release beside it";
  return row;
}

void LocalChecks(DoctorReport& report) {
  const Platform& platform = ThisPlatform();
  const GpuFindings gpus = FindGpus({}, platform);
  report.Add(CheckPlatform(platform, !gpus.driver.gpus.empty(), SessionAge()));
  report.Add(CheckRule(platform));
  report.Add(CheckSystem());
  DeviceRequest request;
  request.device = "cpu";
  const absl::StatusOr<FoundDevices> found = FindDevices(request);
  if (!found.ok()) {
    report.Add(FailRow("cpu", std::string(found.status().message()), "run this on a machine with another processor"));
    return;
  }
  const DeviceSpec& cpu = found->cpu;
  report.Add(CheckCpu(cpu));
  report.Add(CheckThreads(UsableThreads(), static_cast<int>(sysconf(_SC_NPROCESSORS_ONLN))));
  report.Add(CheckMemory(UsableMemory(), AvailableMemory()));
  report.Add(CheckClock(absl::Now()));
  report.Add(CheckCache(CacheDirectory()));
  const absl::StatusOr<DeviceRate> rate = CheckDevice(cpu);
  report.Add(CheckDeviceRate("cpu-test", cpu.name, rate));
  std::error_code error;
  report.Add(CheckOnednn(std::filesystem::exists(cpu.onednn_plugin, error), cpu.onednn_plugin,
                         rate.ok() ? rate->backend_class : ""));
  for (CheckRow& row : CheckGpus(gpus)) report.Add(std::move(row));
  for (const ProbedGpu& gpu : gpus.plugin.gpus) {
    if (!gpu.error.empty()) continue;
    DeviceSpec spec;
    spec.kind = "cuda";
    spec.index = gpu.index;
    spec.plugin = gpus.plugin.plugin;
    report.Add(CheckDeviceRate("gpu-test", absl::StrCat("GPU ", gpu.index, " (", gpu.name, ")"), CheckDevice(spec)));
  }
}

}  // namespace potluck
