#include "cli/arguments.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/commands.h"
#include "cli/exit_code.h"

namespace potluck {
namespace {

using testing::HasSubstr;

struct Fixture {
  int n = 0;
  std::optional<int> workers;
  int priority = 0;
  double weight = 1;
  absl::Duration time;
  std::string algorithm = "backtracking";
  bool json = false;
  Arguments arguments{"nqueens", "Counts."};

  Fixture() {
    arguments.Positional("N", WholeNumber(&n, 1, 32), "queens");
    arguments.Flag("--local-workers", "K", WholeNumber(&workers, 1, 256), "workers", "one a device");
    arguments.Flag("--priority", "P", WholeNumber(&priority, -1000, 1000), "rank", "0");
    arguments.Flag("--weight", "W", RealNumber(&weight, 0.5, 2), "share", "1");
    arguments.Flag("--ends-in", "TIME", TimeSpan(&time), "end", "not known");
    arguments.Flag("--algorithm", "A", OneOf(&algorithm, {"backtracking", "meet"}), "how", "backtracking");
    arguments.Switch("--json", &json, "as JSON");
    arguments.InternalFlag("--slice", "S", WholeNumber(&slice, 1, 9), "length, seconds", "2");
  }

  int slice = 2;

  std::string Error(const Args& args) {
    const absl::Status status = arguments.Parse(args);
    return status.ok() ? "ok" : std::string(status.message());
  }
};

TEST(ArgumentsTest, ReadsPositionalsFlagsAndSwitchesInAnyOrder) {
  Fixture f;
  EXPECT_EQ(f.Error({"--json", "--local-workers", "2", "16", "--priority=-5", "--ends-in", "12h"}), "ok");
  EXPECT_EQ(f.n, 16);
  EXPECT_EQ(f.workers, 2);
  EXPECT_EQ(f.priority, -5);
  EXPECT_EQ(f.time, absl::Hours(12));
  EXPECT_TRUE(f.json);
}

TEST(ArgumentsTest, EveryBadBoardIsToldWithWhatIsAllowed) {
  for (const std::string text : {"0", "-1", "33", "1e99", "eight", "", "+8", " 8", "8.0", "99999999999999999999"}) {
    Fixture f;
    EXPECT_EQ(f.Error({text}), "N is \"" + text + "\"; allowed is a whole number from 1 to 32");
    EXPECT_EQ(f.n, 0) << text;
  }
}

TEST(ArgumentsTest, AMissingBoardIsTold) {
  EXPECT_EQ(Fixture().Error({}), "N is missing; allowed is a whole number from 1 to 32");
}

TEST(ArgumentsTest, FlagValuesOutOfRangeAreTold) {
  for (const std::string text : {"0", "257", "-3", "two"}) {
    EXPECT_EQ(Fixture().Error({"8", "--local-workers", text}),
              "--local-workers is \"" + text + "\"; allowed is a whole number from 1 to 256");
  }
  EXPECT_EQ(Fixture().Error({"8", "--weight", "nan"}), "--weight is \"nan\"; allowed is a number from 0.5 to 2");
  EXPECT_EQ(Fixture().Error({"8", "--algorithm", "magic"}),
            "--algorithm is \"magic\"; allowed is backtracking or meet");
  EXPECT_THAT(Fixture().Error({"8", "--ends-in", "12"}),
              HasSubstr("--ends-in is \"12\"; allowed is a number and its unit"));
  EXPECT_THAT(Fixture().Error({"8", "--ends-in", "0s"}), HasSubstr("allowed is"));
  EXPECT_EQ(Fixture().Error({"8", "--json=yes"}), "--json is \"yes\"; allowed is no value");
}

TEST(ArgumentsTest, AFlagWithoutItsValueIsTold) {
  EXPECT_EQ(Fixture().Error({"8", "--local-workers"}),
            "the value of --local-workers is missing; allowed is a whole number from 1 to 256");
  EXPECT_EQ(Fixture().Error({"8", "--local-workers", "--json"}),
            "the value of --local-workers is missing; allowed is a whole number from 1 to 256");
}

TEST(ArgumentsTest, AnUnknownFlagIsToldWithTheNearest) {
  EXPECT_THAT(Fixture().Error({"8", "--local-worker", "2"}),
              HasSubstr("\"--local-worker\" is not a flag of `potluck nqueens`; the nearest is --local-workers"));
  EXPECT_THAT(Fixture().Error({"8", "--slic"}), HasSubstr("the nearest is --slice"));
}

TEST(ArgumentsTest, AnUnknownFlagIsToldRatherThanWhatItsValueBreaks) {
  EXPECT_THAT(Fixture().Error({"--algoritm", "meet", "8"}), HasSubstr("the nearest is --algorithm"));
  EXPECT_THAT(Fixture().Error({"--prioriti=5"}), HasSubstr("\"--prioriti\" is not a flag"));
}

TEST(ArgumentsTest, AnEmptyValueDoesNotTakeTheNextArgument) {
  EXPECT_EQ(Fixture().Error({"--local-workers=", "8"}),
            "--local-workers is \"\"; allowed is a whole number from 1 to 256");
}

TEST(ArgumentsTest, AfterTwoDashesEverythingIsPositional) {
  Fixture f;
  EXPECT_EQ(f.Error({"--priority", "5", "--", "8"}), "ok");
  EXPECT_EQ(f.n, 8);
  EXPECT_EQ(Fixture().Error({"--priority", "5", "--", "--json"}),
            "N is \"--json\"; allowed is a whole number from 1 to 32");
  EXPECT_THAT(Fixture().Error({"8", "--", "--json"}), HasSubstr("\"--json\" is one argument too many"));
}

TEST(ArgumentsTest, TheLastOfAFlagHoldsAndAllOfItIsRead) {
  Fixture f;
  EXPECT_EQ(f.Error({"8", "--priority", "3", "--priority=-4"}), "ok");
  EXPECT_EQ(f.priority, -4);
  EXPECT_THAT(Fixture().Error({"8", "--priority", "x", "--priority", "3"}), HasSubstr("--priority is \"x\""));
}

TEST(ArgumentsTest, OneArgumentTooManyIsTold) {
  EXPECT_EQ(Fixture().Error({"8", "9"}), "\"9\" is one argument too many for `potluck nqueens`, which takes 1");
}

TEST(ArgumentsTest, TheLastPositionalMayBeSeveral) {
  std::string model;
  std::vector<std::string> files;
  bool json = false;
  Arguments arguments("predict", "Sees.");
  arguments.Positional("MODEL", Text(&model), "the model");
  arguments.Positionals("FILES", Texts(&files), "the images");
  arguments.Switch("--json", &json, "as JSON");
  EXPECT_TRUE(arguments.Parse({"m", "a", "--json", "b", "c"}).ok());
  EXPECT_EQ(model, "m");
  EXPECT_EQ(files, (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_TRUE(json);
  EXPECT_THAT(std::string(arguments.Parse({"m"}).message()), HasSubstr("FILES is missing"));
}

TEST(ArgumentsTest, TimeSpansHaveUnits) {
  for (const auto& [text, span] : std::vector<std::pair<std::string, absl::Duration>>{
           {"90s", absl::Seconds(90)}, {"1.5min", absl::Seconds(90)}, {"7d", absl::Hours(168)}}) {
    Fixture f;
    EXPECT_EQ(f.Error({"8", "--ends-in", text}), "ok");
    EXPECT_EQ(f.time, span) << text;
  }
}

TEST(ArgumentsTest, AMissingRequiredFlagIsTold) {
  int value = 0;
  Arguments arguments("x", "Does.");
  arguments.RequiredFlag("--size", "S", WholeNumber(&value, 1, 9), "size");
  EXPECT_EQ(arguments.Parse({}).message(), "--size is missing; allowed is a whole number from 1 to 9");
  EXPECT_TRUE(arguments.Parse({"--size", "3"}).ok());
}

TEST(ArgumentsTest, HelpNamesEveryFlagItsValuesAndDefault) {
  Fixture f;
  const std::string help = f.arguments.Help();
  EXPECT_THAT(help, HasSubstr("potluck nqueens N [FLAG...]"));
  EXPECT_THAT(help,
              HasSubstr("--local-workers K         workers: a whole number from 1 to 256 (default: one a device)"));
  EXPECT_THAT(help, HasSubstr("\n\nFor tests and local workers:\n  --slice S"));
  EXPECT_LT(help.find("--json"), help.find("For tests and local workers:"));
}

TEST(ArgumentsTest, HelpIsGivenWhateverElseIsWrong) {
  for (const Args& args : {Args{"--help"}, Args{"-h"}, Args{"eight", "--help"}, Args{"8", "--jsn", "--help"}}) {
    Fixture f;
    EXPECT_EQ(f.Error(args), "ok");
    EXPECT_TRUE(f.arguments.help_wanted());
  }
}

int Succeed(const Args& args) { return args == Args{"a", "b"} ? kExitOk : kExitFailed; }

TEST(CommandsTest, ACommandGetsWhatFollowsItsName) {
  EXPECT_EQ(RunCommand("", {{"go", "goes", Succeed}}, {"go", "a", "b"}), kExitOk);
}

TEST(CommandsTest, AnUnknownCommandIsToldWithTheNearest) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunCommand("jobs", {{"list", "lists", Succeed}, {"watch", "watches", Succeed}}, {"wacth"}), kExitUsage);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "potluck: \"wacth\" is not a command of `potluck jobs`; the nearest is watch (`potluck jobs --help` lists "
            "them)\n");
}

TEST(CommandsTest, AFlagInPlaceOfACommandIsToldWithTheCommands) {
  testing::internal::CaptureStderr();
  EXPECT_EQ(RunCommand("jobs", {{"list", "lists", Succeed}, {"watch", "watches", Succeed}}, {"--coordinator", "x"}),
            kExitUsage);
  EXPECT_EQ(testing::internal::GetCapturedStderr(),
            "potluck: the command after `potluck jobs` is missing, where \"--coordinator\" stands; allowed is list, "
            "watch (`potluck jobs --help` lists them)\n");
}

TEST(ExitCodeTest, FollowsTheKindOfError) {
  EXPECT_EQ(ExitCodeFor(absl::OkStatus()), 0);
  EXPECT_EQ(ExitCodeFor(absl::NotFoundError("x")), 1);
  EXPECT_EQ(ExitCodeFor(absl::UnavailableError("x")), 3);
  EXPECT_EQ(ExitCodeFor(absl::UnauthenticatedError("x")), 5);
  EXPECT_EQ(ExitCodeFor(absl::PermissionDeniedError("x")), 5);
  EXPECT_EQ(ExitCodeFor(absl::CancelledError("x")), 130);
}

}  // namespace
}  // namespace potluck
