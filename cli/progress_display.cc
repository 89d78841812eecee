#include "cli/progress_display.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "cli/output.h"

namespace potluck {
namespace {

constexpr absl::Duration kPlainLineInterval = absl::Seconds(5);
// Before the first plain line: a job of a moment needs none.
constexpr absl::Duration kFirstPlainLine = absl::Seconds(2);

std::string Coarse(absl::Duration duration) {
  if (duration < absl::Minutes(1))
    return absl::StrCat(absl::ToInt64Seconds(absl::Ceil(duration, absl::Seconds(1))), " s");
  return TimeText(duration);
}

size_t TerminalWidth() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col : 80;
}

}  // namespace

std::string EtaText(const ProgressEstimate& estimate) {
  if (!estimate.left) return "not known yet";
  std::string text = Coarse(*estimate.left);
  if (estimate.left_low && estimate.left_high) {
    const std::string low = Coarse(*estimate.left_low), high = Coarse(*estimate.left_high);
    if (low != high) absl::StrAppend(&text, " (", low, " to ", high, ")");
  }
  return text;
}

std::string ProgressLine(const ProgressEstimate& estimate, uint32_t workers, bool paused, size_t width) {
  std::string line = absl::StrCat(Percent(estimate.fraction), " done");
  if (paused) return absl::StrCat(line, ", paused");
  if (workers == 0 && !(estimate.fraction > 0)) return "waiting for workers";
  absl::StrAppend(&line, ", ETA ", EtaText(estimate));
  absl::StrAppend(&line, ", ", workers, workers == 1 ? " worker" : " workers");
  if (!estimate.nodes_per_second || !(*estimate.nodes_per_second > 0)) return line;
  for (const std::string& rate :
       {absl::StrCat(", ", Metric(*estimate.nodes_per_second), " nodes/s"),
        absl::StrCat(", ", Metric(estimate.solutions_per_second.value_or(0)), " solutions/s")}) {
    if (line.size() + rate.size() > width) break;
    line += rate;
  }
  return line;
}

ProgressDisplay::ProgressDisplay()
    : terminal_(isatty(STDERR_FILENO) == 1), last_plain_line_(absl::Now() - (kPlainLineInterval - kFirstPlainLine)) {}

ProgressDisplay::~ProgressDisplay() { Clear(); }

size_t ProgressDisplay::width() const { return terminal_ ? TerminalWidth() - 1 : std::string::npos; }

void ProgressDisplay::Show(const std::string& line) {
  MutexLock lock(&mutex_);
  if (terminal_) {
    // Cut, for what wraps cannot be written over.
    std::fprintf(stderr, "\r%s\x1b[K", line.substr(0, width()).c_str());
    std::fflush(stderr);
    line_shown_ = true;
    return;
  }
  const absl::Time now = absl::Now();
  if (now - last_plain_line_ < kPlainLineInterval) return;
  last_plain_line_ = now;
  std::fprintf(stderr, "%s\n", line.c_str());
}

void ProgressDisplay::Say(const std::string& sentence) {
  MutexLock lock(&mutex_);
  ClearLocked();
  std::fprintf(stderr, "potluck: %s\n", Printable(sentence).c_str());
}

void ProgressDisplay::Clear() {
  MutexLock lock(&mutex_);
  ClearLocked();
}

void ProgressDisplay::ClearLocked() {
  if (!line_shown_) return;
  std::fputs("\r\x1b[K", stderr);
  std::fflush(stderr);
  line_shown_ = false;
}

}  // namespace potluck
