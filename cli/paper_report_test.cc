// What `bench paper` shows, from figures made up here.
#include "cli/paper_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "cli/plot_svg.h"

namespace potluck {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

PaperCell Cell(double seconds, uint64_t visited, uint64_t solutions) {
  PaperCell cell;
  cell.seconds = seconds;
  cell.runs = 3;
  cell.counts.solutions = solutions;
  cell.counts.visited = visited;
  cell.counts.nodes = 2 * visited;
  return cell;
}

// Boards 10 and 11; the columns that `measured` says.
PaperBench MadeUp(std::array<bool, kPaperColumns> measured = {true, true, true, true, true}) {
  PaperBench bench;
  bench.cpu = "CPU <of> \"Ada & Bob\"";
  bench.dispatch = "avx512";
  if (measured[kGpu]) bench.gpu = "GPU 9000";
  if (!measured[kGpu]) bench.gpu_note = "there is no driver";
  bench.threads = 2;
  bench.repeat = 3;
  const double seconds[] = {1, 0.25, 0.125, 0.0625, 0.03125};
  for (const int n : {10, 11}) {
    PaperRow row;
    row.n = n;
    for (size_t column = 0; column < kPaperColumns; ++column) {
      if (measured[column]) row.cells[column] = Cell(n == 10 ? seconds[column] : 5 * seconds[column], 8'000'000, 1000);
    }
    bench.rows.push_back(row);
  }
  return bench;
}

std::vector<std::string> Lines(const std::string& text) { return absl::StrSplit(text, '\n'); }

std::string LineWith(const std::string& text, const std::string& start, size_t which = 0) {
  for (const std::string& line : Lines(text)) {
    if (line.substr(0, start.size()) == start && which-- == 0) return line;
  }
  return "";
}

std::vector<std::string> Words(const std::string& line) { return absl::StrSplit(line, ' ', absl::SkipEmpty()); }

// Every start tag is ended in order, every attribute quoted, nothing left unescaped.
std::string XmlError(const std::string& xml) {
  std::vector<std::string> open;
  std::string text;
  for (size_t at = 0; at < xml.size();) {
    const size_t start = std::min(xml.find('<', at), xml.size());
    text = xml.substr(at, start - at);
    if (text.find('>') != std::string::npos) return "a > outside of a tag: " + text;
    if (std::regex_replace(text, std::regex("&(amp|lt|gt|quot);"), "").find('&') != std::string::npos) {
      return "an & that names nothing: " + text;
    }
    if (start == xml.size()) break;
    const size_t end = xml.find('>', start);
    if (end == std::string::npos) return "a tag without its end";
    const std::string tag = xml.substr(start + 1, end - start - 1);
    at = end + 1;
    if (tag[0] == '?') continue;
    if (tag[0] == '/') {
      if (open.empty() || open.back() != tag.substr(1)) return "an end without its start: " + tag;
      open.pop_back();
      continue;
    }
    static const std::regex kTag("([a-z]+)( [a-zA-Z:-]+=\"[^\"<&]*(&[a-z]+;[^\"<&]*)*\")*(/?)");
    std::smatch match;
    if (!std::regex_match(tag, match, kTag)) return "a tag that is none: " + tag;
    if (match[4].length() == 0) open.push_back(match[1]);
  }
  return open.empty() ? "" : "no end of " + open.back();
}

double Luminance(const std::string& hex) {
  double light = 0;
  const double weights[] = {0.2126, 0.7152, 0.0722};
  for (int i = 0; i < 3; ++i) {
    const double value = std::stoi(hex.substr(1 + 2 * static_cast<size_t>(i), 2), nullptr, 16) / 255.0;
    light += weights[i] * (value <= 0.03928 ? value / 12.92 : std::pow((value + 0.055) / 1.055, 2.4));
  }
  return light;
}

TEST(PaperReportTest, TheTablesHaveRatesAndSpeedUpsAndThePapersOwn) {
  const std::string text = PaperText(MadeUp());
  for (const std::string& line : Lines(text)) EXPECT_LE(line.size(), 100u) << line;
  EXPECT_THAT(Words(LineWith(text, "10")),
              ElementsAre("10", "8.00", "M", "32.0", "M", "64.0", "M", "128", "M", "0.0312", "32.0", "k", "32.0"));
  EXPECT_THAT(Words(LineWith(text, "10", 1)), ElementsAre("10", "4.00", "8.00", "16.0", "2.00"));
  EXPECT_THAT(Words(LineWith(text, "paper ")), ElementsAre("paper", "6.41", "M"));
  EXPECT_THAT(text, HasSubstr("Mainstream (i7-3770)"));
  EXPECT_THAT(text, ::testing::ContainsRegex("multicore +Server +.*13\\.9\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("multicore +Mainstream +.*4\\.27\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("multicore +Colab +.*none\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("GPU +Server +Tesla K40m +19\\.11\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("GPU +Colab +Tesla K80.* 18\\.31\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("GPU +Mainstream +GTX 1050 Ti +17\n"));
}

TEST(PaperReportTest, WhatCannotBeMeasuredIsADash) {
  const std::string text = PaperText(MadeUp({true, false, true, false, false}));
  EXPECT_THAT(text, HasSubstr("GPU  none: there is no driver"));
  EXPECT_THAT(Words(LineWith(text, "10")), ElementsAre("10", "8.00", "M", "-", "64.0", "M", "-", "-", "-", "-"));
  EXPECT_THAT(Words(LineWith(text, "10", 1)), ElementsAre("10", "-", "8.00", "-", "8.00"));
}

TEST(PaperReportTest, TheJsonHasAllOfIt) {
  const nlohmann::ordered_json json = PaperJson(MadeUp());
  ASSERT_EQ(json["rows"].size(), 2u);
  const nlohmann::ordered_json& row = json["rows"][0];
  EXPECT_EQ(row["n"], 10);
  EXPECT_EQ(row["solutions"], "1000");
  EXPECT_EQ(row["nodes"], "16000000");
  EXPECT_EQ(row["visited"], "8000000");
  for (const char* column : {"serial", "serial_best", "multicore", "gpu"}) {
    EXPECT_GT(row[column]["seconds"], 0);
    EXPECT_GT(row[column]["nodes_per_second"], 0);
    EXPECT_EQ(row[column]["runs"], 3);
  }
  EXPECT_FALSE(row["mitm"].contains("nodes_per_second"));
  EXPECT_EQ(row["mitm"]["solutions_per_second"], 32000.0);
  EXPECT_EQ(row["speed_up_over_serial"]["gpu"], 16.0);
  EXPECT_EQ(row["multicore_over_one_thread"], 2.0);
  EXPECT_EQ(json["paper"]["best_core_nodes_per_second"], 6.41e6);
  EXPECT_EQ(json["paper"]["gpu_speed_up"]["Colab"], 18.31);
  EXPECT_TRUE(json["paper"]["multicore_speed_up"]["Colab"].is_null());
  const nlohmann::ordered_json poor = PaperJson(MadeUp({true, false, true, false, false}));
  EXPECT_TRUE(poor["gpu"].is_null());
  EXPECT_TRUE(poor["rows"][0]["gpu"].is_null());
  EXPECT_TRUE(poor["rows"][0]["speed_up_over_serial"]["mitm"].is_null());
  EXPECT_EQ(poor["rows"][0]["multicore_over_one_thread"], 8.0);
}

TEST(PaperReportTest, TheSvgIsWellFormedAndNeedsNothingElse) {
  for (const PaperBench& bench : {MadeUp(), MadeUp({true, false, true, false, false})}) {
    const std::string svg = PaperSvg(bench);
    EXPECT_EQ(XmlError(svg), "");
    EXPECT_THAT(svg, HasSubstr("CPU &lt;of&gt; &quot;Ada &amp; Bob&quot;"));
    EXPECT_THAT(svg, HasSubstr("<desc>"));
    EXPECT_THAT(svg, HasSubstr("paper: best core (i7-3770)"));
    EXPECT_THAT(svg, HasSubstr("19.11"));
    EXPECT_THAT(svg, Not(HasSubstr("nan")));
    EXPECT_THAT(svg, Not(HasSubstr("inf")));
    EXPECT_THAT(svg, Not(HasSubstr("href")));
    EXPECT_EQ(svg.find("http", svg.find("http") + 1), std::string::npos) << "the name space and nothing else";
  }
  if (const char* file = std::getenv("POTLUCK_SVG_FILE"); file != nullptr) std::ofstream(file) << PaperSvg(MadeUp());
}

TEST(PaperReportTest, ItsColoursStandOutFromWhiteAndFromBlack) {
  const std::string svg = PaperSvg(MadeUp());
  const std::regex colour("\"(#[0-9a-f]{6})\"");
  int found = 0;
  for (std::sregex_iterator it(svg.begin(), svg.end(), colour), end; it != end; ++it, ++found) {
    const double light = Luminance((*it)[1]);
    EXPECT_GE(1.05 / (light + 0.05), 3) << (*it)[1];
    EXPECT_GE((light + 0.05) / (Luminance("#0d1117") + 0.05), 3) << (*it)[1];
  }
  EXPECT_GT(found, 20);
}

TEST(PlotSvgTest, LabelsDoNotLieOnEachOtherAndStayInTheChart) {
  Plot plot{"t", "d", "x", "y", {}, {}};
  for (const double y : {19.11, 18.31, 17.0, 13.9, 4.27, 19.2, 19.3})
    plot.references.push_back({absl::StrCat("r", y), y});
  plot.lines.push_back({"line", {{1, 1}, {2, 19}}});
  const std::string svg = RenderSvg("title", {plot});
  std::vector<double> ys;
  const std::regex label("<text x=\"544.0\" y=\"([0-9.]+)\"");
  for (std::sregex_iterator it(svg.begin(), svg.end(), label), end; it != end; ++it) ys.push_back(std::stod((*it)[1]));
  ASSERT_EQ(ys.size(), 8u);
  std::sort(ys.begin(), ys.end());
  for (size_t i = 1; i < ys.size(); ++i) EXPECT_GE(ys[i] - ys[i - 1], 14.9);
  EXPECT_LE(ys.back(), 44 + 400 - 40);
  EXPECT_GE(ys.front(), 44);
}

TEST(PlotSvgTest, AChartOfNothingAndOneOfAPointAreDrawn) {
  EXPECT_EQ(XmlError(RenderSvg("", {})), "");
  const Plot nothing{"t", "d", "x", "y", {{"none", {}}}, {{"r", 3}}};
  EXPECT_THAT(RenderSvg("", {nothing}), HasSubstr("nothing measured"));
  const Plot point{"t", "d", "x", "y", {{"one", {{4, 1}}}}, {}};
  const std::string svg = RenderSvg("", {point});
  EXPECT_EQ(XmlError(svg), "");
  EXPECT_THAT(svg, HasSubstr(">10<"));
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  const Plot wide{"t", "d", "x", "y", {{"wide", {{1, 1e-3}, {2, 9e9}}}}, {}};
  EXPECT_THAT(RenderSvg("", {wide}), HasSubstr(">10 G<"));
}

}  // namespace
}  // namespace potluck
