#include "cli/paper_report.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "cli/output.h"
#include "cli/plot_svg.h"

namespace potluck {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, kPaperColumns> kJsonNames = {"serial", "serial_best", "multicore", "gpu", "mitm"};

// ---- What was published

constexpr double kPaperBestCore = 6.41e6;  // Nodes a second.

struct Published {
  const char* testbed;
  const char* machine;
  double speed_up;  // Over one core of Colab.
};
constexpr Published kPaperMulticore[] = {{"Server", "2 x Xeon E5-2650v3, 20 cores", 13.9},
                                         {"Mainstream", "i7-3770, 4 cores", 4.27}};
constexpr Published kPaperGpu[] = {
    {"Server", "Tesla K40m", 19.11}, {"Colab", "Tesla K80, one GK210", 18.31}, {"Mainstream", "GTX 1050 Ti", 17.0}};
constexpr char kSource[] = "doi 10.1109/ACCESS.2018.2874767";

// ----

std::string Times(std::optional<double> factor) {
  if (!factor) return "-";
  return absl::StrFormat("%.*f", *factor < 9.995 ? 2 : *factor < 99.95 ? 1 : 0, *factor);
}

// As it was printed.
std::string PublishedText(double speed_up) { return absl::StrFormat("%.4g", speed_up); }

std::string NodesText(const std::optional<PaperCell>& cell) { return cell ? Metric(cell->nodes_per_second()) : "-"; }

std::string SecondsText(double seconds) { return absl::StrFormat("%.3g", seconds); }

std::string ThreadsName(const PaperBench& bench) { return absl::StrCat(bench.threads, "-thread"); }

std::string Figure1(const PaperBench& bench) {
  std::vector<std::vector<std::string>> rows = {
      {"n", "serial", bench.dispatch, ThreadsName(bench), "GPU", "", "mitm: s", "solutions/s", "x serial"}};
  for (const PaperRow& row : bench.rows) {
    const std::optional<PaperCell>& mitm = row.cells[kMitm];
    rows.push_back({absl::StrCat(row.n), NodesText(row.cells[kSerial]), NodesText(row.cells[kSerialBest]),
                    NodesText(row.cells[kMulticore]), NodesText(row.cells[kGpu]), "",
                    mitm ? SecondsText(mitm->seconds) : "-", mitm ? Metric(mitm->solutions_per_second()) : "-",
                    Times(row.SpeedUp(kMitm))});
  }
  rows.push_back({"paper", Metric(kPaperBestCore)});
  return absl::StrCat("Figure 1: nodes visited a second by backtracking; then meet in the middle (mitm), one thread\n",
                      Table(rows, {1, 2, 3, 4, 6, 7, 8}), "paper: its best core, Mainstream (i7-3770)\n");
}

std::string Figure2(const PaperBench& bench) {
  std::vector<std::vector<std::string>> rows = {
      {"n", bench.dispatch, ThreadsName(bench), "GPU", "", absl::StrCat(ThreadsName(bench), " over 1")}};
  for (const PaperRow& row : bench.rows) {
    rows.push_back({absl::StrCat(row.n), Times(row.SpeedUp(kSerialBest)), Times(row.SpeedUp(kMulticore)),
                    Times(row.SpeedUp(kGpu)), "", Times(row.MulticoreSpeedUp())});
  }
  std::string text =
      absl::StrCat("Figure 2: speed-up over one core (serial); then of all threads over one by the same ", "code\n",
                   Table(rows, {1, 2, 3, 5}));
  std::vector<std::vector<std::string>> published = {{"paper, over one core of Colab", "testbed", "", "x"}};
  for (const Published& one : kPaperMulticore) {
    published.push_back({"multicore", one.testbed, one.machine, PublishedText(one.speed_up)});
  }
  published.push_back({"multicore", "Colab", "Xeon 2.3 GHz, 2 threads", "none"});
  for (const Published& one : kPaperGpu) {
    published.push_back({"GPU", one.testbed, one.machine, PublishedText(one.speed_up)});
  }
  return absl::StrCat(text, "\n", Table(published, {3}));
}

Json CellJson(const std::optional<PaperCell>& cell, bool visits_nodes) {
  if (!cell) return nullptr;
  Json json;
  json["seconds"] = cell->seconds;
  json["runs"] = cell->runs;
  if (visits_nodes) json["nodes_per_second"] = cell->nodes_per_second();
  json["solutions_per_second"] = cell->solutions_per_second();
  return json;
}

Json FactorJson(std::optional<double> factor) { return factor ? Json(*factor) : Json(nullptr); }

Json RowJson(const PaperRow& row) {
  Json json;
  const nqueens::Counts& counts = row.cells[kSerial]->counts;
  json["n"] = row.n;
  json["solutions"] = counts.solutions.ToString();
  json["nodes"] = counts.nodes.ToString();
  json["visited"] = counts.visited.ToString();
  for (size_t column = 0; column < kPaperColumns; ++column) {
    json[kJsonNames[column]] = CellJson(row.cells[column], column != kMitm);
  }
  Json speed_up;
  for (const PaperColumn column : {kSerialBest, kMulticore, kGpu, kMitm}) {
    speed_up[kJsonNames[column]] = FactorJson(row.SpeedUp(column));
  }
  json["speed_up_over_serial"] = std::move(speed_up);
  json["multicore_over_one_thread"] = FactorJson(row.MulticoreSpeedUp());
  return json;
}

Json PublishedJson() {
  Json json;
  json["source"] = kSource;
  json["best_core_nodes_per_second"] = kPaperBestCore;
  json["best_core_testbed"] = "Mainstream";
  for (const Published& one : kPaperMulticore) json["multicore_speed_up"][one.testbed] = one.speed_up;
  json["multicore_speed_up"]["Colab"] = nullptr;
  for (const Published& one : kPaperGpu) json["gpu_speed_up"][one.testbed] = one.speed_up;
  return json;
}

// The value of each row that has one, against n.
template <typename Value>
PlotLine LineOf(const PaperBench& bench, const std::string& name, Value value) {
  PlotLine line{name, {}};
  for (const PaperRow& row : bench.rows) {
    if (const std::optional<double> y = value(row); y) line.points.emplace_back(row.n, *y);
  }
  return line;
}

Plot NodesPlot(const PaperBench& bench) {
  Plot plot;
  plot.title = "Figure 1: nodes visited a second by backtracking";
  plot.description = absl::StrCat(
      "Search-tree nodes visited a second, against the size of the board, by one thread, ", "by ", bench.threads,
      " threads and by a GPU where there is one. The best core of the ", "paper visited 6.41 million a second.");
  plot.x_name = "n, queens";
  plot.y_name = "nodes/s";
  const auto rate = [&](PaperColumn column) {
    return [column](const PaperRow& row) -> std::optional<double> {
      if (!row.cells[column]) return std::nullopt;
      return row.cells[column]->nodes_per_second();
    };
  };
  plot.lines = {LineOf(bench, "one thread, scalar", rate(kSerial)),
                LineOf(bench, absl::StrCat("one thread, ", bench.dispatch), rate(kSerialBest)),
                LineOf(bench, absl::StrCat(bench.threads, " threads, ", bench.dispatch), rate(kMulticore)),
                LineOf(bench, "GPU", rate(kGpu))};
  plot.references = {{"paper: best core (i7-3770)", kPaperBestCore}};
  return plot;
}

Plot SpeedUpPlot(const PaperBench& bench) {
  Plot plot;
  plot.title = "Figure 2: speed-up over one core";
  plot.description = absl::StrCat("How many times faster than one thread of scalar backtracking each way counts the ",
                                  "board, meet in the middle among them; beside the speed-ups of the paper over one ",
                                  "core of Colab.");
  plot.x_name = "n, queens";
  plot.y_name = "times faster";
  const auto factor = [](PaperColumn column) { return [column](const PaperRow& row) { return row.SpeedUp(column); }; };
  plot.lines = {{"", {}},  // Colours are those of figure 1.
                LineOf(bench, absl::StrCat("one thread, ", bench.dispatch), factor(kSerialBest)),
                LineOf(bench, absl::StrCat(bench.threads, " threads, ", bench.dispatch), factor(kMulticore)),
                LineOf(bench, "GPU", factor(kGpu)),
                LineOf(bench, "meet in the middle, one thread", factor(kMitm))};
  for (const Published& one : kPaperMulticore) {
    plot.references.push_back(
        {absl::StrCat("paper: ", one.testbed, ", all cores ", PublishedText(one.speed_up)), one.speed_up});
  }
  for (const Published& one : kPaperGpu) {
    plot.references.push_back(
        {absl::StrCat("paper: ", one.testbed, ", GPU ", PublishedText(one.speed_up)), one.speed_up});
  }
  return plot;
}

}  // namespace

