#include "cli/arguments.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/suggest.h"

namespace potluck {
namespace {

constexpr size_t kHelpColumn = 28;

absl::Status NotAllowed(const std::string& name, const std::string& text, const std::string& allowed) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is \"", Printable(text), "\"; allowed is ", allowed));
}

absl::Status Missing(const std::string& name, const std::string& allowed) {
  return absl::InvalidArgumentError(absl::StrCat(name, " is missing; allowed is ", allowed));
}

// Digits, and a minus where that is of use: what absl would let pass besides (space, a plus sign) is a slip more often
// than meant.
bool ReadWhole(const std::string& text, int64_t low, int64_t high, int64_t& value) {
  absl::string_view digits = text;
  if (low < 0) absl::ConsumePrefix(&digits, "-");
  if (digits.empty() || !std::all_of(digits.begin(), digits.end(), absl::ascii_isdigit)) return false;
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number) || number < low || number > high) return false;
  value = number;
  return true;
}

bool ReadReal(const std::string& text, double low, double high, double& value) {
  double number = 0;
  if (!absl::SimpleAtod(text, &number) || !(number >= low && number <= high)) return false;
  value = number;
  return true;
}

template <typename Out>
ValueReader MakeWholeNumber(Out* out, int low, int high) {
  return {absl::StrCat("a whole number from ", low, " to ", high), [out, low, high](const std::string& text) {
            int64_t value = 0;
            if (!ReadWhole(text, low, high, value)) return false;
            *out = static_cast<int>(value);
            return true;
          }};
}

template <typename Out>
ValueReader MakeRealNumber(Out* out, double low, double high) {
  return {absl::StrCat("a number from ", low, " to ", high), [out, low, high](const std::string& text) {
            double value = 0;
            if (!ReadReal(text, low, high, value)) return false;
            *out = value;
            return true;
          }};
}

bool ReadTimeSpan(const std::string& text, absl::Duration& span) {
  static const std::pair<const char*, absl::Duration> kUnits[] = {
      {"min", absl::Minutes(1)}, {"s", absl::Seconds(1)}, {"h", absl::Hours(1)}, {"d", absl::Hours(24)}};
  for (const auto& [suffix, unit] : kUnits) {
    absl::string_view number = text;
    double value = 0;
    if (!absl::ConsumeSuffix(&number, suffix)) continue;
    if (!ReadReal(std::string(number), 0, 1e9, value)) return false;
    span = value * unit;
    return span >= absl::Seconds(1) && span <= absl::Hours(24) * 3650;
  }
  return false;
}

template <typename Out>
ValueReader MakeTimeSpan(Out* out) {
  return {"a number and its unit, s, min, h or d, such as 90s or 12h, from 1s to 3650d",
          [out](const std::string& text) {
            absl::Duration span;
            if (!ReadTimeSpan(text, span)) return false;
            *out = span;
            return true;
          }};
}

bool LooksLikeFlag(const std::string& argument) {
  return argument.size() > 1 && argument[0] == '-' && !absl::ascii_isdigit(argument[1]) && argument[1] != '.';
}

std::string HelpLine(std::string left, const std::string& right) {
  left = absl::StrCat("  ", left);
  left += left.size() + 2 <= kHelpColumn ? std::string(kHelpColumn - left.size(), ' ')
                                         : absl::StrCat("\n", std::string(kHelpColumn, ' '));
  return absl::StrCat(left, right, "\n");
}

}  // namespace

ValueReader WholeNumber(int* out, int low, int high) { return MakeWholeNumber(out, low, high); }
ValueReader WholeNumber(std::optional<int>* out, int low, int high) { return MakeWholeNumber(out, low, high); }
ValueReader RealNumber(double* out, double low, double high) { return MakeRealNumber(out, low, high); }
ValueReader RealNumber(std::optional<double>* out, double low, double high) { return MakeRealNumber(out, low, high); }

ValueReader JobNumber(uint64_t* out) {
  return {"a whole number from 1, as `potluck jobs list` shows it", [out](const std::string& text) {
            int64_t value = 0;
            if (!ReadWhole(text, 1, INT64_MAX, value)) return false;
            *out = static_cast<uint64_t>(value);
            return true;
          }};
}

ValueReader Text(std::string* out) {
  return {"any text that is not empty", [out](const std::string& text) {
            if (text.empty()) return false;
            *out = text;
            return true;
          }};
}

ValueReader OneOf(std::string* out, std::vector<std::string> allowed) {
  std::string words = absl::StrJoin(allowed, " or ");
  return {std::move(words), [out, allowed = std::move(allowed)](const std::string& text) {
            if (std::find(allowed.begin(), allowed.end(), text) == allowed.end()) return false;
            *out = text;
            return true;
          }};
}

ValueReader TimeSpan(absl::Duration* out) { return MakeTimeSpan(out); }
ValueReader TimeSpan(std::optional<absl::Duration>* out) { return MakeTimeSpan(out); }

Arguments::Arguments(std::string command, std::string summary)
    : command_(std::move(command)), summary_(std::move(summary)) {}

void Arguments::Positional(std::string name, ValueReader value, std::string help) {
  OptionalPositional(std::move(name), std::move(value), std::move(help));
  positionals_.back().required = true;
}

void Arguments::OptionalPositional(std::string name, ValueReader value, std::string help) {
  Field field;
  field.name = std::move(name);
  field.value = std::move(value);
  field.help = std::move(help);
  positionals_.push_back(std::move(field));
}

