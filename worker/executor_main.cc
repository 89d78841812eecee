#include "worker/executor_main.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <deque>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/mutex.h"
#include "base/sha256.h"
#include "kernels/cnn/backend.h"
#include "kernels/cuda/loader.h"
#include "kernels/workload/registry.h"
#include "worker/child_blobs.h"
#include "worker/driver_probe.h"
#include "worker/frames.h"
#include "worker/result_file.h"

namespace potluck {
namespace {

constexpr int kBadArguments = 2;
// A probe whose parent is gone must not stay for ever with a driver that hangs.
constexpr unsigned kProbeSeconds = 120;

struct Arguments {
  DeviceSpec device;
  std::string scratch, shared_scratch;
  double slice_seconds = 2.0;
  bool when_idle = false;
  bool list_devices = false;
  bool probe_driver = false;
};

Result<Arguments> ParseArguments(const std::vector<std::string>& args) {
  Arguments parsed;
  for (size_t i = 0; i < args.size(); ++i) {
    const std::string& name = args[i];
    if (name == "--list-devices" || name == "--probe-driver" || name == "--when-idle") {
      (name == "--when-idle"      ? parsed.when_idle
       : name == "--probe-driver" ? parsed.probe_driver
                                  : parsed.list_devices) = true;
      continue;
    }
    if (++i == args.size()) return Status::Error("The option " + name + " lacks a value.");
    const std::string& value = args[i];
    bool good = true;
    if (name == "--device") {
      parsed.device.kind = value;
      good = value == "cpu" || value == "cuda";
    } else if (name == "--index") {
      good = absl::SimpleAtoi(value, &parsed.device.index) && parsed.device.index >= 0;
    } else if (name == "--threads") {
      good = absl::SimpleAtoi(value, &parsed.device.threads);
    } else if (name == "--dispatch") {
      parsed.device.dispatch = value;
    } else if (name == "--plugin") {
      parsed.device.plugin = value;
    } else if (name == "--onednn") {
      parsed.device.onednn_plugin = value;
    } else if (name == "--scratch") {
      parsed.scratch = value;
    } else if (name == "--shared-scratch") {
      parsed.shared_scratch = value;
    } else if (name == "--slice-seconds") {
      good = absl::SimpleAtod(value, &parsed.slice_seconds) && parsed.slice_seconds > 0;
    } else {
      return Status::Error("The option " + name + " is not known.");
    }
    if (!good) return Status::Error(absl::StrCat("The option ", name, " cannot be \"", value, "\"."));
  }
  return parsed;
}

// Makes a runner for each workload, one after the other, and lets it test itself.
Status SelfTest(const RunnerFactory& factory, const DeviceSpec& device) {
  for (const std::string& workload : factory.workloads) {
    const Result<std::unique_ptr<Runner>> runner = factory.make(workload, device);
    if (!runner.ok()) return runner.status();
    if (Status tested = (*runner)->SelfTest(); !tested.ok()) return tested;
  }
  return Status();
}

void PrintLine(const nlohmann::json& json) {
  std::printf("%s\n", json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace).c_str());
  // Each at once: what is known before a hang counts.
  std::fflush(stdout);
}

int ListDevices(const std::string& plugin, const RunnerFactory& factory) {
  alarm(kProbeSeconds);
  const Result<std::vector<PotluckCudaDevice>> devices = cuda::ListDevices(plugin);
  if (!devices.ok()) {
    PrintLine({{"error", devices.status().message()}});
    return 0;
  }
  for (size_t i = 0; i < devices->size(); ++i) {
    const PotluckCudaDevice& device = (*devices)[i];
    nlohmann::json line = {{"index", i},
                           {"name", std::string(device.name)},
                           {"uuid", std::string(device.uuid)},
                           {"memory_bytes", device.memory_bytes},
                           {"numerics_class", absl::StrCat("cuda/sm_", device.code_sm, "/", device.compute_major, ".",
                                                           device.compute_minor)},
                           {"compute", absl::StrCat(device.compute_major, ".", device.compute_minor)},
                           {"code_sm", static_cast<unsigned>(device.code_sm)}};
    DeviceSpec spec;
    spec.kind = "cuda";
    spec.index = static_cast<int>(i);
    spec.plugin = plugin;
    if (const Status tested = SelfTest(factory, spec); !tested.ok()) line["error"] = tested.message();
    PrintLine(line);
  }
  return 0;
}

// One conversation. The main thread owns the runner and computes; a second thread reads, steers the current run and
// ends the process when the input ends.
class Child {
 public:
  Child(const Arguments& arguments, const RunnerFactory& factory) : arguments_(arguments), factory_(factory) {}

