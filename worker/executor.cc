#include "worker/executor.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "worker/child_process.h"
#include "worker/executor_main.h"
#include "worker/frames.h"

namespace potluck {
namespace {

std::vector<std::string> ChildArguments(const ExecutorOptions& options) {
  const DeviceSpec& device = options.device;
  std::vector<std::string> args = {"executor", "--device", device.kind, "--dispatch", device.dispatch};
  args.insert(args.end(), {"--index", absl::StrCat(device.index), "--threads", absl::StrCat(device.threads)});
  args.insert(args.end(), {"--slice-seconds", absl::StrCat(options.slice_seconds)});
  if (!device.plugin.empty()) args.insert(args.end(), {"--plugin", device.plugin});
  if (!device.onednn_plugin.empty()) args.insert(args.end(), {"--onednn", device.onednn_plugin});
  if (!options.scratch.empty()) args.insert(args.end(), {"--scratch", options.scratch});
  if (!options.shared_scratch.empty()) args.insert(args.end(), {"--shared-scratch", options.shared_scratch});
  if (options.when_idle) args.emplace_back("--when-idle");
  return args;
}

struct OpenRound {
  RoundKey key;
  std::string workload;
  std::string payload;
  std::vector<std::string> bulk;
  friend bool operator==(const OpenRound&, const OpenRound&) = default;
};

struct PendingRun {
  LeaseId lease;
  OpenRound round;
  std::string implementation;
  Interval rest;  // From the first index not reported yet to the end that holds.
  bool sent = false;
  std::set<std::string> needs = {};               // Blobs that it waits for.
  absl::Time cancel_by = absl::InfiniteFuture();  // Set once it is cancelled.

  bool cancelled() const { return cancel_by != absl::InfiniteFuture(); }
};

}  // namespace

// All that the thread knows. Only that thread touches it, so there is no lock.
class Executor::Loop {
 public:
  explicit Loop(Executor& executor)
      : executor_(executor), options_(executor.options_), events_(executor.events_), read_buffer_(1 << 16, '\0') {}

  void Main() {
    std::vector<Order> orders;
    while (true) {
      const bool go_on = executor_.Take(orders);
      for (Order& order : orders) order(*this);
      orders.clear();
      if (!go_on) break;
      CheckLimits();
      if (child_ == nullptr && AwakeNow() >= restart_at_) Start();
      StartNextRun();
      Wait();
    }
    Finish();
  }

  // ---- Orders
  void Add(PendingRun run) {
    if (run.round.payload.size() + run.round.workload.size() + run.round.bulk.size() * kSha256Bytes >
        kMaxFramePayload) {
      events_.OnRunOver(run.lease,
                        absl::InvalidArgumentError(absl::StrCat("The round's payload has ", run.round.payload.size(),
                                                                " bytes; allowed: ", kMaxFramePayload, ".")));
      return;
    }
    runs_.push_back(std::move(run));
  }

  void Shrink(LeaseId lease, uint64_t end) {
    const auto run = Find(lease);
    if (run == runs_.end()) return;
    if (run->sent) {
      Send({.kind = FrameKind::kShrink, .lease = lease, .number = end});
      return;
    }
    run->rest.end = std::max(run->rest.begin, std::min(run->rest.end, end));
    events_.OnShrunk(lease, end, run->rest.end);
  }

  void Cancel(LeaseId lease) {
    const auto run = Find(lease);
    if (run == runs_.end() || run->cancelled()) return;
    run->needs.clear();
    if (run->sent) {
      run->cancel_by = AwakeNow() + options_.cancel_limit;
      Send({.kind = FrameKind::kCancel, .lease = lease});
      return;
    }
    runs_.erase(run);
    events_.OnRunOver(lease, absl::CancelledError("It was cancelled before it began."));
  }

