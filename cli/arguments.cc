#include "cli/arguments.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <utility>

#include <CLI/CLI.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
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

absl::Status MissingValue(const std::string& flag, const std::string& allowed) {
  return Missing(absl::StrCat("the value of ", flag), allowed);
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

bool IsPositional(const CLI::Option* field) { return field->get_positional(); }

// CLI11's help, with the words that the fields bring along in place of its types and defaults.
class HelpFormatter : public CLI::Formatter {
 public:
  HelpFormatter() {
    column_width(kHelpColumn);
    label("Positionals", "Arguments");
  }

  std::string make_usage(const CLI::App* app, std::string name) const override {
    for (const CLI::Option* field : app->get_options(IsPositional)) {
      absl::StrAppend(&name, " ", make_option_usage(field));
    }
    return absl::StrCat("\nUsage: ", name, " [FLAG...]\n");
  }

  std::string make_option_opts(const CLI::Option* field) const override {
    return absl::StrCat(" ", field->get_option_text());
  }
};

// As CLI11 takes them: the last one first, and an empty value apart from its flag, for CLI11 reads `--flag= word` as
// `--flag word`.
std::vector<std::string> ForCli11(const Args& args) {
  std::vector<std::string> prepared;
  for (const std::string& argument : args) {
    const bool empty_value = absl::StartsWith(argument, "--") && argument.find('=') == argument.size() - 1;
    prepared.push_back(empty_value ? argument.substr(0, argument.size() - 1) : argument);
    if (empty_value) prepared.emplace_back();
  }
  std::reverse(prepared.begin(), prepared.end());
  return prepared;
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

ValueReader Texts(std::vector<std::string>* out) {
  return {"texts that are not empty", [out](const std::string& text) {
            if (text.empty()) return false;
            out->push_back(text);
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

// A CLI::App in which a field's type name says what is allowed. What is wrong with a value is kept until all is read,
// for it may stem from an unknown flag, which is then what is told.
class Arguments::Parser : public CLI::App {
 public:
  Parser(const std::string& command, const std::string& summary) : CLI::App(summary, "potluck " + command) {
    set_help_flag("-h,--help", "this text");
    allow_extras();
    option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    formatter(std::make_shared<HelpFormatter>());
    preparse_callback([this](size_t) { status_ = absl::OkStatus(); });
  }

  CLI::Option* Add(const std::string& name, const ValueReader& value, const std::string& description) {
    const auto read = [this, name, value](const CLI::results_t& texts) {
      for (const std::string& text : texts) status_.Update(ReadValue(name, value, text));
      return true;
    };
    return add_option(name, read, description)->type_name(value.allowed);
  }

  // What is wrong with the arguments, after CLI11 has parsed them.
  absl::Status Check() const {
    for (const auto& [kind, text] : missing_) {
      if (kind == CLI::detail::Classifier::NONE) return TooMany(text);
      if (kind != CLI::detail::Classifier::POSITIONAL_MARK) return UnknownFlag(text.substr(0, text.find('=')));
    }
    if (!status_.ok()) return status_;
    for (const CLI::Option* field : get_options()) {
      if (field->get_required() && field->count() == 0) return Missing(field->get_name(), field->get_type_name());
    }
    return absl::OkStatus();
  }

 private:
  static absl::Status ReadValue(const std::string& name, const ValueReader& value, const std::string& text) {
    // CLI11 gives a flag whatever follows it, even the next flag.
    if (absl::StartsWith(name, "-") && absl::StartsWith(text, "--")) return MissingValue(name, value.allowed);
    return value.read(text) ? absl::OkStatus() : NotAllowed(name, text, value.allowed);
  }

  absl::Status TooMany(const std::string& text) const {
    return absl::InvalidArgumentError(absl::StrCat("\"", Printable(text), "\" is one argument too many for `",
                                                   get_name(), "`, which takes ", get_options(IsPositional).size()));
  }

  absl::Status UnknownFlag(const std::string& name) const {
    std::vector<std::string> known;
    for (const CLI::Option* field : get_options()) {
      if (!IsPositional(field)) known.push_back(field->get_name());
    }
    return absl::InvalidArgumentError(absl::StrCat("\"", Printable(name), "\" is not a flag of `", get_name(),
                                                   "`; the nearest is ", Nearest(name, known), " (`", get_name(),
                                                   " --help` lists them)"));
  }

  absl::Status status_;  // Of the values.
};

Arguments::Arguments(const std::string& command, const std::string& summary)
    : parser_(std::make_unique<Parser>(command, summary)) {}

Arguments::~Arguments() = default;

void Arguments::Positional(const std::string& name, const ValueReader& value, const std::string& help) {
  OptionalPositional(name, value, help);
  parser_->get_option(name)->required();
}

void Arguments::Positionals(const std::string& name, const ValueReader& value, const std::string& help) {
  Positional(name, value, help);
  parser_->get_option(name)->expected(1, CLI::detail::expected_max_vector_size)->allow_extra_args();
}

void Arguments::OptionalPositional(const std::string& name, const ValueReader& value, const std::string& help) {
  parser_->Add(name, value, absl::StrCat(help, ": ", value.allowed));
}

void Arguments::Flag(const std::string& name, const std::string& placeholder, const ValueReader& value,
                     const std::string& help, const std::string& fallback) {
  parser_->Add(name, value, absl::StrCat(help, ": ", value.allowed, " (default: ", fallback, ")"))
      ->option_text(placeholder);
}

void Arguments::RequiredFlag(const std::string& name, const std::string& placeholder, const ValueReader& value,
                             const std::string& help) {
  Flag(name, placeholder, value, help, "none, it must be given");
  parser_->get_option(name)->required();
}

void Arguments::Switch(const std::string& name, bool* out, const std::string& help) {
  const auto read = [out](const std::string& text) { return text.empty() && (*out = true); };
  parser_->Add(name, {"no value", read}, absl::StrCat(help, " (default: no)"))->type_size(0);
}

void Arguments::InternalFlag(const std::string& name, const std::string& placeholder, const ValueReader& value,
                             const std::string& help, const std::string& fallback) {
  Flag(name, placeholder, value, help, fallback);
  parser_->get_option(name)->group("For tests and local workers");
}

void Arguments::Epilogue(const std::string& text) { parser_->footer(text); }

absl::Status Arguments::Parse(const Args& args) {
  try {
    parser_->parse(ForCli11(args));
  } catch (const CLI::CallForHelp&) {
    help_wanted_ = true;
    return absl::OkStatus();
  } catch (const CLI::ArgumentMismatch&) {  // The last one is a flag that wants a value.
    return MissingValue(args.back(), parser_->get_option(args.back())->get_type_name());
  } catch (const CLI::RequiredError&) {  // Check says it with what is allowed.
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  return parser_->Check();
}

std::string Arguments::Help() const { return absl::StrCat(absl::StripTrailingAsciiWhitespace(parser_->help()), "\n"); }

std::optional<int> Arguments::Read(const Args& args) {
  if (absl::Status status = Parse(args); !status.ok()) return FailUsage(status);
  if (!help_wanted_) return std::nullopt;
  std::fputs(Help().c_str(), stdout);
  return kExitOk;
}

}  // namespace potluck