std::optional<double> PaperRow::SpeedUp(PaperColumn column) const {
  if (!cells[kSerial] || !cells[column]) return std::nullopt;
  return cells[kSerial]->seconds / cells[column]->seconds;
}

std::optional<double> PaperRow::MulticoreSpeedUp() const {
  const std::optional<PaperCell>& one = cells[kSerialBest] ? cells[kSerialBest] : cells[kSerial];
  if (!one || !cells[kMulticore]) return std::nullopt;
  return one->seconds / cells[kMulticore]->seconds;
}

std::string PaperText(const PaperBench& bench) {
  std::string text =
      absl::StrCat("CPU  ", Printable(bench.cpu), ", ", bench.threads, " threads, ", bench.dispatch, "\n");
  absl::StrAppend(&text, "GPU  ", Printable(bench.gpu.empty() ? "none: " + bench.gpu_note : bench.gpu), "\n");
  if (!bench.mitm_note.empty()) absl::StrAppend(&text, "mitm not measured: ", Printable(bench.mitm_note), "\n");
  return absl::StrCat(text, "\n", Figure1(bench), "\n", Figure2(bench), "source of the paper's figures: ", kSource,
                      "\n");
}

Json PaperJson(const PaperBench& bench) {
  Json json;
  json["cpu"] = bench.cpu;
  json["threads"] = bench.threads;
  json["dispatch"] = bench.dispatch;
  json["gpu"] = bench.gpu.empty() ? Json(nullptr) : Json(bench.gpu);
  json["gpu_note"] = bench.gpu_note;
  json["mitm_note"] = bench.mitm_note;
  json["repeat"] = bench.repeat;
  json["rows"] = Json::array();
  for (const PaperRow& row : bench.rows) json["rows"].push_back(RowJson(row));
  json["paper"] = PublishedJson();
  return json;
}

std::string PaperSvg(const PaperBench& bench) {
  return RenderSvg(absl::StrCat("N-Queens on ", bench.cpu, bench.gpu.empty() ? "" : " and " + bench.gpu),
                   {NodesPlot(bench), SpeedUpPlot(bench)});
}

}  // namespace potluck