  void AnswerBlob(LeaseId lease, const std::string& digest, const absl::StatusOr<std::string>& path) {
    PendingRun* const run = Current();
    if (run == nullptr || run->lease != lease || run->needs.erase(digest) == 0) return;
    Send({.kind = FrameKind::kBlob,
          .lease = lease,
          .number = path.ok() ? uint64_t{0} : uint64_t{1},
          .text = path.ok() ? *path : std::string(path.status().message()),
          .bytes = digest});
    HeardOf(*run);
  }

 private:
  std::string DeviceName() const { return absl::StrCat(options_.device.kind, " ", options_.device.index); }

  std::deque<PendingRun>::iterator Find(LeaseId lease) {
    return std::find_if(runs_.begin(), runs_.end(), [lease](const PendingRun& run) { return run.lease == lease; });
  }

  // The run that the child is at; null when it is idle.
  PendingRun* Current() { return !runs_.empty() && runs_.front().sent ? &runs_.front() : nullptr; }

  // ---- The child's life
  void Start() {
    absl::StatusOr<ChildProcess> child = ChildProcess::Spawn(options_.program, ChildArguments(options_), kExecutorFd);
    if (!child.ok()) {
      Died(child.status());
      return;
    }
    child_ = std::make_unique<ChildProcess>(*std::move(child));
    start_by_ = AwakeNow() + options_.start_limit;
  }

  // It has said something, or now has what it waited for.
  void HeardOf(const PendingRun& run) {
    speak_by_ = run.needs.empty() ? AwakeNow() + options_.silence_limit : absl::InfiniteFuture();
  }

  // Results that a child did not live to report.
  void RemoveResultFiles(pid_t pid) const {
    for (const std::string& folder : {options_.shared_scratch, options_.scratch}) {
      std::error_code error;
      if (folder.empty()) continue;
      for (const auto& file : std::filesystem::directory_iterator(folder, error)) {
        if (!absl::StartsWith(file.path().filename().string(), ResultFilePrefix(pid))) continue;
        std::error_code ignored;
        std::filesystem::remove(file.path(), ignored);
      }
    }
  }

  // Kills the child for what it did.
  void Kill(const std::string& sentence) {
    child_->Kill();
    Died(absl::AbortedError(absl::StrCat("The executor of ", DeviceName(), " was ended: ", sentence)));
  }

  void Died(const absl::Status& status) {
    const bool was_ready = ready_;
    if (child_ != nullptr) RemoveResultFiles(child_->pid());
    child_.reset();
    decoder_ = FrameDecoder();
    outbox_.clear();
    open_.reset();
    last_words_.clear();
    greeted_ = ready_ = false;
    ++deaths_;
    const absl::Duration pause = options_.back_off ? options_.back_off(deaths_) : DefaultBackOff(deaths_);
    restart_at_ = AwakeNow() + pause;
    // A run that waits goes on in the next child, unless there may never be one.
    const absl::Status over = absl::AbortedError(status.message());
    while (!runs_.empty() && (runs_.front().sent || !was_ready)) FrontIsOver(over);
    events_.OnDied(status, pause);
  }

  void FrontIsOver(const absl::Status& status) {
    const PendingRun run = std::move(runs_.front());
    runs_.pop_front();
    events_.OnRunOver(run.lease, run.cancelled() && !status.ok() ? absl::CancelledError(status.message()) : status);
  }

  void StartNextRun() {
    while (ready_ && !runs_.empty() && !runs_.front().sent) {
      PendingRun& run = runs_.front();
      if (!self_test_.ok() || run.rest.empty()) {
        FrontIsOver(self_test_);
        continue;
      }
      if (open_ != run.round) {
        Frame open{.kind = FrameKind::kOpen, .number = run.round.bulk.size(), .text = run.round.workload};
        open.bytes = run.round.payload;
        for (const std::string& digest : run.round.bulk) open.bytes += digest;
        Send(open);
        open_ = run.round;
      }
      Send({.kind = FrameKind::kRun, .lease = run.lease, .interval = run.rest, .text = run.implementation});
      run.sent = true;
      speak_by_ = AwakeNow() + options_.silence_limit;
    }
  }

