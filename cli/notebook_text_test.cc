#include "cli/notebook_text.h"

#include <algorithm>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

namespace potluck {
namespace {

constexpr char kToken[] = "QcWqPz0vT3mJkXy8_-abcdEF";

NotebookOptions Sample(const std::string& platform = "") {
  NotebookOptions options;
  options.join = {{"lab.example.org:4242", "[2001:db8::1]:1"}, std::string(32, '\xfb'), kToken};
  options.platform = platform.empty() ? nullptr : FindPlatform(platform);
  return options;
}

std::string Cell(const NotebookOptions& options) {
  const absl::StatusOr<std::string> cell = NotebookCell(options);
  EXPECT_TRUE(cell.ok()) << cell.status();
  return cell.value_or("");
}

TEST(NotebookTextTest, TheCellHasFewerThanFortyLinesThatCanBeRead) {
  for (const char* platform : {"", "colab", "kaggle", "jupyter"}) {
    NotebookOptions options = Sample(platform);
    options.exit_when_idle = 600;
    for (const bool pinned : {true, false}) {
      if (!pinned) std::swap(options.join.pin, options.join.bundle);
      const std::string cell = Cell(options);
      const std::vector<std::string> lines = absl::StrSplit(cell, '\n');
      EXPECT_EQ(lines.back(), "");
      EXPECT_LT(lines.size() - 1, 40u) << platform << "\n" << cell;
      for (const std::string& line : lines) EXPECT_LE(line.size(), 120u) << line;
      EXPECT_FALSE(absl::StrContains(cell, "@")) << cell;
      EXPECT_FALSE(absl::StrContains(cell, "#: ")) << cell;
    }
  }
}

TEST(NotebookTextTest, ForAnyCoordinatorTheKeyIsThatOfTheJoinString) {
  for (const char* platform : {"", "colab", "kaggle", "jupyter"}) {
    NotebookOptions options = Sample(platform);
    options.join = JoinString();
    options.exit_when_idle = 600;
    const std::string cell = Cell(options);
    const std::vector<std::string> lines = absl::StrSplit(cell, '\n');
    EXPECT_LT(lines.size() - 1, 40u) << platform << "\n" << cell;
    for (const std::string& line : lines) EXPECT_LE(line.size(), 120u) << line;
    EXPECT_FALSE(absl::StrContains(cell, "@")) << cell;
    EXPECT_FALSE(absl::StrContains(cell, "#: ")) << cell;
    EXPECT_FALSE(absl::StrContains(cell, "PIN")) << cell;
    EXPECT_TRUE(absl::StrContains(cell, "that your join string names")) << cell;
    EXPECT_TRUE(absl::StrContains(cell, "== join.partition(\"#\")[2].split(\".\")[1] or stop(")) << cell;
  }
}

TEST(NotebookTextTest, TheCellNamesTheCoordinatorAndItsKey) {
  const std::string cell = Cell(Sample());
  EXPECT_TRUE(absl::StrContains(cell, "lab.example.org:4242, [2001:db8::1]:1")) << cell;
  EXPECT_TRUE(absl::StrContains(cell, "\"-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_v7-_s\"")) << cell;
  EXPECT_TRUE(absl::StrContains(cell, "THAT COORDINATOR'S PROGRAM")) << cell;
}

TEST(NotebookTextTest, TheTokenIsThereOnlyIfItIsWanted) {
  NotebookOptions options = Sample();
  EXPECT_FALSE(absl::StrContains(Cell(options), kToken));
  EXPECT_FALSE(absl::StrContains(Notebook(options).value(), kToken));
  options.embed_token = true;
  EXPECT_TRUE(absl::StrContains(Cell(options), FormatJoinString(options.join).value()));
  EXPECT_TRUE(absl::StrContains(Notebook(options).value(), kToken));
}

TEST(NotebookTextTest, ThePlatformsRuleItsSourceAndItsSecretsAreThere) {
  for (const char* name : {"colab", "kaggle", "jupyter"}) {
    const std::string cell = Cell(Sample(name));
    std::string words = cell;  // The rule is broken into lines.
    while (words.find("\n# ") != std::string::npos) words.replace(words.find("\n# "), 3, " ");
    EXPECT_TRUE(absl::StrContains(words, FindPlatform(name)->rule)) << words;
    EXPECT_TRUE(absl::StrContains(cell, FindPlatform(name)->source)) << cell;
    EXPECT_TRUE(absl::StrContains(cell, FindPlatform(name)->dated)) << cell;
    EXPECT_TRUE(absl::StrContains(cell, "\nRULES_CONFIRMED = False  # ")) << cell;
    EXPECT_EQ(absl::StrContains(cell, "google.colab"), std::string(name) == "colab");
    EXPECT_EQ(absl::StrContains(cell, "kaggle_secrets"), std::string(name) == "kaggle");
  }
  EXPECT_TRUE(absl::StrContains(Cell(Sample()), "google.colab"));
  EXPECT_TRUE(absl::StrContains(Cell(Sample()), "kaggle_secrets"));
}

TEST(NotebookTextTest, WithoutAKeyTheBundlesDigestMustVouch) {
  NotebookOptions options = Sample();
  std::swap(options.join.pin, options.join.bundle);
  const std::string cell = Cell(options);
  EXPECT_FALSE(absl::StrContains(cell, "CERT_NONE")) << cell;
  EXPECT_TRUE(absl::StrContains(cell, "digest(program) == ")) << cell;
  options.join.bundle.clear();
  EXPECT_TRUE(absl::StrContains(NotebookCell(options).status().message(), "start the coordinator with a bundle"));
}

TEST(NotebookTextTest, TheNotebookExplainsAndHoldsTheCell) {
  NotebookOptions options = Sample("colab");
  options.exit_when_idle = 90;
  const nlohmann::json notebook = nlohmann::json::parse(Notebook(options).value());
  EXPECT_EQ(notebook["nbformat"], 4);
  ASSERT_EQ(notebook["cells"].size(), 2u);
  const std::string text = notebook["cells"][0]["source"];
  for (const std::string& part :
       {FindPlatform("colab")->rule, FindPlatform("colab")->source, FindPlatform("colab")->dated,
        FindPlatform("colab")->limits, std::string("One worker an account"), std::string("lab.example.org:4242")}) {
    EXPECT_TRUE(absl::StrContains(text, part)) << part;
  }
  EXPECT_EQ(notebook["cells"][1]["source"].get<std::string>() + "\n", Cell(options));
  EXPECT_TRUE(absl::StrContains(Cell(options), "[\"--exit-when-idle\", \"90\"]"));
}

}  // namespace
}  // namespace potluck
