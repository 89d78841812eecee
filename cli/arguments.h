// Reads the arguments of one command: positional ones, flags with a value, and switches. CLI11 parses them and lays out
// the help; what a value may be and the sentences are here.
//
//   int n = 0;
//   Arguments arguments("nqueens", "Counts the solutions of the N-Queens problem.");
//   arguments.Positional("N", WholeNumber(&n, 1, 32), "columns of the board");
//   arguments.Flag("--threads", "T", WholeNumber(&threads, 1, 1024), "threads of each worker", "the cores");
//   if (const std::optional<int> code = arguments.Read(args)) return *code;
//
// A value follows its flag, as the next argument or after `=`; it does not start with two dashes. What starts with a
// dash and a digit is a value, so that a negative number is told what is allowed. After `--` everything is positional.
// Every error is one sentence that names the field, the value and what is allowed, or the nearest flag that exists. Not
// thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace potluck {

using Args = std::vector<std::string>;

// How a value is read. What it writes to must outlive it.
struct ValueReader {
  std::string allowed;                                // In words: "a whole number from 1 to 32".
  std::function<bool(const std::string& text)> read;  // False, having written nothing: not allowed.
};

ValueReader WholeNumber(int* out, int low, int high);
ValueReader WholeNumber(std::optional<int>* out, int low, int high);
ValueReader JobNumber(uint64_t* out);
ValueReader RealNumber(double* out, double low, double high);
ValueReader RealNumber(std::optional<double>* out, double low, double high);
ValueReader Text(std::string* out);  // Not empty.
// Each value is added.
ValueReader Texts(std::vector<std::string>* out);
ValueReader OneOf(std::string* out, std::vector<std::string> allowed);
// A number and one of s, min, h, d: "90s", "12h"; more than 0.
ValueReader TimeSpan(absl::Duration* out);
ValueReader TimeSpan(std::optional<absl::Duration>* out);

class Arguments {
 public:
  // `command` as it is typed after `potluck`; `summary` is one sentence.
  Arguments(const std::string& command, const std::string& summary);
  ~Arguments();

  // Positional arguments are read in the order in which they are declared.
  void Positional(const std::string& name, const ValueReader& value, const std::string& help);
  // One or more, after all others.
  void Positionals(const std::string& name, const ValueReader& value, const std::string& help);
  void OptionalPositional(const std::string& name, const ValueReader& value, const std::string& help);
  // `fallback` says in words what holds without the flag.
  void Flag(const std::string& name, const std::string& placeholder, const ValueReader& value, const std::string& help,
            const std::string& fallback);
  // One without which the command does not run.
  void RequiredFlag(const std::string& name, const std::string& placeholder, const ValueReader& value,
                    const std::string& help);
  void Switch(const std::string& name, bool* out, const std::string& help);
  // One that people have no use for: Help() lists it last, under a heading of its own.
  void InternalFlag(const std::string& name, const std::string& placeholder, const ValueReader& value,
                    const std::string& help, const std::string& fallback);
  // Text below the list of flags.
  void Epilogue(const std::string& text);

  // InvalidArgument with the sentence.
  absl::Status Parse(const Args& args);
  bool help_wanted() const { return help_wanted_; }
  std::string Help() const;

  // Parses, and prints help or the error. The exit code if the command is over with that.
  std::optional<int> Read(const Args& args);

 private:
  class Parser;

  std::unique_ptr<Parser> parser_;
  bool help_wanted_ = false;
};

}  // namespace potluck