  void CheckLimits() {
    if (child_ == nullptr) return;
    const absl::Time now = AwakeNow();
    const PendingRun* const run = Current();
    if (!ready_) {
      if (now >= start_by_) {
        Kill(absl::StrCat("it was not ready within ", absl::FormatDuration(options_.start_limit), "."));
      }
    } else if (run != nullptr && now >= run->cancel_by) {
      Kill(absl::StrCat("it did not obey a cancel within ", absl::FormatDuration(options_.cancel_limit), "."));
    } else if (run != nullptr && now >= speak_by_) {
      Kill(absl::StrCat("it reported nothing for ", absl::FormatDuration(options_.silence_limit), "."));
    }
  }

  absl::Time NextDeadline() {
    if (child_ == nullptr) return restart_at_;
    if (!ready_) return start_by_;
    const PendingRun* const run = Current();
    return run == nullptr ? absl::InfiniteFuture() : std::min(run->cancel_by, speak_by_);
  }

  void Finish() {
    while (!runs_.empty()) FrontIsOver(absl::CancelledError("The executor was stopped."));
    if (child_ == nullptr) return;
    child_->CloseInput();
    if (!child_->WaitForExit(options_.stop_limit)) child_->Kill();
    RemoveResultFiles(child_->pid());
  }

  // ---- Bytes
  void Send(const Frame& frame) {
    outbox_ += EncodeFrame(frame);
    Flush();
  }

  // Sends what fits. That the child is gone shows when reading.
  void Flush() {
    size_t done = 0;
    while (done < outbox_.size()) {
      const ssize_t sent =
          send(child_->fd(), outbox_.data() + done, outbox_.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent < 0 && errno == EINTR) continue;
      if (sent < 0) break;
      done += static_cast<size_t>(sent);
    }
    outbox_.erase(0, done);
  }

  // Waits for an order, for the child or for the next deadline.
  void Wait() {
    pollfd watched[2] = {{executor_.wake_fd_, POLLIN, 0}, {-1, POLLIN, 0}};
    if (child_ != nullptr)
      watched[1] = {child_->fd(), static_cast<short>(outbox_.empty() ? POLLIN : POLLIN | POLLOUT), 0};
    if (poll(watched, 2, PollMilliseconds(NextDeadline() - AwakeNow())) <= 0) return;
    if ((watched[1].revents & POLLOUT) != 0) Flush();
    if ((watched[1].revents & (POLLIN | POLLHUP | POLLERR)) != 0) Read();
  }

  void Read() {
    const ssize_t got = recv(child_->fd(), read_buffer_.data(), read_buffer_.size(), MSG_DONTWAIT);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) return;
    if (got <= 0) {
      const std::string end = child_->Kill();
      const std::string reason = last_words_.empty() ? "" : absl::StrCat(" after saying: ", last_words_);
      Died(absl::AbortedError(
          absl::StrCat("The executor of ", DeviceName(), " ", end, reason, reason.empty() ? "." : "")));
      return;
    }
    decoder_.Append(std::string_view(read_buffer_).substr(0, static_cast<size_t>(got)));
    while (child_ != nullptr) {
      absl::StatusOr<std::optional<Frame>> frame = decoder_.Next();
      if (!frame.ok()) {
        Kill(std::string(frame.status().message()));
      } else if (frame->has_value()) {
        Handle(*std::move(*frame));
      } else {
        return;
      }
    }
  }

  // ---- Frames
  void Handle(Frame frame) {
    if (!greeted_) {
      HandleHello(frame);
    } else if (frame.kind == FrameKind::kError) {
      last_words_ = frame.text;
    } else if (frame.kind == FrameKind::kReady && !ready_) {
      ready_ = true;
      self_test_ = frame.text.empty() ? absl::OkStatus() : absl::FailedPreconditionError(frame.text);
      events_.OnReady({self_test_, absl::Seconds(frame.seconds), std::move(frame.bytes), child_->pid()});
    } else if (PendingRun* const run = Current(); ready_ && run != nullptr && run->lease == frame.lease) {
      HeardOf(*run);
      HandleOfRun(*run, std::move(frame));
    } else {
      Kill("it spoke of a run that it does not have.");
    }
  }