void Arguments::Flag(std::string name, std::string placeholder, ValueReader value, std::string help,
                     std::string fallback) {
  Field field;
  field.name = std::move(name);
  field.placeholder = std::move(placeholder);
  field.value = std::move(value);
  field.help = std::move(help);
  field.fallback = std::move(fallback);
  flags_.push_back(std::move(field));
}

void Arguments::RequiredFlag(std::string name, std::string placeholder, ValueReader value, std::string help) {
  Flag(std::move(name), std::move(placeholder), std::move(value), std::move(help), "none, it must be given");
  flags_.back().required = true;
}

void Arguments::Switch(std::string name, bool* out, std::string help) {
  Flag(std::move(name), "", {}, std::move(help), "");
  flags_.back().enabled = out;
}

void Arguments::HiddenFlag(std::string name, ValueReader value) {
  Flag(std::move(name), "", std::move(value), "", "");
  flags_.back().hidden = true;
}

void Arguments::HiddenSwitch(std::string name, bool* out) {
  Switch(std::move(name), out, "");
  flags_.back().hidden = true;
}

void Arguments::Epilogue(std::string text) { epilogue_ = std::move(text); }

absl::Status Arguments::UnknownFlag(const std::string& name) const {
  std::vector<std::string> known = {"--help"};
  for (const Field& flag : flags_) {
    if (!flag.hidden) known.push_back(flag.name);
  }
  return absl::InvalidArgumentError(absl::StrCat("\"", Printable(name), "\" is not a flag of `potluck ", command_,
                                                 "`; the nearest is ", Nearest(name, known), " (`potluck ", command_,
                                                 " --help` lists them)"));
}

absl::Status Arguments::ParseFlag(const Args& args, size_t& next) {
  const std::string& argument = args[next++];
  const size_t equals = argument.find('=');
  const std::string name = argument.substr(0, equals);
  const auto flag = std::find_if(flags_.begin(), flags_.end(), [&](const Field& field) { return field.name == name; });
  if (flag == flags_.end()) return UnknownFlag(name);
  flag->given = true;
  if (flag->enabled != nullptr) {
    if (equals != std::string::npos) return NotAllowed(name, argument.substr(equals + 1), "no value");
    *flag->enabled = true;
    return absl::OkStatus();
  }
  std::string text;
  if (equals != std::string::npos) {
    text = argument.substr(equals + 1);
  } else if (next < args.size() && !LooksLikeFlag(args[next])) {
    text = args[next++];
  } else {
    return Missing(absl::StrCat("the value of ", name), flag->value.allowed);
  }
  return flag->value.read(text) ? absl::OkStatus() : NotAllowed(name, text, flag->value.allowed);
}

absl::Status Arguments::Parse(const Args& args) {
  size_t positional = 0;
  bool flags_end = false;
  for (size_t next = 0; next < args.size();) {
    const std::string& argument = args[next];
    if (!flags_end && (argument == "--help" || argument == "-h")) {
      help_wanted_ = true;
      return absl::OkStatus();
    }
    if (!flags_end && argument == "--") {
      flags_end = true;
      ++next;
    } else if (!flags_end && LooksLikeFlag(argument)) {
      if (absl::Status status = ParseFlag(args, next); !status.ok()) return status;
    } else {
      if (positional == positionals_.size()) {
        return absl::InvalidArgumentError(absl::StrCat("\"", Printable(argument),
                                                       "\" is one argument too many for `potluck ", command_,
                                                       "`, which takes ", positionals_.size()));
      }
      const Field& field = positionals_[positional++];
      if (!field.value.read(argument)) return NotAllowed(field.name, argument, field.value.allowed);
      ++next;
    }
  }
  for (; positional < positionals_.size(); ++positional) {
    const Field& field = positionals_[positional];
    if (field.required) return Missing(field.name, field.value.allowed);
  }
  for (const Field& flag : flags_) {
    if (flag.required && !flag.given) return Missing(flag.name, flag.value.allowed);
  }
  return absl::OkStatus();
}

std::string Arguments::Help() const {
  std::string usage = absl::StrCat("potluck ", command_);
  std::string fields;
  for (const Field& field : positionals_) {
    absl::StrAppend(&usage, field.required ? absl::StrCat(" ", field.name) : absl::StrCat(" [", field.name, "]"));
    absl::StrAppend(&fields, HelpLine(field.name, absl::StrCat(field.help, ": ", field.value.allowed)));
  }
  for (const Field& flag : flags_) {
    if (flag.hidden) continue;
    if (flag.enabled != nullptr) {
      absl::StrAppend(&fields, HelpLine(flag.name, absl::StrCat(flag.help, " (default: no)")));
    } else {
      absl::StrAppend(&fields,
                      HelpLine(absl::StrCat(flag.name, " ", flag.placeholder),
                               absl::StrCat(flag.help, ": ", flag.value.allowed, " (default: ", flag.fallback, ")")));
    }
  }
  absl::StrAppend(&fields, HelpLine("--help", "this text"));
  return absl::StrCat(usage, " [FLAG...]\n\n", summary_, "\n\n", fields, epilogue_.empty() ? "" : "\n", epilogue_);
}

std::optional<int> Arguments::Read(const Args& args) {
  if (absl::Status status = Parse(args); !status.ok()) return FailUsage(status);
  if (!help_wanted_) return std::nullopt;
  std::fputs(Help().c_str(), stdout);
  return kExitOk;
}

}  // namespace potluck
