// What `potluck doctor` found: a row a check, printed for people or as one JSON object. Values, not thread-safe.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/string_view.h"
#include "cli/exit_code.h"

namespace potluck {

// kSkip: not tried, because of a row before it or because nobody asked.
enum class CheckStatus { kOk, kWarn, kFail, kSkip };

struct CheckRow {
  std::string check;  // What was looked at, in a word: "tcp".
  CheckStatus status = CheckStatus::kOk;
  std::string message;                                             // What was found.
  std::string remedy = {};                                         // What to do; empty: nothing.
  nlohmann::ordered_json data = nlohmann::ordered_json::object();  // The same as numbers and names.
  int exit_code = kExitFailed;                                     // Of a row that failed.
};

CheckRow OkRow(std::string check, std::string message);
CheckRow WarnRow(std::string check, std::string message, std::string remedy);
CheckRow FailRow(std::string check, std::string message, std::string remedy, int exit_code = kExitFailed);
CheckRow SkipRow(std::string check, std::string message);

class DoctorReport {
 public:
  // `show` is called for each row as it is added; may be empty.
  explicit DoctorReport(std::function<void(const CheckRow&)> show = {}) : show_(std::move(show)) {}

  void Add(CheckRow row);
  // The rows of the ways to a coordinator, one list an address. A worker takes whichever serves: where one is clear,
  // what failed on the others is a warning.
  void AddWays(std::vector<std::vector<CheckRow>> ways);

  const std::vector<CheckRow>& rows() const { return rows_; }
  // kExitOk where nothing failed; else the first that says more than kExitFailed.
  int ExitCode() const;
  // {"version", "ok", "exit_code", "checks": [{"check", "status", "message", "remedy", "data"}]}
  nlohmann::ordered_json Json() const;
  // "all is well", or how many warnings and failures there are.
  std::string Summary() const;

 private:
  size_t Number(CheckStatus status) const;

  const std::function<void(const CheckRow&)> show_;
  std::vector<CheckRow> rows_;
};

// "ok", "warn", "fail", "skip"
absl::string_view StatusName(CheckStatus status);

// For people: a line, and the remedy on one below it. Ends with a line feed.
std::string RowText(const CheckRow& row);

}  // namespace potluck