  void HandleHello(const Frame& frame) {
    if (frame.kind != FrameKind::kHello) {
      Kill("its first frame was not a greeting.");
    } else if (frame.number != kExecutorProtocolVersion) {
      Kill(absl::StrCat("it speaks version ", frame.number, " of the protocol; this program speaks ",
                        kExecutorProtocolVersion, ". Install one version of Potluck."));
    } else {
      greeted_ = true;
    }
  }

  void HandleOfRun(PendingRun& run, Frame frame) {
    const Interval interval = frame.interval;
    if (frame.kind == FrameKind::kSlice) {
      HandleSlice(run, std::move(frame));
    } else if (frame.kind == FrameKind::kNeed) {
      HandleNeed(run, frame);
    } else if (frame.kind == FrameKind::kShrunk) {
      if (interval.end < run.rest.begin || interval.end > run.rest.end) {
        Kill(absl::StrCat("it shrank to ", interval.end, " where ", ToString(run.rest), " is left."));
        return;
      }
      run.rest.end = interval.end;
      events_.OnShrunk(run.lease, frame.number, interval.end);
    } else if (frame.kind == FrameKind::kRunOver) {
      HandleRunOver(run, frame.text);
    } else {
      Kill("it sent a frame that only a worker sends.");
    }
  }

  void HandleSlice(PendingRun& run, Frame frame) {
    const Interval interval = frame.interval;
    if (interval.empty() || interval.begin != run.rest.begin || interval.end > run.rest.end) {
      Kill(absl::StrCat("it reported ", ToString(interval), " where ", ToString(run.rest), " is left."));
      return;
    }
    std::shared_ptr<const ResultFile> file;
    if (!frame.text.empty()) {
      // Only what it wrote itself: a wrong path must not cost anybody else a file.
      const bool is_shared = IsItsResult(frame.text, options_.shared_scratch);
      if (!is_shared && !IsItsResult(frame.text, options_.scratch)) {
        Kill(absl::StrCat("it reported a result in the file ", frame.text, ", which is not its own."));
        return;
      }
      absl::StatusOr<std::shared_ptr<const ResultFile>> taken =
          ResultFile::Take(frame.text, is_shared ? NameToKeep() : "");
      if (!taken.ok()) {
        Kill(absl::StrCat("it reported a result that is not there. ", taken.status().message()));
        return;
      }
      file = *std::move(taken);
    }
    run.rest.begin = interval.end;
    deaths_ = 0;
    if (file != nullptr) {
      events_.OnLargeSlice(run.lease, interval, std::move(file), frame.seconds);
    } else {
      events_.OnSlice(run.lease, interval, std::move(frame.bytes), frame.seconds);
    }
  }

  bool IsItsResult(const std::string& path, const std::string& folder) const {
    const std::string prefix = absl::StrCat(folder, "/", ResultFilePrefix(child_->pid()));
    return !folder.empty() && absl::StartsWith(path, prefix) && path.find('/', prefix.size()) == std::string::npos;
  }
  // Not one of those that are removed with their executor. Of all executors of this process: they share the folder.
  std::string NameToKeep() const {
    static std::atomic<uint64_t> kept = 0;
    return absl::StrCat(options_.shared_scratch, "/kept-", ++kept);
  }

  void HandleNeed(PendingRun& run, const Frame& frame) {
    const size_t count = frame.bytes.size() / kSha256Bytes;
    if (frame.bytes.size() % kSha256Bytes != 0 || frame.number > 1 || (frame.number == 0 && count != 1)) {
      Kill(absl::StrCat("it asked for blobs by ", frame.bytes.size(), " bytes of digests."));
      return;
    }
    if (run.cancelled()) return;
    if (frame.number == 0) {
      run.needs.insert(frame.bytes);
      HeardOf(run);
      events_.OnNeed(run.lease, frame.bytes);
      return;
    }
    std::vector<std::string> digests;
    for (size_t i = 0; i < count; ++i) digests.push_back(frame.bytes.substr(i * kSha256Bytes, kSha256Bytes));
    events_.OnNeedSoon(run.lease, std::move(digests));
  }