  [[noreturn]] void Serve() {
    Send({.kind = FrameKind::kHello, .number = kExecutorProtocolVersion});
    std::thread([this] { ReadAll(); }).detach();
    const auto start = std::chrono::steady_clock::now();
    const Status tested = SelfTest(factory_, arguments_.device);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    const bool has_class = tested.ok() && factory_.backend_class != nullptr;
    Send({.kind = FrameKind::kReady,
          .seconds = took.count(),
          .text = tested.message(),
          .bytes = has_class ? factory_.backend_class(arguments_.device) : ""});
    while (true) {
      const Frame order = NextOrder();
      if (order.kind == FrameKind::kOpen) {
        Open(order);
      } else {
        Run(order);
      }
    }
  }

 private:
  void Send(const Frame& frame) {
    MutexLock lock(&write_mutex_);
    if (!WriteFrame(kExecutorFd, frame).ok()) _exit(0);  // Nobody is there to hear it.
  }

  [[noreturn]] void GiveUp(const std::string& sentence) {
    Send({.kind = FrameKind::kError, .text = sentence});
    _exit(1);
  }

  // The reading thread. Not exit(): nothing here needs a destructor, and one could wait for the device.
  [[noreturn]] void ReadAll() {
    FrameDecoder decoder;
    std::string buffer(size_t{1} << 16, '\0');
    while (true) {
      const ssize_t got = recv(kExecutorFd, buffer.data(), buffer.size(), 0);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) _exit(0);
      decoder.Append(std::string_view(buffer).substr(0, static_cast<size_t>(got)));
      while (true) {
        absl::StatusOr<std::optional<Frame>> frame = decoder.Next();
        if (!frame.ok()) GiveUp(std::string(frame.status().message()));
        if (!frame->has_value()) break;
        Handle(*std::move(*frame));
      }
    }
  }

  void Handle(Frame frame) {
    MutexLock lock(&mutex_);
    const bool is_current = control_ != nullptr && frame.lease == lease_;
    switch (frame.kind) {
      case FrameKind::kRun:
        if (control_ != nullptr) GiveUp("A run was asked for while another one is open.");
        lease_ = frame.lease;
        control_ = std::make_shared<RunControl>(frame.interval);
        blobs_.RunStarts(frame.lease);
        orders_.push_back(std::move(frame));
        ordered_.Signal();
        return;
      case FrameKind::kOpen:
        if (frame.number > frame.bytes.size() / kSha256Bytes) {
          GiveUp(absl::StrCat("A round is said to have ", frame.number, " blobs, whose digests are not there."));
        }
        orders_.push_back(std::move(frame));
        ordered_.Signal();
        return;
      case FrameKind::kShrink:
        // Under the mutex, so that it goes out before the run's kRunOver.
        if (is_current) {
          Send({.kind = FrameKind::kShrunk,
                .lease = frame.lease,
                .interval = {0, control_->Shrink(frame.number)},
                .number = frame.number});
        }
        return;
      case FrameKind::kCancel:
        if (is_current) {
          control_->Cancel();
          blobs_.RunEnds();
        }
        return;
      case FrameKind::kBlob:
        blobs_.Deliver(frame);
        return;
      default:
        GiveUp("A frame is of a kind that only an executor sends.");
    }
  }

