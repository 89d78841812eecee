// The table of commands, and what they share: finding one by its name, and reaching a coordinator.
//
// A command is a function from its arguments (after its own name) to an exit code (exit_code.h). It prints its result
// on standard output and everything else on standard error. It runs once, in the main thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "cli/arguments.h"
#include "proto/join_string.h"

namespace potluck {

struct Command {
  std::string name;
  std::string summary;
  int (*run)(const Args& args);
};

// Runs the command that `args` begins with. `group` is what was typed before it ("jobs"; empty at the top). An unknown
// one is told with the nearest that exists.
int RunCommand(const std::string& group, const std::vector<Command>& commands, const Args& args);

int RunBench(const Args& args);
int RunBenchCnn(const Args& args);
int RunBenchNQueens(const Args& args);
int RunBenchPaper(const Args& args);
int RunBackup(const Args& args);
int RunData(const Args& args);
int RunDataFetch(const Args& args);
int RunDoctor(const Args& args);
int RunEvaluate(const Args& args);
int RunExecutor(const Args& args);
int RunJobs(const Args& args);
int RunJoin(const Args& args);
int RunNotebook(const Args& args);
int RunNQueens(const Args& args);
int RunPredict(const Args& args);
int RunReport(const Args& args);
int RunServe(const Args& args);
int RunToken(const Args& args);
int RunTrain(const Args& args);
int RunVerify(const Args& args);
int RunWorkers(const Args& args);

// The flags that every command has which talks to a coordinator.
struct CoordinatorFlags {
  bool json = false;
  JoinString join;  // After Read.

  void Declare(Arguments& arguments);
  // Reads the arguments and the join string; the exit code if the command is over with that.
  std::optional<int> Read(Arguments& arguments, const Args& args);

 private:
  std::string coordinator_;
};

// A join string as a user gives it, read later.
ValueReader JoinStringText(std::string* out);
// "auto" or a CPU code path of this build.
ValueReader DispatchName(std::string* out);

// One JSON value on standard output, on one line.
void PrintJson(const nlohmann::ordered_json& json);

}  // namespace potluck