  void HandleRunOver(const PendingRun& run, const std::string& failure) {
    absl::Status status;
    if (!failure.empty()) {
      // The round may be what could not be opened: the next run tries that again.
      open_.reset();
      status = absl::InternalError(failure);
    } else if (!run.rest.empty()) {
      status = absl::InternalError(absl::StrCat("It stopped before ", ToString(run.rest), "."));
    }
    FrontIsOver(status);
  }

  Executor& executor_;
  const ExecutorOptions& options_;
  ExecutorEvents& events_;
  std::string read_buffer_;
  std::unique_ptr<ChildProcess> child_;  // Null between a death and the next start.
  FrameDecoder decoder_;
  std::string outbox_;  // What its socket did not take yet.
  bool greeted_ = false;
  bool ready_ = false;
  absl::Status self_test_;
  std::string last_words_;
  std::optional<OpenRound> open_;
  std::deque<PendingRun> runs_;
  int deaths_ = 0;  // Since the last slice.
  absl::Time restart_at_ = absl::InfinitePast();
  absl::Time start_by_ = absl::InfiniteFuture();
  absl::Time speak_by_ = absl::InfiniteFuture();
};

absl::Duration DefaultBackOff(int deaths) {
  return std::min(absl::Milliseconds(100) * (int64_t{1} << std::clamp(deaths - 1, 0, 20)), absl::Minutes(1));
}

absl::StatusOr<std::unique_ptr<Executor>> Executor::Create(ExecutorOptions options, ExecutorEvents& events) {
  const int wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_fd < 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("An event descriptor cannot be made: ", std::strerror(errno), "."));
  }
  std::unique_ptr<Executor> executor(new Executor(std::move(options), events, wake_fd));
  executor->thread_ = std::thread([&executor = *executor] { Loop(executor).Main(); });
  return executor;
}

Executor::~Executor() {
  Stop();
  close(wake_fd_);
}

void Executor::Run(LeaseId lease, const RoundInfo& round, Interval interval, std::string implementation) {
  PendingRun run;
  run.lease = lease;
  run.round = {round.key, round.workload, round.payload, round.bulk};
  run.implementation = std::move(implementation);
  run.rest = interval;
  Post([run = std::move(run)](Loop& loop) mutable { loop.Add(std::move(run)); });
}

void Executor::AnswerBlob(LeaseId lease, std::string digest, absl::StatusOr<std::string> path) {
  Post([lease, digest = std::move(digest), path = std::move(path)](Loop& loop) {
    loop.AnswerBlob(lease, digest, path);
  });
}

void Executor::Shrink(LeaseId lease, uint64_t end) {
  Post([lease, end](Loop& loop) { loop.Shrink(lease, end); });
}

void Executor::Cancel(LeaseId lease) {
  Post([lease](Loop& loop) { loop.Cancel(lease); });
}

void Executor::Stop() {
  {
    MutexLock lock(&mutex_);
    stopping_ = true;
  }
  Wake();
  if (thread_.joinable()) thread_.join();
}

void Executor::Post(Order order) {
  {
    MutexLock lock(&mutex_);
    if (stopping_) return;
    orders_.push_back(std::move(order));
  }
  Wake();
}

void Executor::Wake() const {
  const uint64_t one = 1;
  // A full counter refuses it, and then the thread is awake already.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
}

bool Executor::Take(std::vector<Order>& orders) {
  uint64_t count = 0;
  // Before the orders are taken: one that is posted in between wakes the thread once more, for nothing.
  [[maybe_unused]] const ssize_t got = read(wake_fd_, &count, sizeof count);
  MutexLock lock(&mutex_);
  orders.swap(orders_);
  return !stopping_;
}

}  // namespace potluck