  Frame NextOrder() {
    MutexLock lock(&mutex_);
    while (orders_.empty()) ordered_.Wait(&mutex_);
    Frame order = std::move(orders_.front());
    orders_.pop_front();
    return order;
  }

  // The device's own name for how it computes when nothing else is asked for.
  std::string DefaultImplementation() const {
    return arguments_.device.kind == "cpu" ? arguments_.device.dispatch : arguments_.device.kind;
  }

  // The runners open the round when they are first needed. Those of other implementations go: all together may not fit
  // in the device's memory.
  void Open(const Frame& order) {
    const std::string& workload = order.text;
    std::erase_if(runners_,
                  [&](const auto& runner) { return workload != workload_ || runner.first != DefaultImplementation(); });
    for (auto& [implementation, runner] : runners_) runner.has_round = false;
    workload_ = workload;
    const size_t payload_size = order.bytes.size() - order.number * kSha256Bytes;
    payload_ = order.bytes.substr(0, payload_size);
    bulk_.clear();
    for (size_t at = payload_size; at < order.bytes.size(); at += kSha256Bytes) {
      bulk_.push_back(order.bytes.substr(at, kSha256Bytes));
    }
    is_open_ = true;
  }

  // The runner of an implementation, with the round open; the default one where another does not work on this machine:
  // asked for again and again, that would keep whoever waits for the result waiting for ever.
  Result<Runner*> RunnerFor(const std::string& wanted) {
    if (!is_open_) return Status::Error("A run was asked for before a round was opened.");
    if (wanted.empty() || wanted == DefaultImplementation()) return OpenRunnerOf(DefaultImplementation());
    Result<Runner*> runner = OpenRunnerOf(wanted);
    if (runner.ok()) return runner;
    runners_.erase(wanted);
    return OpenRunnerOf(DefaultImplementation());
  }

  Result<Runner*> OpenRunnerOf(const std::string& implementation) {
    OpenRunner& open = runners_[implementation];
    if (open.runner == nullptr) {
      DeviceSpec device = arguments_.device;
      if (device.kind == "cpu") {
        device.dispatch = implementation;
      } else if (implementation != device.kind) {
        return Status::Error(
            absl::StrCat("implementation is \"", implementation, "\"; allowed on this device: ", device.kind, "."));
      }
      Result<std::unique_ptr<Runner>> made = factory_.make(workload_, device);
      if (!made.ok()) return made.status();
      // The default one's was at the start.
      const Status tested = implementation == DefaultImplementation() ? Status() : (*made)->SelfTest();
      if (!tested.ok()) return tested;
      open.runner = *std::move(made);
    }
    if (!open.has_round) {
      if (Status status = open.runner->Open({payload_, bulk_, &blobs_}); !status.ok()) return status;
      open.has_round = true;
    }
    return open.runner.get();
  }

  void Run(const Frame& order) {
    std::shared_ptr<RunControl> control;
    {
      MutexLock lock(&mutex_);
      control = control_;
    }
    const Result<Runner*> runner = RunnerFor(order.text);
    Status status = runner.ok() ? Status() : runner.status();
    Status unsent;
    if (status.ok()) {
      const auto report = [&](Interval interval, std::string_view payload, double busy_seconds) {
        if (!unsent.ok()) return;
        unsent = Report(order.lease, interval, payload, busy_seconds);
        if (!unsent.ok()) control->Cancel();
      };
      status = (*runner)->Run(order.interval, *control, {.slice_seconds = arguments_.slice_seconds}, report);
    }
    blobs_.RunEnds();
    MutexLock lock(&mutex_);
    control_ = nullptr;
    Send(
        {.kind = FrameKind::kRunOver, .lease = order.lease, .text = unsent.ok() ? status.message() : unsent.message()});
  }

