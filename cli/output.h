// How numbers, times, names and tables are written for people. Pure functions, thread-safe, but for FlushOutput.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace potluck {

// "14772512" -> "14,772,512". Digits only.
std::string WithSeparators(absl::string_view digits);

// A rate or an amount with three digits and a metric prefix: "0", "12.3", "190 M", "1.23 G".
std::string Metric(double value);

// "0.42 s", "12.3 s", "3 min 20 s", "2 h 05 min", "3 d 04 h".
std::string TimeText(absl::Duration duration);

// "42.1 %"; never rounds up to 100 what is less.
std::string Percent(double fraction);

// "2026-03-01 12:00:00 UTC"; "never" for 0.
std::string DateText(int64_t unix_ms);

// Text that others chose (names of workers and jobs, messages): control characters and what is not UTF-8 become `?`, so
// that nobody's terminal obeys it.
std::string Printable(absl::string_view text);

// Columns aligned, two spaces between them; the first row is the heading. Columns of `right` (from 0) stand at the
// right.
std::string Table(const std::vector<std::vector<std::string>>& rows, const std::vector<size_t>& right = {});

// Writes out what was printed on standard output; a failure is told by this call and all later ones. Not thread-safe.
absl::Status FlushOutput();

}  // namespace potluck
