#include "cli/signals.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <utility>

#include "absl/time/clock.h"

namespace potluck {
namespace {

sigset_t EndingSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  return signals;
}

}  // namespace

void BlockSignals() {
  const sigset_t signals = EndingSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

SignalWatcher::SignalWatcher(std::function<void(int count)> handle) : handle_(std::move(handle)) {
  const sigset_t signals = EndingSignals();
  signals_ = signalfd(-1, &signals, SFD_CLOEXEC);
  stop_ = eventfd(0, EFD_CLOEXEC);
  thread_ = std::thread(&SignalWatcher::Run, this);
}

SignalWatcher::~SignalWatcher() {
  const uint64_t one = 1;
  // Cannot fail: the counter is 0.
  [[maybe_unused]] const ssize_t written = write(stop_, &one, sizeof(one));
  thread_.join();
  close(signals_);
  close(stop_);
}

void SignalWatcher::Run() {
  int count = 0;
  while (true) {
    pollfd files[] = {{signals_, POLLIN, 0}, {stop_, POLLIN, 0}};
    if (poll(files, 2, -1) < 0 && errno != EINTR) return;
    if (files[1].revents != 0) return;
    if (files[0].revents == 0) continue;
    signalfd_siginfo info{};
    if (read(signals_, &info, sizeof(info)) == sizeof(info)) handle_(++count);
  }
}

void Interrupt::Raise(absl::Status reason) {
  MutexLock lock(&mutex_);
  if (!reason_.ok()) return;
  reason_ = std::move(reason);
  raised_.SignalAll();
  if (cancel_) cancel_();
}

absl::Status Interrupt::reason() const {
  MutexLock lock(&mutex_);
  return reason_;
}

bool Interrupt::WaitFor(absl::Duration timeout) {
  MutexLock lock(&mutex_);
  const absl::Time end = absl::Now() + timeout;
  while (reason_.ok()) {
    const absl::Duration left = end - absl::Now();
    if (left <= absl::ZeroDuration()) return false;
    raised_.WaitFor(&mutex_, left);
  }
  return true;
}

Interrupt::Scope::Scope(Interrupt* interrupt, std::function<void()> cancel) : interrupt_(interrupt) {
  if (interrupt_ == nullptr) return;
  MutexLock lock(&interrupt_->mutex_);
  if (!interrupt_->reason_.ok()) cancel();
  interrupt_->cancel_ = std::move(cancel);
}

Interrupt::Scope::~Scope() {
  if (interrupt_ == nullptr) return;
  MutexLock lock(&interrupt_->mutex_);
  interrupt_->cancel_ = nullptr;
}

}  // namespace potluck
