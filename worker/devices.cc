#include "worker/devices.h"

#include <poll.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/clock.h"
#include "kernels/cpu/dispatch.h"
#include "worker/cache_directory.h"
#include "worker/child_process.h"

namespace potluck {
namespace {

constexpr size_t kMaxProbeBytes = size_t{1} << 20;

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return file ? text.str() : "";
}

// Calls `use` with the folder of this process's control group and of each of its ancestors (version 2), and with the
// version 1 mounts for `controller`.
template <typename Use>
void ForEachControlGroup(const std::string& root, const std::string& controller, Use use) {
  const std::string mount = root + "/sys/fs/cgroup";
  use(mount);
  use(absl::StrCat(mount, "/", controller));
  const std::string groups = ReadText(root + "/proc/self/cgroup");
  for (absl::string_view line : absl::StrSplit(groups, '\n')) {
    if (!absl::ConsumePrefix(&line, "0::/")) continue;
    std::string folder = mount;
    for (const absl::string_view part : absl::StrSplit(line, '/', absl::SkipEmpty())) {
      absl::StrAppend(&folder, "/", part);
      use(folder);
    }
  }
}

// Quota over period, both in microseconds; infinity when there is no limit.
double QuotaThreads(const std::string& quota_text, const std::string& period_text) {
  int64_t quota = 0;
  int64_t period = 0;
  if (!absl::SimpleAtoi(quota_text, &quota) || !absl::SimpleAtoi(period_text, &period) || quota <= 0 || period <= 0) {
    return std::numeric_limits<double>::infinity();
  }
  return static_cast<double>(quota) / static_cast<double>(period);
}

// The number on the first line of /proc/cpuinfo or /proc/meminfo that starts with `key`; or the text.
std::string FieldOf(const std::string& path, const std::string& key) {
  const std::string text = ReadText(path);
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::ConsumePrefix(&line, key)) continue;
    const std::pair<absl::string_view, absl::string_view> parts = absl::StrSplit(line, absl::MaxSplits(':', 1));
    return std::string(absl::StripAsciiWhitespace(parts.second));
  }
  return "";
}

std::string Architecture() {
#if defined(__x86_64__)
  return "x86-64";
#elif defined(__aarch64__)
  return "arm64";
#else
  return "other";
#endif
}

std::string ProgramOf(const DeviceRequest& request) {
  return request.program.empty() ? "/proc/self/exe" : request.program;
}

DeviceSpec CpuDevice(const DeviceRequest& request, Dispatch dispatch) {
  DeviceSpec cpu;
  cpu.threads = request.threads > 0 ? request.threads : UsableThreads();
  cpu.dispatch = ToString(dispatch);
  cpu.name = CpuName();
  cpu.memory_bytes = UsableMemory();
  cpu.numerics_class = absl::StrCat("cpu/", cpu.dispatch, "/", Architecture());
  cpu.onednn_plugin =
      request.onednn_plugin.empty() ? PathBeside(request.program, "libpotluck_onednn.so") : request.onednn_plugin;
  cpu.implementations = {cpu.dispatch};
  for (const Dispatch other : SupportedDispatches()) {
    // Who forces a path may have a reason not to trust the others here.
    if (request.dispatch == "auto" && other != dispatch) cpu.implementations.emplace_back(ToString(other));
  }
  return cpu;
}

absl::Status CheckRequest(const DeviceRequest& request) {
  if (request.device != "auto" && request.device != "cpu" && request.device != "cuda") {
    return absl::InvalidArgumentError(absl::StrCat("device is \"", request.device, "\"; allowed: auto, cpu, cuda."));
  }
  if (request.threads < 0 || request.threads > 4096) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads is ", request.threads, "; allowed: 0 (all cores) to 4096."));
  }
  const Result<Dispatch> dispatch = ChooseDispatch(request.dispatch);
  return dispatch.ok() ? absl::OkStatus() : absl::InvalidArgumentError(dispatch.status().message());
}

void AddNote(const std::string& sentence, std::string& note) {
  absl::StrAppend(&note, note.empty() ? "" : " ", sentence);
}

