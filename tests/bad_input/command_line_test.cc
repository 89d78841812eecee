// What a user can mistype: each time one sentence that names the field, the value and what is allowed, and code 2.
#include <gtest/gtest.h>
#include <signal.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "cli/exit_code.h"
#include "tests/bad_input/program.h"

namespace potluck {
namespace {

using Words = std::vector<std::string>;

struct Case {
  Words arguments;
  Words parts;  // Of the sentence.
};

void ExpectUsageErrors(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    SCOPED_TRACE("potluck " + absl::StrJoin(c.arguments, " "));
    ExpectOneSentence(RunPotluck(c.arguments), kExitUsage, c.parts);
  }
}

// Every command, and the flags that its help must list.
std::vector<Case> Commands() {
  const Words on_coordinator = {"--coordinator", "--json"};
  const auto with = [&](const Words& more) {
    Words flags = on_coordinator;
    flags.insert(flags.end(), more.begin(), more.end());
    return flags;
  };
  return {
      {{"nqueens"},
       {"--local-workers", "--threads", "--algorithm", "--nodes", "--dispatch", "--coordinator", "--patience", "--name",
        "--priority", "--weight", "--certificate", "--verify", "--verbose", "--json", "--slice-seconds"}},
      {{"serve"}, {"--state", "--listen", "--public", "--lease", "--retain", "--log-format", "--log-level"}},
      {{"join"},
       {"--name", "--threads", "--device", "--dispatch", "--when-idle", "--metered", "--ends-in", "--exit-when-idle",
        "--installation", "--slice-seconds"}},
      {{"train"},
       {"--data",
        "--out",
        "--local-workers",
        "--threads",
        "--dispatch",
        "--coordinator",
        "--verbose",
        "--epochs",
        "--batch",
        "--seed",
        "--precision",
        "--optimizer",
        "--lr",
        "--momentum",
        "--nesterov",
        "--weight-decay",
        "--rho",
        "--beta1",
        "--beta2",
        "--epsilon",
        "--schedule",
        "--warmup",
        "--final-factor",
        "--gamma",
        "--shift",
        "--sync",
        "--local-steps",
        "--replicas",
        "--compress",
        "--broadcast",
        "--outer-lr",
        "--outer-momentum",
        "--micro-shard",
        "--max-steps",
        "--target-accuracy",
        "--time-limit",
        "--numerics",
        "--plan",
        "--overwrite",
        "--init",
        "--resume",
        "--verify",
        "--patience",
        "--name",
        "--priority",
        "--weight",
        "--json"}},
      {{"predict"}, {"--invert", "--threads", "--json"}},
      {{"evaluate"}, {"--data", "--set", "--threads", "--json"}},
      {{"data", "inspect"}, {"--json"}},
      {{"data", "verify"}, {"--json"}},
      {{"data", "convert"}, {"--to"}},
      {{"data", "fetch"}, {"--to"}},
      {{"data", "synth"}, {"--samples", "--test", "--seed"}},
      {{"jobs", "list"}, on_coordinator},
      {{"jobs", "show"}, on_coordinator},
      {{"jobs", "watch"}, with({"--patience"})},
      {{"jobs", "certificate"}, with({"--output"})},
      {{"jobs", "cancel"}, on_coordinator},
      {{"jobs", "pause"}, on_coordinator},
      {{"jobs", "resume"}, on_coordinator},
      {{"jobs", "delete"}, on_coordinator},
      {{"jobs", "set"}, with({"--priority", "--weight"})},
      {{"report", "availability"}, with({"--since", "--by", "--svg"})},
      {{"workers", "list"}, on_coordinator},
      {{"workers", "drain"}, on_coordinator},
      {{"workers", "pardon"}, on_coordinator},
      {{"token", "create"}, with({"--role", "--name", "--lifetime"})},
      {{"token", "list"}, on_coordinator},
      {{"token", "revoke"}, on_coordinator},
      {{"verify"}, {"--sample", "--dispatch", "--threads", "--seed", "--json"}},
      {{"backup"}, {}},
      {{"bench", "nqueens"}, {"--n", "--algorithm", "--device", "--dispatch", "--threads", "--units", "--json"}},
      {{"bench", "paper"}, {"--n", "--full", "--threads", "--repeat", "--svg", "--json"}},
      {{"bench", "coordinator"}, {"--workers", "--batch", "--seconds", "--directory", "--json", "--serve"}},
  };
}

TEST(CommandLineTest, AReportOfWhatCannotBeIsRefused) {
  ExpectUsageErrors(
      {{{"report"}, {"the command after `potluck report` is missing", "availability"}},
       {{"report", "availabilty"}, {"\"availabilty\"", "the nearest is availability"}},
       {{"report", "availability", "--since", "0"}, {"--since is \"0\"", "a whole number from 1 to 400"}},
       {{"report", "availability", "--since", "x"}, {"--since is \"x\"", "a whole number from 1 to 400"}},
       {{"report", "availability", "--by", "day"}, {"--by is \"day\"", "installation or name or token or place"}},
       {{"report", "availability"}, {"--coordinator is missing"}}});
}

TEST(CommandLineTest, BoardsThatAreNotAllowedAreNamed) {
  for (const char* n : {"0", "-1", "33", "1e99", "eight", "8.0", "+8", " 8", "8x", "99999999999999999999", ""}) {
    ExpectUsageErrors(
        {{{"nqueens", n}, {absl::StrCat("N is \"", n, "\""), "a whole number from 1 to 32"}},
         {{"bench", "nqueens", "--n", n}, {absl::StrCat("--n is \"", n, "\""), "a whole number from 1 to 32"}}});
  }
  ExpectUsageErrors({{{"nqueens"}, {"N is missing", "a whole number from 1 to 32"}},
                     {{"nqueens", "--json"}, {"N is missing", "a whole number from 1 to 32"}},
                     {{"bench", "nqueens", "--n"}, {"the value of --n is missing", "a whole number from 1 to 32"}},
                     {{"nqueens", "8", "9"}, {"\"9\" is one argument too many"}}});
}

TEST(CommandLineTest, NumbersOutOfTheirRangeAreNamed) {
  for (const char* count : {"0", "-1", "257", "many"}) {
    const Words parts = {absl::StrCat("--local-workers is \"", count, "\""), "a whole number from 1 to 256"};
    ExpectUsageErrors({{{"nqueens", "8", "--local-workers", count}, parts},
                       {{"nqueens", "8", absl::StrCat("--local-workers=", count)}, parts},
                       {{"nqueens", "8", "--threads", "0"}, {"--threads is \"0\"", "a whole number from 1 to 1024"}}});
  }
  ExpectUsageErrors({
      {{"nqueens", "8", "--weight", "nan"}, {"--weight is \"nan\"", "a number from 0.001 to 1000"}},
      {{"nqueens", "8", "--verify", "1.5"}, {"--verify is \"1.5\"", "a number from 0 to 1"}},
      {{"nqueens", "8", "--verify", "10%"}, {"--verify is \"10%\"", "a number from 0 to 1"}},
      {{"nqueens", "8", "--local-workers", "1", "--verify", "0.1"},
       {"--verify is 0.1", "--local-workers is 1", "at least 2"}},
      {{"nqueens", "8", "--weight", "inf"}, {"--weight is \"inf\"", "a number from 0.001 to 1000"}},
      {{"nqueens", "8", "--patience", "10"}, {"--patience is \"10\"", "s, min, h or d"}},
      {{"nqueens", "8", "--algorithm", "magic"}, {"--algorithm is \"magic\"", "backtracking"}},
      {{"nqueens", "8", "--dispatch", "gpu"}, {"--dispatch is \"gpu\"", "scalar"}},
      {{"serve", "--lease", "1"}, {"--lease is \"1\"", "from 2 to 86400"}},
      {{"serve", "--retain", "0"}, {"--retain is \"0\"", "from 1 to 36500"}},
      {{"serve", "--log-level", "loud"}, {"--log-level is \"loud\"", "info or warning or error"}},
      {{"join", "--device", "tpu"}, {"--device is \"tpu\"", "auto or cpu or cuda"}},
      {{"join", "--ends-in", "0s"}, {"--ends-in is \"0s\"", "from 1s"}},
      {{"token", "create", "--lifetime", "-1h"}, {"--lifetime is \"-1h\"", "s, min, h or d"}},
      {{"token", "create", "--role", "king"}, {"--role is \"king\"", "worker or viewer or admin"}},
      {{"jobs", "set", "1", "--priority", "5000"}, {"--priority is \"5000\"", "from -1000 to 1000"}},
      {{"verify", "x", "--sample", "1.5"}, {"--sample is \"1.5\"", "a number from 0 to 1"}},
      {{"verify", "x", "--sample", "nan"}, {"--sample is \"nan\"", "a number from 0 to 1"}},
      {{"verify", "x", "--seed", "-1"}, {"--seed is \"-1\"", "a whole number from 0"}},
      {{"verify", "x", "--dispatch", "gpu"}, {"--dispatch is \"gpu\"", "scalar"}},
      {{"bench", "paper", "--repeat", "0"}, {"--repeat is \"0\"", "a whole number from 1 to 100"}},
      {{"bench", "paper", "--n", "10..12", "--full"}, {"--n", "--full", "allowed is either"}},
      {{"bench", "coordinator", "--workers", "0"}, {"--workers is \"0\"", "a whole number from 1"}},
      {{"bench", "coordinator", "--batch", "-3"}, {"--batch is \"-3\"", "a whole number from 1"}},
      {{"bench", "coordinator", "--seconds", "0"}, {"--seconds is \"0\"", "from"}},
  });
}

TEST(CommandLineTest, RangesOfBoardsAreReadWhole) {
  for (const char* boards :
       {"3", "21", "10..", "..12", "12..10", "10...12", "10..12..14", "10-12", "+10..12", "a..b", ""}) {
    ExpectUsageErrors({{{"bench", "paper", "--n", boards},
                        {absl::StrCat("--n is \"", boards, "\""), "N or FROM..TO, boards from 4 to 20"}}});
  }
}

// Counts are compared with known ones on the way.
TEST(CommandLineTest, ThePapersExperimentRunsOnSmallBoards) {
  const TemporaryDirectory directory;
  const std::string svg = directory / "p.svg";
  const Ended ended = RunPotluck({"bench", "paper", "--n", "8..9", "--repeat", "1", "--json", "--svg", svg});
  ExpectOneJsonObject(ended);
  for (const char* part : {"\"n\":8,\"solutions\":\"92\",\"nodes\":\"2056\"", "\"n\":9,\"solutions\":\"352\"",
                           "\"nodes_per_second\"", "\"paper\":{"}) {
    EXPECT_NE(ended.out.find(part), std::string::npos) << part << " is not in " << ended.out;
  }
  EXPECT_NE(ReadWholeFile(svg).find("</svg>\n"), std::string::npos);
  const Ended text = RunPotluck({"bench", "paper", "--n", "8", "--repeat", "1"});
  EXPECT_EQ(text.code, kExitOk) << text.err;
  EXPECT_NE(text.out.find("6.41 M"), std::string::npos) << text.out;
  ExpectOneSentence(RunPotluck({"bench", "paper", "--n", "8", "--svg", directory.path()}), kExitFailed,
                    {"cannot write", "not a plain file"});
}

TEST(CommandLineTest, AnUnknownCommandIsToldTheNearest) {
  ExpectUsageErrors({
      {{"nqeens", "8"}, {"\"nqeens\" is not a command", "nearest is nqueens", "potluck --help"}},
      {{"srve"}, {"\"srve\" is not a command", "nearest is serve"}},
      {{"jobs", "cancle", "1"}, {"\"cancle\" is not a command of `potluck jobs`", "nearest is cancel"}},
      {{"workers", "drian", "x"}, {"\"drian\"", "nearest is drain"}},
      {{"token", "revoque", "x"}, {"\"revoque\"", "nearest is revoke"}},
      {{"bench", "nqueen"}, {"\"nqueen\"", "nearest is nqueens"}},
      {{}, {"the command after `potluck` is missing", "potluck --help"}},
      {{"jobs"}, {"the command after `potluck jobs` is missing", "potluck jobs --help"}},
      {{"jobs", "--coordinator", "x"}, {"after `potluck jobs` is missing", "\"--coordinator\"", "list, show, watch"}},
      {{"n\x1b[31mq"}, {"is not a command"}},
  });
}

TEST(CommandLineTest, AnUnknownFlagIsToldTheNearest) {
  ExpectUsageErrors({
      {{"nqueens", "8", "--local-worker", "2"}, {"\"--local-worker\" is not a flag", "nearest is --local-workers"}},
      {{"nqueens", "8", "--jsn"}, {"\"--jsn\"", "nearest is --json", "potluck nqueens --help"}},
      {{"serve", "--sate", "x"}, {"\"--sate\"", "nearest is --state"}},
      {{"join", "--when-idel"}, {"\"--when-idel\"", "nearest is --when-idle"}},
      {{"bench", "nqueens", "--thread", "1"}, {"\"--thread\"", "nearest is --threads"}},
      {{"nqueens", "8", "--json=yes"}, {"--json is \"yes\"", "no value"}},
  });
}

TEST(CommandLineTest, WhatIsMissingIsNamed) {
  ExpectUsageErrors({
      {{"serve"}, {"--state is missing", "a directory"}},
      {{"serve", "--state", "x"}, {"--listen is missing", "HOST:PORT"}},
      {{"join"}, {"X is missing", "join string"}},
      {{"jobs", "list"}, {"--coordinator is missing", "join string", "POTLUCK_COORDINATOR"}},
      {{"jobs", "show"}, {"ID is missing"}},
      {{"jobs", "certificate"}, {"ID is missing"}},
      {{"verify"}, {"FILE is missing"}},
      {{"nqueens", "8", "--certificate"}, {"the value of --certificate is missing"}},
      {{"jobs", "cancel", "zero"}, {"ID is \"zero\"", "a whole number from 1"}},
      {{"jobs", "cancel", "0"}, {"ID is \"0\"", "a whole number from 1"}},
      {{"workers", "drain"}, {"NAME is missing"}},
      {{"token", "create", "--name", "x"}, {"--role is missing", "worker or viewer or admin"}},
      {{"token", "create", "--role", "viewer"}, {"--name is missing", "1 to 64 characters"}},
      {{"token", "revoke"}, {"TOKEN is missing"}},
      {{"backup"}, {"DIR is missing"}},
      {{"backup", "x"}, {"FILE is missing"}},
      {{"nqueens", "8", "--coordinator", "x", "--local-workers", "2"}, {"--local-workers", "--coordinator"}},
  });
}

TEST(CommandLineTest, HelpListsEveryFlagWithItsUnitAndDefault) {
  for (const Case& command : Commands()) {
    Words arguments = command.arguments;
    arguments.push_back("--help");
    SCOPED_TRACE(absl::StrJoin(arguments, " "));
    const Ended help = RunPotluck(arguments);
    EXPECT_EQ(help.code, kExitOk);
    EXPECT_EQ(help.err, "");
    EXPECT_NE(help.out.find(absl::StrCat("potluck ", absl::StrJoin(command.arguments, " "))), std::string::npos);
    for (const std::string& flag : command.parts) {
      EXPECT_NE(help.out.find(absl::StrCat("\n  ", flag)), std::string::npos) << flag << "\n" << help.out;
    }
    // A long flag stands on a line of its own, its text on the next one.
    std::string entry;
    const std::vector<std::string> lines = absl::StrSplit(absl::StrCat(help.out, "\n  --end"), '\n');
    for (const std::string& line : lines) {
      if (line.rfind("  --", 0) != 0) {
        entry += line;
        continue;
      }
      if (entry.rfind("  --", 0) == 0 && entry.rfind("  --help", 0) != 0) {
        EXPECT_NE(entry.find("(default: "), std::string::npos) << entry;
        // A flag with a value says what is allowed, units included.
        const bool is_switch = entry.find("(default: no)") != std::string::npos;
        EXPECT_TRUE(is_switch || entry.find(": ") != std::string::npos) << entry;
      }
      entry = line;
    }
  }
}

TEST(CommandLineTest, HelpOfTheProgramListsEveryCommandAndTheExitCodes) {
  const Ended help = RunPotluck({"--help"});
  EXPECT_EQ(help.code, kExitOk);
  for (const Case& command : Commands()) {
    EXPECT_NE(help.out.find(absl::StrCat("\n  ", command.arguments[0])), std::string::npos) << command.arguments[0];
  }
  EXPECT_NE(help.out.find("\n  executor   started by join, for one device\n"), std::string::npos) << help.out;
  for (const char* code : {"2 a command", "3 the coordinator", "4 no protocol", "5 it refuses", "130 interrupted"}) {
    EXPECT_NE(help.out.find(code), std::string::npos) << code;
  }
}

TEST(CommandLineTest, AResultThatCannotBeWrittenIsAFailure) {
  for (const Words& arguments :
       std::vector<Words>{{"--version"}, {"nqueens", "6", "--json"}, {"bench", "nqueens", "--n", "6"}}) {
    const Ended ended = RunPotluck(arguments, {.output = "/dev/full"});
    ExpectOneSentence(ended, kExitFailed,
                      {"the result could not be written to standard output: No space left on device"});
  }
}

TEST(CommandLineTest, ABenchmarkWithoutGpuIsTold) {
  const Ended ended = RunPotluck({"bench", "nqueens", "--n", "6", "--device", "cuda"});
  if (ended.code == kExitOk) GTEST_SKIP() << "this machine has a GPU";
  ExpectOneSentence(ended, kExitFailed, {"no GPU can be used"});
  EXPECT_EQ(ended.err.find("CPU is used instead"), std::string::npos) << ended.err;
}

TEST(CommandLineTest, AnInterruptedBenchmarkLeavesNothingBehind) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const TemporaryDirectory directory;
    Program bench({"bench", "coordinator", "--workers", "4", "--seconds", "60", "--directory", directory.path()});
    const auto is_empty = [&] { return std::filesystem::is_empty(directory.path()); };
    for (int i = 0; i < 1000 && is_empty(); ++i) absl::SleepFor(absl::Milliseconds(10));
    ASSERT_FALSE(is_empty());
    absl::SleepFor(absl::Milliseconds(signal == SIGINT ? 1000 : 0));  // At work, or just starting.
    bench.Signal(signal);
    ExpectOneSentence(bench.Wait(), kExitInterrupted, {"interrupted"});
    EXPECT_TRUE(is_empty());
  }
}

TEST(CommandLineTest, JsonIsTheOnlyThingOnStandardOutput) {
  const Ended nqueens = RunPotluck({"nqueens", "8", "--nodes", "--local-workers", "1", "--threads", "1", "--json"});
  ExpectOneJsonObject(nqueens);
  for (const char* part : {"\"n\":8", "\"algorithm\":\"backtracking\"", "\"solutions\":\"92\"", "\"nodes\":\"2056\"",
                           "\"seconds\":", "\"workers\":", "\"verified\":true"}) {
    EXPECT_NE(nqueens.out.find(part), std::string::npos) << part << nqueens.out;
  }
  const Ended bench = RunPotluck({"bench", "nqueens", "--n", "8", "--threads", "1", "--json"});
  ExpectOneJsonObject(bench);
  for (const char* part : {"\"seconds\":", "\"nodes_per_second\":", "\"solutions_per_second\":"}) {
    EXPECT_NE(bench.out.find(part), std::string::npos) << part << bench.out;
  }
  ExpectOneJsonObject(
      RunPotluck({"bench", "coordinator", "--workers", "2", "--batch", "1", "--seconds", "1", "--json"}));
}

}  // namespace
}  // namespace potluck
