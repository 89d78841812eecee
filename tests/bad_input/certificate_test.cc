// Files that are no certificates, and places that no certificate can be written to: one sentence each.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/str_replace.h"
#include "cli/exit_code.h"
#include "tests/bad_input/program.h"

namespace potluck {
namespace {

class CertificateFileTest : public testing::Test {
 protected:
  void ExpectRefused(const std::string& bytes, const std::vector<std::string>& parts) {
    WriteWholeFile(file_, bytes);
    ExpectOneSentence(RunPotluck({"verify", file_}), kExitFailed, parts);
    ExpectOneSentence(RunPotluck({"verify", "-"}, {.input = bytes}), kExitFailed, {"standard input"});
  }

  const TemporaryDirectory directory_;
  const std::string file_ = directory_ / "c.jsonl";
};

TEST_F(CertificateFileTest, WhatIsNoCertificateIsToldByLine) {
  ExpectRefused("", {"is empty"});
  ExpectRefused("\n", {"line 1", "not a JSON object"});
  ExpectRefused("{\"n\":8}\n", {"line 1", "potluck_certificate is missing", "not a certificate"});
  ExpectRefused("{\"potluck_certificate\":1}", {"line 1", "cut short"});
  ExpectRefused(std::string(100'000, 'x'), {"line 1", "longer than"});
  ExpectRefused("\x1b[31m{\"begin\":\n", {"line 1"});
  ExpectOneSentence(RunPotluck({"verify", directory_.path()}), kExitFailed, {"cannot read", "directory"});
  ExpectOneSentence(RunPotluck({"verify", directory_ / "missing"}), kExitFailed, {"missing", "No such file"});
}

TEST_F(CertificateFileTest, ARightOneIsNotRightWhenItIsCutShortOrOfAnotherVersion) {
  const std::string zipped = directory_ / "c.jsonl.gz";
  ASSERT_EQ(RunPotluck({"nqueens", "8", "--certificate", zipped}).code, kExitOk);
  ASSERT_EQ(RunPotluck({"nqueens", "8", "--certificate", file_}).code, kExitOk);
  const std::string bytes = ReadWholeFile(zipped), text = ReadWholeFile(file_);
  EXPECT_EQ(RunPotluck({"verify", zipped}).code, kExitOk);
  EXPECT_EQ(RunPotluck({"verify", "-"}, {.input = bytes}).code, kExitOk);
  ExpectOneJsonObject(RunPotluck({"verify", file_, "--json"}));
  ExpectRefused(bytes.substr(0, bytes.size() - 3), {"cut short"});
  ExpectRefused(text.substr(0, text.size() / 2), {"cut short"});
  ExpectRefused(absl::StrReplaceAll(text, {{"\"potluck_certificate\":1", "\"potluck_certificate\":2"}}),
                {"line 1", "potluck_certificate is 2", "allowed is 1"});
  ExpectRefused(absl::StrReplaceAll(text, {{"\"solutions\":\"92\"", "\"solutions\":\"93\""}}), {"line"});
}

TEST_F(CertificateFileTest, APlaceThatCannotBeWrittenIsToldBeforeAnythingIsComputed) {
  ExpectOneSentence(RunPotluck({"nqueens", "24", "--certificate", "/dev/null"}), kExitFailed,
                    {"/dev/null", "not a plain file"});
  ExpectOneSentence(RunPotluck({"nqueens", "24", "--certificate", directory_ / "no/c"}), kExitFailed,
                    {"cannot write", "No such file"});
}

}  // namespace
}  // namespace potluck
