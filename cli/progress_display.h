// Where a command shows how far it is: standard error, one line that is written over on a terminal, else a plain line
// every few seconds. Messages come between. Thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "base/mutex.h"
#include "cli/progress.h"

namespace potluck {

// One line without its end, such as "42.1 % done, ETA 12 s (10 s to 15 s), 2 workers, 190 M nodes/s, 2.4 M
// solutions/s". The rates are left out where it would not fit into `width`. `workers` are at work now.
std::string ProgressLine(const ProgressEstimate& estimate, uint32_t workers, bool paused, size_t width);

// "12 s (10 s to 15 s)"; "not known yet".
std::string EtaText(const ProgressEstimate& estimate);

class ProgressDisplay {
 public:
  ProgressDisplay();
  ~ProgressDisplay();  // Clears the line.
  ProgressDisplay(const ProgressDisplay&) = delete;
  ProgressDisplay& operator=(const ProgressDisplay&) = delete;

  // Of a line: the terminal's, else without limit.
  size_t width() const;
  void Show(const std::string& line) ABSL_LOCKS_EXCLUDED(mutex_);
  // A sentence that stays.
  void Say(const std::string& sentence) ABSL_LOCKS_EXCLUDED(mutex_);
  void Clear() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void ClearLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const bool terminal_;
  Mutex mutex_;
  bool line_shown_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Time last_plain_line_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace potluck
