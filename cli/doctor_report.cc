#include "cli/doctor_report.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/output.h"
#include "proto/versions.h"

namespace potluck {
namespace {

constexpr int kCheckWidth = 12;

bool Failed(const CheckRow& row) { return row.status == CheckStatus::kFail; }

}  // namespace

CheckRow OkRow(std::string check, std::string message) {
  return {.check = std::move(check), .status = CheckStatus::kOk, .message = std::move(message)};
}

CheckRow WarnRow(std::string check, std::string message, std::string remedy) {
  return {.check = std::move(check),
          .status = CheckStatus::kWarn,
          .message = std::move(message),
          .remedy = std::move(remedy)};
}

CheckRow FailRow(std::string check, std::string message, std::string remedy, int exit_code) {
  return {.check = std::move(check),
          .status = CheckStatus::kFail,
          .message = std::move(message),
          .remedy = std::move(remedy),
          .exit_code = exit_code};
}

CheckRow SkipRow(std::string check, std::string message) {
  return {.check = std::move(check), .status = CheckStatus::kSkip, .message = std::move(message)};
}

void DoctorReport::Add(CheckRow row) {
  rows_.push_back(std::move(row));
  if (show_) show_(rows_.back());
}

void DoctorReport::AddWays(std::vector<std::vector<CheckRow>> ways) {
  const bool one_is_clear = std::any_of(ways.begin(), ways.end(), [](const std::vector<CheckRow>& way) {
    return !way.empty() && std::none_of(way.begin(), way.end(), Failed);
  });
  for (std::vector<CheckRow>& way : ways) {
    for (CheckRow& row : way) {
      if (one_is_clear && Failed(row)) {
        row.status = CheckStatus::kWarn;
        absl::StrAppend(&row.message, "; another address of the join string serves");
      }
      Add(std::move(row));
    }
  }
}

int DoctorReport::ExitCode() const {
  int code = kExitOk;
  for (const CheckRow& row : rows_) {
    if (Failed(row) && (code == kExitOk || code == kExitFailed)) code = row.exit_code;
  }
  return code;
}

nlohmann::ordered_json DoctorReport::Json() const {
  nlohmann::ordered_json checks = nlohmann::ordered_json::array();
  for (const CheckRow& row : rows_) {
    checks.push_back({{"check", row.check},
                      {"status", std::string(StatusName(row.status))},
                      {"message", row.message},
                      {"remedy", row.remedy},
                      {"data", row.data}});
  }
  return {{"version", kVersion}, {"ok", ExitCode() == kExitOk}, {"exit_code", ExitCode()}, {"checks", checks}};
}

size_t DoctorReport::Number(CheckStatus status) const {
  return static_cast<size_t>(
      std::count_if(rows_.begin(), rows_.end(), [status](const CheckRow& row) { return row.status == status; }));
}

std::string DoctorReport::Summary() const {
  const size_t failed = Number(CheckStatus::kFail), warned = Number(CheckStatus::kWarn);
  if (failed + warned == 0) return "all is well";
  return absl::StrCat(failed, " failed, ", warned, warned == 1 ? " warning" : " warnings");
}

absl::string_view StatusName(CheckStatus status) {
  switch (status) {
    case CheckStatus::kOk:
      return "ok";
    case CheckStatus::kWarn:
      return "warn";
    case CheckStatus::kFail:
      return "fail";
    case CheckStatus::kSkip:
      return "skip";
  }
  return "fail";
}

std::string RowText(const CheckRow& row) {
  std::string text =
      absl::StrFormat("%-4s  %-*s  %s\n", StatusName(row.status), kCheckWidth, row.check, Printable(row.message));
  if (!row.remedy.empty())
    absl::StrAppend(&text, std::string(kCheckWidth + 8, ' '), "-> ", Printable(row.remedy), "\n");
  return text;
}

}  // namespace potluck