// All that the probe writes until its end, or until `limit`; says in `note` when it did not end well.
std::string RunProbe(const DeviceRequest& request, const std::vector<std::string>& arguments, std::string& note) {
  absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(ProgramOf(request), arguments, 1);
  if (!child.ok()) {
    AddNote(std::string(child.status().message()), note);
    return "";
  }
  const absl::Time deadline = AwakeNow() + request.probe_limit;
  std::string output;
  while (output.size() < kMaxProbeBytes) {
    pollfd watched{child->fd(), POLLIN, 0};
    const int ready = poll(&watched, 1, PollMilliseconds(deadline - AwakeNow()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) {
      AddNote(absl::StrCat("The GPU driver did not answer within ", absl::FormatDuration(request.probe_limit),
                           "; run nvidia-smi to see whether it works."),
              note);
      child->Kill();
      return output;
    }
    char buffer[4096];
    const ssize_t got = recv(child->fd(), buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    output.append(buffer, static_cast<size_t>(got));
  }
  const std::string end = child->WaitForExit(deadline - AwakeNow()).value_or("did not end");
  if (end != "exited with status 0") {
    AddNote(absl::StrCat("The search for GPUs ", end, "; run nvidia-smi to see whether the driver works."), note);
  }
  return output;
}

std::string PluginOf(const DeviceRequest& request) {
  return request.plugin.empty() ? GpuPluginPath(request.program) : request.plugin;
}

std::string ListDevices(const DeviceRequest& request, const std::string& plugin, std::string& note) {
  return RunProbe(request, {"executor", "--list-devices", "--plugin", plugin}, note);
}

// The fields of one line of a probe's output; empty or 0 where they are missing.
class ProbeLine {
 public:
  explicit ProbeLine(absl::string_view line)
      : json_(nlohmann::json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false)) {}
  bool is_object() const { return json_.is_object(); }
  std::string text(const char* key) const {
    const auto at = json_.find(key);
    return at != json_.end() && at->is_string() ? at->get<std::string>() : std::string();
  }
  uint64_t number(const char* key) const {
    const auto at = json_.find(key);
    return at != json_.end() && at->is_number_unsigned() ? at->get<uint64_t>() : 0;
  }

 private:
  const nlohmann::json json_;
};

// Calls `use` for each line, in order; says in `note` what is not one.
void ForEachLine(const std::string& output, std::string& note, const std::function<void(const ProbeLine&)>& use) {
  for (const absl::string_view text : absl::StrSplit(output, '\n', absl::SkipEmpty())) {
    const ProbeLine line(text);
    if (line.is_object()) {
      use(line);
    } else {
      AddNote("The search for GPUs printed a line that is not a JSON object.", note);
    }
  }
}

// Lines that speak of no GPU go into `note`.
std::vector<ProbedGpu> ParseGpus(const std::string& output, std::string& note) {
  std::vector<ProbedGpu> gpus;
  ForEachLine(output, note, [&](const ProbeLine& line) {
    ProbedGpu gpu{.index = static_cast<int>(line.number("index")),
                  .name = line.text("name"),
                  .uuid = line.text("uuid"),
                  .memory_bytes = line.number("memory_bytes"),
                  .numerics_class = line.text("numerics_class"),
                  .compute = line.text("compute"),
                  .code_sm = static_cast<int>(line.number("code_sm")),
                  .error = line.text("error")};
    if (!gpu.error.empty() && gpu.name.empty()) {
      AddNote(gpu.error, note);
    } else {
      gpus.push_back(std::move(gpu));
    }
  });
  return gpus;
}

}  // namespace

std::vector<DeviceSpec> ParseProbe(const std::string& output, const std::string& plugin, std::string& note) {
  std::vector<DeviceSpec> found;
  for (const ProbedGpu& probed : ParseGpus(output, note)) {
    if (!probed.error.empty()) {
      AddNote(absl::StrCat("GPU ", probed.index, " (", probed.name, ") is not used: ", probed.error), note);
      continue;
    }
    DeviceSpec gpu;
    gpu.kind = "cuda";
    gpu.index = probed.index;
    gpu.plugin = plugin;
    gpu.name = probed.name;
    gpu.id = probed.uuid;
    gpu.memory_bytes = probed.memory_bytes;
    gpu.numerics_class = probed.numerics_class;
    gpu.implementations = {gpu.kind};
    found.push_back(gpu);
  }
  return found;
}

GpuProbe ProbeGpus(const DeviceRequest& request) {
  GpuProbe probe;
  probe.plugin = PluginOf(request);
  probe.gpus = ParseGpus(ListDevices(request, probe.plugin, probe.note), probe.note);
  return probe;
}

