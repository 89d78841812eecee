// The child of executor_test: an executor that computes nothing and misbehaves on demand.
//
// --dispatch says how it starts: "fake" as it should; "exit", "old-hello" and "garbage" instead of a conversation;
// "hang-at-start" and "sick" (a failed self-test). "auto" has the runners of the registry. A round's payload says how
// its runs go (FakeRunner). With --list-devices, --plugin says what is found.
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <sstream>
#include <string>
#include <vector>

#include "worker/executor_main.h"
#include "worker/frames.h"

namespace potluck {
namespace {

constexpr size_t kLargeResult = 1'200'000;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

[[noreturn]] void Hang() {
  while (true) pause();
}

// Slices of one index, whose payload is "payload/index". Before the index after the colon, a payload of
//   crash:K   aborts,
//   fail:K    returns an error,
//   hang:K    hangs and obeys nothing,
//   gate:K    waits until it is shrunk or cancelled, then goes on,
//   fetch:K   fetches the round's first blob, whose path is the result from there on,
//   prefetch:K  prefetches all of the round's blobs,
//   echo:K    fetches it, and its bytes are the result,
//   large:K   makes that result 1,200,000 bytes long,
//   skip:K    leaves that index out,
//   lose:K    ends as if it had reached the end.
// "bad" cannot be opened. `label` stands before each result.
class FakeRunner : public Runner {
 public:
  FakeRunner(const std::string& mode, const std::string& label) : mode_(mode), label_(label) {}

  Status SelfTest() override {
    if (mode_ == "hang-at-start") Hang();
    return mode_ == "sick" ? Status::Error("2 + 2 is 5 on this device.") : Status();
  }

  Status Open(const RoundInput& round) override {
    payload_ = round.payload;
    bulk_.assign(round.bulk.begin(), round.bulk.end());
    blobs_ = round.blobs;
    if (payload_ == "bad") return Status::Error("The round is bad.");
    const size_t colon = payload_.find(':');
    action_ = payload_.substr(0, colon);
    at_ = colon == std::string::npos ? std::numeric_limits<uint64_t>::max() : std::stoull(payload_.substr(colon + 1));
    return Status();
  }

  Status Run(Interval interval, RunControl& control, const RunOptions&, const SliceSink& sink) override {
    for (uint64_t begin = interval.begin; begin < interval.end;) {
      if (begin == at_) {
        if (action_ == "crash") abort();
        if (action_ == "fail") return Status::Error("The device has failed.");
        if (action_ == "hang") Hang();
        if (action_ == "lose") return Status();
        if (action_ == "skip") ++begin;
        if (action_ == "prefetch") blobs_->Prefetch(bulk_);
        if (action_ == "fetch" || action_ == "echo") {
          const Result<std::string> path = blobs_->Fetch(bulk_[0]);
          if (!path.ok()) return path.status();
          if (action_ == "fetch") payload_ = *path;
          if (action_ == "echo") content_ = ReadFile(*path);
        }
        while (action_ == "gate" && control.End() == interval.end && !control.cancelled()) sched_yield();
      }
      const uint64_t end = control.Claim(begin, begin + 1);
      if (end == begin) break;
      std::string result = label_ + payload_ + "/" + std::to_string(begin);
      if (action_ == "large" && begin == at_) result.append(kLargeResult - result.size(), '#');
      if (action_ == "echo" && begin == at_) result = content_;
      sink({begin, end}, result, 0.5);
      begin = end;
    }
    return Status();
  }

 private:
  std::string mode_;
  std::string label_;
  std::string payload_;
  std::string action_;
  std::string content_;
  std::vector<std::string> bulk_;
  BlobSource* blobs_ = nullptr;
  uint64_t at_ = 0;
};

int ListDevices(const std::string& plugin) {
  if (plugin == "hang" || plugin == "two-then-hang" || plugin == "two") {
    if (plugin != "hang") {
      std::puts(R"({"index":0,"name":"Fake A","memory_bytes":16,"numerics_class":"cuda/sm_75/7.5"})");
      std::puts(R"({"index":1,"name":"Fake B","error":"It is broken."})");
      std::fflush(stdout);
    }
    if (plugin != "two") Hang();
    return 0;
  }
  if (plugin == "crash") abort();
  return -1;
}

int Main(const std::vector<std::string>& args) {
  const auto value_of = [&args](const std::string& option) {
    const auto at = std::find(args.begin(), args.end(), option);
    return at == args.end() || at + 1 == args.end() ? std::string() : *(at + 1);
  };
  const std::string mode = value_of("--dispatch");
  if (std::find(args.begin(), args.end(), "--list-devices") != args.end()) {
    if (const int done = ListDevices(value_of("--plugin")); done >= 0) return done;
  }
  if (mode == "auto") return ExecutorMain(args, RegistryFactory());
  if (mode == "exit") return 7;
  if (mode == "old-hello") {
    Frame hello;
    hello.kind = FrameKind::kHello;
    hello.number = 99;
    if (!WriteFrame(kExecutorFd, hello).ok()) return 1;
    Hang();
  }
  if (mode == "garbage") {
    const std::string text = "Segmentation fault? No: a library that prints where it should not.";
    if (write(kExecutorFd, text.data(), text.size()) < 0) return 1;
    Hang();
  }
  RunnerFactory factory;
  factory.workloads = {"fake"};
  factory.make = [mode](std::string_view, const DeviceSpec& device) -> Result<std::unique_ptr<Runner>> {
    const std::string label = device.dispatch == mode ? "" : device.dispatch + " ";  // Another implementation.
    return std::unique_ptr<Runner>(std::make_unique<FakeRunner>(device.dispatch, label));
  };
  factory.backend_class = [](const DeviceSpec&) { return std::string("reference/test"); };
  return ExecutorMain(args, factory);
}

}  // namespace
}  // namespace potluck

int main(int argc, char** argv) {
  // After "executor", as in the real program.
  return potluck::Main(std::vector<std::string>(argv + std::min(argc, 2), argv + argc));
}