  // Sends a slice, as a file if it is large.
  Status Report(LeaseId lease, Interval interval, std::string_view payload, double busy_seconds) {
    Frame slice{.kind = FrameKind::kSlice, .lease = lease, .interval = interval, .seconds = busy_seconds};
    if (payload.size() <= (arguments_.scratch.empty() ? kMaxFramePayload : kMaxInlineSliceBytes)) {
      slice.bytes = payload;
    } else if (arguments_.scratch.empty()) {
      return Status::Error(absl::StrCat("The result of ", ToString(interval), " has ", payload.size(),
                                        " bytes; allowed without a scratch folder: ", kMaxFramePayload, "."));
    } else {
      const std::string name = absl::StrCat("/", ResultFilePrefix(getpid()), ++files_);
      absl::Status written = absl::UnavailableError("");
      for (const std::string& folder : {arguments_.shared_scratch, arguments_.scratch}) {
        if (folder.empty() || written.ok()) continue;
        slice.text = folder + name;
        written = WriteResultFile(slice.text, payload);
      }
      if (!written.ok()) return Status::Error(std::string(written.message()));
    }
    Send(slice);
    return Status();
  }

  const Arguments arguments_;
  const RunnerFactory& factory_;
  struct OpenRunner {
    std::unique_ptr<Runner> runner;
    bool has_round = false;
  };
  // The main thread's.
  std::map<std::string, OpenRunner> runners_;  // By implementation.
  std::string workload_, payload_;
  std::vector<std::string> bulk_;  // Digests.
  uint64_t files_ = 0;             // Results that went as files.
  bool is_open_ = false;
  Mutex write_mutex_;
  Mutex mutex_ ABSL_ACQUIRED_BEFORE(write_mutex_);
  CondVar ordered_;
  std::deque<Frame> orders_ ABSL_GUARDED_BY(mutex_);
  LeaseId lease_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<RunControl> control_ ABSL_GUARDED_BY(mutex_);  // Null between runs.
  ChildBlobs blobs_{[this](const Frame& frame) { Send(frame); }};
};

}  // namespace

RunnerFactory RegistryFactory() {
  RunnerFactory factory;
  factory.workloads = WorkloadNames();
  factory.make = [](std::string_view workload, const DeviceSpec& device) {
    if (device.kind == "cuda") return MakeGpuRunner(workload, device.plugin, device.index);
    return MakeCpuRunner(workload, CpuOptions{device.threads, device.dispatch, device.onednn_plugin});
  };
  factory.backend_class = [](const DeviceSpec& device) {
    return device.kind == "cpu" ? cnn::CpuBackendClass(device.onednn_plugin) : std::string();
  };
  return factory;
}

int ExecutorMain(const std::vector<std::string>& args, const RunnerFactory& factory) {
  for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGPIPE}) signal(number, SIG_IGN);
  const Result<Arguments> arguments = ParseArguments(args);
  if (!arguments.ok()) {
    std::fprintf(stderr, "%s\n", arguments.status().message().c_str());
    return kBadArguments;
  }
  if (arguments->probe_driver) {
    alarm(kProbeSeconds);
    for (const nlohmann::json& line : DescribeDriver()) PrintLine(line);
    return 0;
  }
  if (arguments->list_devices) return ListDevices(arguments->device.plugin, factory);
  if (fcntl(kExecutorFd, F_SETFD, FD_CLOEXEC) != 0) {
    std::fprintf(stderr, "potluck executor is started by potluck join, which gives it descriptor %d.\n", kExecutorFd);
    return kBadArguments;
  }
  // Before there are threads: in Linux each has its own niceness and inherits its creator's.
  if (arguments->when_idle) setpriority(PRIO_PROCESS, 0, 19);
  Child(*arguments, factory).Serve();
}

}  // namespace potluck
