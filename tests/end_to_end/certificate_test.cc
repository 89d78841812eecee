// A certificate from real processes to `potluck verify`.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "tests/bad_input/program.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {
namespace {

using Json = nlohmann::json;

// Runs a command to its end; what it printed if it ended well.
std::string OutputOf(Table& table, const std::vector<std::string>& arguments) {
  Process& process = table.Run(arguments);
  EXPECT_EQ(process.WaitForExit(kPatience), Exit{}) << process.errors();
  return process.output();
}

std::vector<Json> Lines(const std::string& text) {
  std::vector<Json> lines;
  for (const auto line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    lines.push_back(Json::parse(line.begin(), line.end(), nullptr, /*allow_exceptions=*/false));
    EXPECT_TRUE(lines.back().is_object()) << line;
  }
  return lines;
}

std::vector<Json> SlicesOf(const std::vector<Json>& lines) {
  return lines.size() < 2 ? std::vector<Json>() : std::vector<Json>(lines.begin() + 1, lines.end() - 1);
}

TEST(CertificateTest, AJobOfTwoWorkersIsCertifiedAndHolds) {
  const TemporaryDirectory directory;
  Table table;
  ASSERT_TRUE(table.Serve());
  table.Join("ada");
  table.Join("bob");
  ASSERT_TRUE(WaitUntil("both are at the table", [&] { return table.FindWorker("ada") && table.FindWorker("bob"); }));
  const std::string first = directory / "first.jsonl", second = directory / "second.jsonl.gz";
  Process& client = table.Count(17, 1, {"--certificate", first});
  table.ExpectExact(client, 17, 1);
  ASSERT_EQ(client.WaitForExit(kPatience), Exit{}) << client.errors();

  const Json verified = Json::parse(OutputOf(table, {"verify", first, "--sample", "0.3", "--json"}));
  EXPECT_EQ(verified["holds"], true);
  EXPECT_EQ(verified["published"], true);
  EXPECT_GT(verified["recomputed_slices"], 0);
  EXPECT_EQ(verified["recomputed_slices"], verified["drawn_slices"]);
  EXPECT_EQ(verified["workers"], 2);
  const std::vector<Json> slices = SlicesOf(Lines(ReadWholeFile(first)));
  std::set<std::string> workers;
  for (const Json& slice : slices) {
    workers.insert(slice["worker"]);
    EXPECT_NE(slice["version"], "");
    EXPECT_EQ(slice["devices"].get<std::string>().substr(0, 4), "cpu/");
  }
  EXPECT_EQ(workers, (std::set<std::string>{"ada", "bob"}));

  // The job's slices, and who was who, outlive the coordinator; a viewer may ask for them.
  table.coordinator().Kill();
  ASSERT_TRUE(table.Serve());
  const std::string admin = absl::StrCat(table.directory(), "/state/admin.join");
  const std::string viewer = Json::parse(OutputOf(table, {"token", "create", "--role", "viewer", "--name", "guest",
                                                          "--coordinator", admin, "--json"}))["join_string"];
  OutputOf(table, {"jobs", "certificate", "1", "--output", second, "--coordinator", viewer});
  const std::string printed = OutputOf(table, {"jobs", "certificate", "1", "--coordinator", viewer});
  EXPECT_EQ(SlicesOf(Lines(printed)), slices);
  EXPECT_NE(OutputOf(table, {"verify", second}).find("the certificate holds"), std::string::npos);
  EXPECT_LT(ReadWholeFile(second).size(), printed.size() / 2);

  // One slice changed on the way, by somebody who knows no digest.
  std::string forged = printed;
  const size_t at = forged.find("\"worker\":\"ada\"");
  ASSERT_NE(at, std::string::npos);
  forged.replace(at, 14, "\"worker\":\"eve\"");
  ExpectOneSentence(RunPotluck({"verify", "-"}, {.input = forged}), 1, {"standard input", "sha256", "was changed"});
}

TEST(CertificateTest, AJobThatIsNotDoneHasNone) {
  Table table;
  ASSERT_TRUE(table.Serve());
  table.Join("ada");
  table.Count(17, 1);
  ASSERT_TRUE(table.WaitForProgress(1, 0.01));
  const std::string admin = absl::StrCat(table.directory(), "/state/admin.join");
  const TemporaryDirectory directory;
  const std::string file = directory / "c.jsonl";
  ExpectOneSentence(RunPotluck({"jobs", "certificate", "1", "--output", file, "--coordinator", admin}), 1,
                    {"job 1 is running", "a job that is done"});
  ExpectOneSentence(RunPotluck({"jobs", "certificate", "7", "--output", file, "--coordinator", admin}), 1,
                    {"job is 7", "potluck jobs list"});
  EXPECT_TRUE(ReadDirectory(directory.path()).empty());
}

TEST(CertificateTest, WithoutAServerTheCommandWritesIt) {
  const TemporaryDirectory directory;
  Table table;
  const std::string file = directory / "c.jsonl.gz";
  Process& client =
      table.Run({"nqueens", "14", "--local-workers", "2", "--slice-seconds", "0.02", "--certificate", file, "--json"});
  ASSERT_EQ(client.WaitForExit(kPatience), Exit{}) << client.errors();
  EXPECT_EQ(ReadDirectory(directory.path()).size(), 1u) << "nothing else is left there";
  const Json verified =
      Json::parse(OutputOf(table, {"verify", file, "--sample", "1", "--dispatch", "scalar", "--json"}));
  EXPECT_EQ(verified["solutions"], "365596");
  EXPECT_EQ(verified["recomputed_slices"], verified["slices"]);
}

}  // namespace
}  // namespace potluck::end_to_end
