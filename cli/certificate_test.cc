// The certificate's lines, the files they are in, and what `verify` finds in those that somebody changed.
#include "cli/certificate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_replace.h"
#include "cli/certificate_check.h"
#include "cli/certificate_reader.h"
#include "cli/certificate_testing.h"
#include "cli/output_file.h"
#include "kernels/nqueens/known.h"

namespace potluck {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

class CertificateTest : public ::testing::Test {
 protected:
  CertificateTest() {
    std::string pattern = ::testing::TempDir() + "/potluck-certificate-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  ~CertificateTest() override { std::filesystem::remove_all(directory_); }

  std::string Path(const std::string& name) const { return directory_ + "/" + name; }
  static std::string Bytes(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string Write(const std::string& text, const std::string& name = "certificate") const {
    std::ofstream(Path(name), std::ios::binary) << text;
    return Path(name);
  }
  static absl::StatusOr<CertificateFindings> CheckFile(const std::string& path,
                                                       const CertificateCheckOptions& options) {
    auto reader = CertificateReader::Open(path);
    if (!reader.ok()) return reader.status();
    return CheckCertificate(**reader, options, [] { return absl::StatusOr<std::unique_ptr<Runner>>(TestRunner()); });
  }
  absl::StatusOr<CertificateFindings> Check(const std::string& text, double sample = 1) const {
    CertificateCheckOptions options;
    options.sample = sample;
    return CheckFile(Write(text), options);
  }
  // What is said about it; "holds" if nothing is wrong.
  std::string Verdict(const std::string& text, double sample = 1) const {
    const auto findings = Check(text, sample);
    return findings.ok() ? "holds" : std::string(findings.status().message());
  }
  std::string Verdict(const TestCertificate& certificate, double sample = 1) const {
    return Verdict(certificate.Text(), sample);
  }

  const TestCertificate right_ = TestCertificate::Of(10, 7);
  std::string directory_;
};

TEST_F(CertificateTest, ARightOneHolds) {
  for (const uint32_t n : {1u, 2u, 5u, 8u, 9u, 10u}) {
    const TestCertificate certificate = TestCertificate::Of(n, 5);
    const auto findings = Check(certificate.Text());
    ASSERT_TRUE(findings.ok()) << findings.status();
    EXPECT_EQ(findings->header.spec, certificate.header.spec);
    EXPECT_EQ(findings->totals.counts.solutions, *nqueens::KnownSolutions(static_cast<int>(n)));
    EXPECT_EQ(findings->published, true);
    EXPECT_EQ(findings->recomputed, certificate.slices.size());
    EXPECT_EQ(findings->workers, std::min<size_t>(2, certificate.slices.size()));
  }
}

TEST_F(CertificateTest, LinesAreReadAsTheyWereWritten) {
  CertificateSlice slice = right_.slices[1];
  slice.worker = "quotes \" and \xc3\xa9";
  slice.verified_by = "somebody else";
  slice.counts.solutions = Count128::Max();
  const std::string line = ToLine(slice);
  EXPECT_EQ(line.back(), '\n');
  const auto parsed = ParseLine(line.substr(0, line.size() - 1));
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  const auto& read = std::get<CertificateSlice>(*parsed);
  EXPECT_EQ(read.interval, slice.interval);
  EXPECT_EQ(read.counts, slice.counts);
  EXPECT_EQ(read.worker, slice.worker);
  EXPECT_EQ(read.verified_by, slice.verified_by);
  EXPECT_THAT(ToLine(right_.slices[0]), HasSubstr("\"verified_by\":null"));
}

TEST_F(CertificateTest, AnyChangeOfAnyLineIsFoundWithoutRecomputing) {
  const std::vector<std::string> lines = right_.Lines();
  // One character at a time: many of one line, some of each.
  for (size_t line = 0; line < lines.size(); ++line) {
    for (size_t at = 0; at < lines[line].size(); at += line == 3 ? 2 : 37) {
      std::vector<std::string> changed = lines;
      changed[line][at] = changed[line][at] == '7' ? '8' : '7';
      ASSERT_NE(Verdict(absl::StrJoin(changed, ""), /*sample=*/0), "holds") << line << ": " << changed[line];
    }
  }
}

TEST_F(CertificateTest, DroppedDoubledAndSwappedLinesAreFoundThoughTheDigestFits) {
  TestCertificate forged = right_;
  forged.slices.erase(forged.slices.begin() + 3);
  EXPECT_THAT(Verdict(forged, 0), AllOf(HasSubstr("line 5"), HasSubstr("[21, 28) are in no slice")));
  forged = right_;
  forged.slices.erase(forged.slices.begin());
  EXPECT_THAT(Verdict(forged, 0), AllOf(HasSubstr("line 2"), HasSubstr("[0, 7) are in no slice")));
  forged = right_;
  const Interval last = forged.slices.back().interval;
  forged.slices.pop_back();
  EXPECT_THAT(Verdict(forged, 0), HasSubstr(ToString(last) + " are in no slice"));
  forged = right_;
  forged.slices.insert(forged.slices.begin() + 4, forged.slices[3]);
  EXPECT_THAT(Verdict(forged, 0), AllOf(HasSubstr("line 6"), HasSubstr("[21, 28) overlaps those before")));
  forged = right_;
  std::swap(forged.slices[3], forged.slices[4]);
  EXPECT_THAT(Verdict(forged, 0), HasSubstr("[21, 28) are in no slice"));
}

TEST_F(CertificateTest, ChangedBoundsAreFoundThoughTheDigestFits) {
  TestCertificate forged = right_;
  ++forged.slices[3].interval.end;
  EXPECT_NE(Verdict(forged, 0), "holds");
  forged = right_;
  --forged.slices[3].interval.end;
  EXPECT_THAT(Verdict(forged, 0), HasSubstr("[27, 28) are in no slice"));
  // Both neighbours agree on the wrong place: only a recomputation can tell.
  forged = right_;
  ++forged.slices[3].interval.end;
  ++forged.slices[4].interval.begin;
  if (const std::string verdict = Verdict(forged, 0); verdict != "holds") {
    EXPECT_THAT(verdict, HasSubstr("allowed"));  // No longer possible.
  }
  EXPECT_NE(Verdict(forged, 1), "holds");
  forged = right_;
  forged.slices.back().interval.end += 1;
  EXPECT_THAT(Verdict(forged, 0), HasSubstr("ends beyond"));
}

TEST_F(CertificateTest, ChangedCountsAreFoundThoughTheDigestFits) {
  const std::function<void(nqueens::Counts&)> changes[] = {
      [](nqueens::Counts& counts) { EXPECT_TRUE(counts.solutions.Add(2)); },
      [](nqueens::Counts& counts) { EXPECT_TRUE(counts.nodes.Add(2) && counts.visited.Add(1)); },
      [](nqueens::Counts& counts) { counts.checksum ^= 1; }};
  for (const auto& change : changes) {
    TestCertificate forged = right_;
    change(forged.slices[3].counts);
    EXPECT_THAT(Verdict(forged, 0), HasSubstr("the slices add up to"));
    change(forged.totals.counts);
    EXPECT_NE(Verdict(forged, 1), "holds") << "the totals fit now";
  }
  // Impossible whatever the board holds.
  TestCertificate forged = right_;
  EXPECT_TRUE(forged.slices[3].counts.solutions.Add(1'000'000'000));
  EXPECT_THAT(Verdict(forged, 0), AllOf(HasSubstr("line 5"), HasSubstr("worker bob"), HasSubstr("solutions")));
  forged = right_;
  ++forged.totals.slices;
  EXPECT_THAT(Verdict(forged, 0), HasSubstr("slices, but there are"));
}

TEST_F(CertificateTest, AForgerWhoseTotalsFitIsNamedByTheSample) {
  // Too many in one slice, as many too few in another: totals, digest and published value all fit.
  TestCertificate forged = right_;
  CertificateSlice* rich = nullptr;
  for (CertificateSlice& slice : forged.slices) {
    if (slice.counts.solutions >= Count128(4) && slice.interval.begin > 20) rich = &slice;
  }
  ASSERT_NE(rich, nullptr);
  rich->counts.solutions = Count128(rich->counts.solutions.low() - 2);
  EXPECT_TRUE(forged.slices[0].counts.solutions.Add(2));
  EXPECT_EQ(Verdict(forged, 0), "holds") << "nothing but a recomputation can tell";
  EXPECT_THAT(Verdict(forged, 1), AllOf(HasSubstr("slice [0, 7) of worker ada (line 2) is wrong"),
                                        HasSubstr("solutions, this machine finds")));
  forged = right_;
  forged.slices[5].counts.checksum += 9;
  forged.slices[2].counts.checksum -= 9;
  EXPECT_EQ(Verdict(forged, 0), "holds");
  EXPECT_THAT(Verdict(forged, 1), AllOf(HasSubstr("slice [14, 21) of worker ada (line 4)"), HasSubstr("checksum")));
}

TEST_F(CertificateTest, ATotalThatIsNotThePublishedOneIsFound) {
  TestCertificate forged = right_;
  EXPECT_TRUE(forged.slices[3].counts.solutions.Add(2));
  EXPECT_TRUE(forged.totals.counts.solutions.Add(2));
  EXPECT_THAT(Verdict(forged, 0),
              AllOf(HasSubstr("is 726"), HasSubstr("published one is 724"), HasSubstr("--sample 1")));
  EXPECT_THAT(Verdict(forged, 1), HasSubstr("slice [21, 28) of worker bob"));
}

TEST_F(CertificateTest, MalformedLinesAreToldByLineAndField) {
  const std::string text = right_.Text();
  const std::string third = ToLine(right_.slices[1]);
  const auto with = [&](const std::string& from, const std::string& to) {
    EXPECT_NE(third.find(from), std::string::npos) << from;
    return Verdict(absl::StrReplaceAll(text, {{third, absl::StrReplaceAll(third, {{from, to}})}}), 0);
  };
  EXPECT_THAT(with("\"begin\":7,", ""), HasSubstr("line 3: begin is missing"));
  EXPECT_THAT(with("\"begin\":7", "\"begin\":-7"), HasSubstr("line 3: begin is -7; allowed is a whole number"));
  EXPECT_THAT(with("\"begin\":7", "\"begin\":\"7\""), HasSubstr("line 3: begin is \"7\""));
  EXPECT_THAT(with("\"end\":14", "\"end\":7"), HasSubstr("line 3: end is 7; allowed is a whole number from 8"));
  EXPECT_THAT(with("\"end\":14", "\"end\":14.5"), HasSubstr("line 3: end is 14.5"));
  EXPECT_THAT(with("\"solutions\":\"", "\"solutions\":\"x"), HasSubstr("line 3: solutions is \"x"));
  EXPECT_THAT(with("\"solutions\":\"", "\"solutions\":\"0"), HasSubstr("line 3: solutions is \"0"));
  EXPECT_THAT(with("\"worker\":\"", absl::StrCat("\"worker\":\"", std::string(2000, 'x'))),
              HasSubstr("bytes long; allowed is at most 1024"));
  EXPECT_THAT(with("\"nodes\":\"", "\"nodes\":\"999999999999999999999999999999999999999"), HasSubstr("below 2^128"));
  EXPECT_THAT(with("\"checksum\":\"", "\"checksum\":\"0"), HasSubstr("16 hexadecimal digits"));
  EXPECT_THAT(with("\"worker\":\"bob\"", "\"worker\":7"), HasSubstr("line 3: worker is 7"));
  EXPECT_THAT(with("\"end\":14", "\"end\":14,\"end\":14"), HasSubstr("line 3: end stands there twice"));
  EXPECT_THAT(with("{", "["), HasSubstr("line 3: it is not a JSON object"));
  EXPECT_THAT(with("\"begin\"", "\"extra\":\"" + std::string(20'000, 'x') + "\",\"begin\""),
              HasSubstr("line 3: it is longer"));
  // What a later version adds is passed over; it counts for the digest.
  EXPECT_THAT(with("\"begin\"", "\"extra\":[1],\"begin\""), HasSubstr("sha256"));
}

TEST_F(CertificateTest, HeadersOfOtherFilesAreRefused) {
  const std::string text = right_.Text();
  const auto with = [&](const std::string& from, const std::string& to) {
    EXPECT_NE(text.find(from), std::string::npos) << from;
    return Verdict(absl::StrReplaceAll(text, {{from, to}}), 0);
  };
  EXPECT_THAT(with("\"potluck_certificate\":1", "\"potluck_certificate\":2"),
              AllOf(HasSubstr("line 1: potluck_certificate is 2; allowed is 1"), HasSubstr("this build reads")));
  EXPECT_THAT(with("\"potluck_certificate\":1,", ""), HasSubstr("this is not a certificate"));
  EXPECT_THAT(with("\"workload\":\"nqueens\"", "\"workload\":\"cnn\""), HasSubstr("workload is \"cnn\""));
  EXPECT_THAT(with("\"n\":10", "\"n\":11"), HasSubstr("n is 11; allowed is 10, as spec says"));
  EXPECT_THAT(with("\"spec\":\"08", "\"spec\":\"0Z"), HasSubstr("line 1: spec is"));
  EXPECT_THAT(with("\"algorithm\":\"backtracking\"", "\"algorithm\":\"magic\""), HasSubstr("algorithm is \"magic\""));
  TestCertificate forged = right_;
  ++forged.header.index_space;
  EXPECT_THAT(Verdict(forged, 0), HasSubstr("line 1: index_space is"));
  EXPECT_THAT(Verdict("{}\n"), HasSubstr("this is not a certificate"));
  EXPECT_THAT(Verdict("\x7f"
                      "ELF\n"),
              HasSubstr("line 1: it is not a JSON object"));
  EXPECT_THAT(Verdict(""), HasSubstr("it is empty"));
}

TEST_F(CertificateTest, WhatWasCutShortIsToldSo) {
  const std::string text = right_.Text();
  const size_t totals = text.rfind('\n', text.size() - 2) + 1;
  EXPECT_THAT(Verdict(text.substr(0, totals)), AllOf(HasSubstr("without the line of totals"), HasSubstr("cut short")));
  EXPECT_THAT(Verdict(text.substr(0, totals - 5)), HasSubstr("ends in the middle of it"));
  EXPECT_THAT(Verdict(text.substr(0, text.size() - 1)), HasSubstr("ends in the middle of it"));
  EXPECT_THAT(Verdict(text + "\n"), HasSubstr("stands after the line of totals"));
  EXPECT_THAT(Verdict(text + text), HasSubstr("stands after the line of totals"));
}

TEST_F(CertificateTest, CompressedFilesAreReadWhateverTheirName) {
  {
    auto file = OutputFile::Create(Path("c.jsonl.gz")).value();
    for (const std::string& line : right_.Lines()) ASSERT_TRUE(file->Write(line).ok());
    ASSERT_TRUE(file->Finish().ok());
  }
  const std::string bytes = Bytes(Path("c.jsonl.gz"));
  ASSERT_LT(bytes.size(), right_.Text().size() / 2);
  EXPECT_EQ(bytes.substr(0, 2), "\x1f\x8b");
  EXPECT_EQ(Verdict(bytes), "holds");
  for (const size_t size : {bytes.size() - 1, bytes.size() - 9, bytes.size() / 2}) {
    EXPECT_THAT(Verdict(bytes.substr(0, size)), HasSubstr("cut short")) << size;
  }
  std::string damaged = bytes;
  damaged[damaged.size() / 2] ^= 0x10;
  EXPECT_NE(Verdict(damaged), "holds");
}

TEST_F(CertificateTest, TheSampleIsDrawnByTheSeed) {
  const TestCertificate certificate = TestCertificate::Of(8, 1);
  const std::string path = Write(certificate.Text());
  const auto recomputed = [&](double share, uint64_t seed) {
    CertificateCheckOptions options;
    options.sample = share;
    options.seed = seed;
    return CheckFile(path, options).value().recomputed;
  };
  const double all = static_cast<double>(certificate.slices.size());
  ASSERT_GT(all, 20);
  double sum = 0;
  bool differ = false;
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    const uint64_t drawn = recomputed(0.25, seed);
    EXPECT_EQ(drawn, recomputed(0.25, seed));
    differ |= drawn != recomputed(0.25, 1);
    sum += static_cast<double>(drawn);
  }
  EXPECT_TRUE(differ);
  EXPECT_NEAR(sum / 100, all / 4, all / 20);
  EXPECT_EQ(recomputed(1e-9, 3), 1u) << "at least one";
  EXPECT_EQ(recomputed(0, 3), 0u);
}

// A slice that is wrong is found in about as many of the samples as their share says, wherever it stands.
TEST_F(CertificateTest, EverySliceIsDrawnBySomeSeed) {
  TestCertificate forged = TestCertificate::Of(8, 1);
  for (const size_t wrong : {size_t{0}, forged.slices.size() / 2, forged.slices.size() - 1}) {
    TestCertificate one = forged;
    one.slices[wrong].counts.checksum += 1;
    one.totals.counts.checksum += 1;
    const std::string path = Write(one.Text());
    int found = 0;
    for (uint64_t seed = 1; seed <= 200; ++seed) {
      CertificateCheckOptions options;
      options.sample = 0.5;
      options.seed = seed;
      found += CheckFile(path, options).ok() ? 0 : 1;
    }
    EXPECT_NEAR(found, 100, 35) << wrong;
  }
}

TEST_F(CertificateTest, NoSliceIsBegunWhenTheTimeIsOver) {
  CertificateCheckOptions options;
  options.sample = 1;
  options.longest = absl::Seconds(10);
  absl::Time clock = absl::UnixEpoch();
  options.now = [&] { return clock += absl::Seconds(4); };
  const auto findings = CheckFile(Write(right_.Text()), options);
  ASSERT_TRUE(findings.ok()) << findings.status();
  // Begun at 4 s; looked at 8, 12 and 16 s.
  EXPECT_EQ(findings->recomputed, 3u);
  EXPECT_EQ(findings->drawn, right_.slices.size());
}

TEST_F(CertificateTest, NothingIsLeftOfAFileThatWasNotFinished) {
  const std::string path = Write("what was there", "kept");
  {
    auto file = OutputFile::Create(path).value();
    ASSERT_TRUE(file->Write("half of").ok());
    EXPECT_EQ(Bytes(path), "what was there");
  }
  EXPECT_EQ(Bytes(path), "what was there");
  const auto entries = std::filesystem::directory_iterator(directory_);
  EXPECT_EQ(std::distance(begin(entries), end(entries)), 1);
  auto file = OutputFile::Create(path).value();
  ASSERT_TRUE(file->Write("the whole").ok() && file->Finish().ok());
  EXPECT_EQ(Bytes(path), "the whole");
}

TEST_F(CertificateTest, PlacesThatCannotBeWrittenAreToldBefore) {
  EXPECT_THAT(std::string(OutputFile::Create(directory_).status().message()), HasSubstr("not a plain file"));
  EXPECT_THAT(std::string(OutputFile::Create("/dev/null").status().message()), HasSubstr("not a plain file"));
  EXPECT_THAT(std::string(OutputFile::Create(Path("no/such")).status().message()),
              AllOf(HasSubstr("cannot write"), HasSubstr("No such file")));
}

}  // namespace
}  // namespace potluck