DriverProbe ProbeDriver(const DeviceRequest& request) {
  DriverProbe probe;
  const std::string output = RunProbe(request, {"executor", "--probe-driver"}, probe.note);
  ForEachLine(output, probe.note, [&](const ProbeLine& line) {
    if (line.number("has_driver") != 0) {
      probe.has_driver = true;
      probe.cuda_version = static_cast<int>(line.number("cuda_version"));
    } else if (const std::string error = line.text("error"); !error.empty()) {
      AddNote(error, probe.note);
    } else {
      probe.gpus.push_back({static_cast<int>(line.number("index")), line.text("name"), line.number("memory_bytes"),
                            line.text("compute")});
    }
  });
  return probe;
}

// An absolute path: a plug-in must never come from whatever folder somebody happens to be in.
std::string PathBeside(const std::string& program, const char* name) {
  const std::string path = program.empty() ? "/proc/self/exe" : program;
  std::error_code error;
  std::filesystem::path file = std::filesystem::canonical(path, error);
  // A program that was replaced while it runs has no canonical path; its link still names the folder.
  if (error) file = std::filesystem::read_symlink(path, error);
  if (error) file = std::filesystem::absolute(path, error);
  return (file.parent_path() / name).string();
}

std::string GpuPluginPath(const std::string& program) {
  const std::string beside = PathBeside(program, "libpotluck_cuda.so");
  const std::string folder = BuiltPluginDirectory();
  if (folder.empty()) return beside;
  const std::string built = folder + "/libpotluck_cuda.so";
  std::error_code no_built, no_beside;
  const auto built_at = std::filesystem::last_write_time(built, no_built);
  const auto beside_at = std::filesystem::last_write_time(beside, no_beside);
  // What was installed after the build is not older news.
  return !no_built && (no_beside || built_at > beside_at) ? built : beside;
}

absl::StatusOr<FoundDevices> FindDevices(const DeviceRequest& request) {
  if (const absl::Status checked = CheckRequest(request); !checked.ok()) return checked;
  FoundDevices found;
  found.cpu = CpuDevice(request, *ChooseDispatch(request.dispatch));
  if (request.device != "cpu") {
    const std::string plugin = PluginOf(request);
    const std::string output = ListDevices(request, plugin, found.gpu_note);
    found.devices = ParseProbe(output, plugin, found.gpu_note);
    if (found.devices.empty() && found.gpu_note.empty()) found.gpu_note = "The GPU driver lists no device.";
    if (found.devices.empty() && request.device == "cuda") {
      return absl::NotFoundError(absl::StrCat("device is \"cuda\", but no GPU can be used: ", found.gpu_note));
    }
  }
  if (found.devices.empty()) found.devices.push_back(found.cpu);
  return found;
}

int UsableThreads(const std::string& root) {
  // Machines with more processors than a cpu_set_t holds refuse the call; their group's quota still counts.
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  double threads = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : CPU_SETSIZE;
  ForEachControlGroup(root, "cpu", [&threads](const std::string& folder) {
    const std::vector<std::string> parts =
        absl::StrSplit(ReadText(folder + "/cpu.max"), absl::ByAnyChar(" \n"), absl::SkipEmpty());
    if (parts.size() == 2) threads = std::min(threads, QuotaThreads(parts[0], parts[1]));
    threads = std::min(threads,
                       QuotaThreads(ReadText(folder + "/cpu.cfs_quota_us"), ReadText(folder + "/cpu.cfs_period_us")));
  });
  return std::max(1, static_cast<int>(std::ceil(threads)));
}

uint64_t UsableMemory(const std::string& root) {
  uint64_t kibibytes = 0;
  std::string total = FieldOf(root + "/proc/meminfo", "MemTotal");
  total.resize(std::min(total.find(' '), total.size()));
  if (!absl::SimpleAtoi(total, &kibibytes)) return 0;
  uint64_t bytes = kibibytes * 1024;
  ForEachControlGroup(root, "memory", [&bytes](const std::string& folder) {
    for (const char* const file : {"/memory.max", "/memory.limit_in_bytes"}) {
      uint64_t limit = 0;
      if (absl::SimpleAtoi(ReadText(folder + file), &limit) && limit > 0) bytes = std::min(bytes, limit);
    }
  });
  return bytes;
}

std::string CpuName(const std::string& root) {
  const std::string name = FieldOf(root + "/proc/cpuinfo", "model name");
  return name.empty() ? Architecture() + " processor" : name;
}

}  // namespace potluck
