// `potluck bench paper`: the paper's first experiment again, and its second, on the machine at hand.
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "cli/commands.h"
#include "cli/exit_code.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "cli/paper_report.h"
#include "cli/paper_training.h"
#include "cli/progress_display.h"
#include "kernels/cnn/data/readers.h"
#include "kernels/cpu/dispatch.h"
#include "kernels/nqueens/known.h"
#include "kernels/workload/registry.h"
#include "worker/devices.h"

namespace potluck {
namespace {

// A small board is counted again and again until it has taken so long in all: seconds.
constexpr double kLeastWork = 0.3;
constexpr int kSmallestBoard = 4, kLargestBoard = 20;

struct PaperFlags {
  int from = 10, to = 16;
  bool boards_given = false;
  bool full = false;
  int threads = UsableThreads();
  int repeat = 3;
  std::string svg;
  std::string only = "all";
  std::string data;
  std::optional<int> epochs;
  bool json = false;
};

// "12" or "10..16".
ValueReader Boards(PaperFlags* flags) {
  return {absl::StrCat("N or FROM..TO, boards from ", kSmallestBoard, " to ", kLargestBoard),
          [flags](const std::string& text) {
            const size_t dots = text.find("..");
            const auto read = [](const std::string& digits, int& n) {
              const bool plain = !digits.empty() && digits.find_first_not_of("0123456789") == std::string::npos;
              return plain && absl::SimpleAtoi(digits, &n) && n >= kSmallestBoard && n <= kLargestBoard;
            };
            int from = 0, to = 0;
            if (!read(text.substr(0, dots), from)) return false;
            if (!read(dots == std::string::npos ? text : text.substr(dots + 2), to) || to < from) return false;
            flags->from = from;
            flags->to = to;
            return flags->boards_given = true;
          }};
}

std::optional<int> ReadFlags(const Args& args, PaperFlags& flags) {
  Arguments arguments(
      "bench paper",
      "Measures what the paper's first experiment did: backtracking on one core, on all cores and on a\n"
      "GPU, beside the paper's own figures; then meet in the middle. With --data, also its second one:\n"
      "training a network on MNIST (table 2).");
  arguments.Flag("--n", "FROM..TO", Boards(&flags), "boards to count", "10..16");
  arguments.Switch("--full", &flags.full, "the boards of the paper, 10..18, and its 12 epochs: takes minutes");
  arguments.Flag("--threads", "T", WholeNumber(&flags.threads, 1, 1024), "CPU threads of the multicore column",
                 "all cores");
  arguments.Flag("--repeat", "R", WholeNumber(&flags.repeat, 1, 100),
                 "measurements of each cell, the least counts; runs of the training, the mean counts", "3");
  arguments.Flag("--data", "DIR", Text(&flags.data), "folder with MNIST, for the second experiment", "left out");
  arguments.Flag("--epochs", "E", WholeNumber(&flags.epochs, 1, 1000), "epochs to train in each run", "1; --full: 12");
  arguments.Flag("--only", "PART", OneOf(&flags.only, {"all", "queens", "training"}), "which experiment", "all");
  arguments.Flag("--svg", "FILE", Text(&flags.svg), "draw figures 1 and 2 there", "nowhere");
  arguments.Switch("--json", &flags.json, "one JSON object on standard output");
  if (const std::optional<int> code = arguments.Read(args)) return code;
  if (flags.full && flags.boards_given) {
    return FailUsage(
        absl::InvalidArgumentError("--n is given together with --full, which is --n 10..18; allowed is either"));
  }
  if (flags.full) flags.to = 18;
  if (flags.data.empty() && (flags.only == "training" || flags.epochs)) {
    return FailUsage(absl::InvalidArgumentError("--data is not given, but training needs it: a folder with MNIST"));
  }
  if (!flags.svg.empty() && flags.only == "training") {
    return FailUsage(absl::InvalidArgumentError("--svg is given together with --only training, which has no figures"));
  }
  return std::nullopt;
}

absl::Status ToAbsl(const Status& status) { return absl::InternalError(status.message()); }

double Seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// Where the cells of one column come from.
struct Column {
  PaperColumn column = kSerial;
  const char* name = "";
  uint32_t algorithm = nqueens::kBacktracking;
  std::function<Result<std::unique_ptr<Runner>>()> make_runner;
};

// One board in one column: a job of its own, counted as often as wanted.
class Cell {
 public:
  // NotFound if this build does not count so.
  static absl::StatusOr<Cell> Open(const Column& column, int n) {
    Cell cell;
    const nqueens::Spec spec{.n = static_cast<uint32_t>(n), .algorithm = column.algorithm};
    Result<std::unique_ptr<Planner>> planner = MakePlanner("nqueens", Encode(spec));
    if (!planner.ok()) return absl::NotFoundError(planner.status().message());
    cell.planner_ = std::move(planner).value();
    Result<std::optional<Round>> round = cell.planner_->NextRound(0);
    if (!round.ok()) return ToAbsl(round.status());
    cell.round_ = **std::move(round);
    Result<std::unique_ptr<Runner>> runner = column.make_runner();
    if (!runner.ok()) return ToAbsl(runner.status());
    cell.runner_ = std::move(runner).value();
    cell.column_ = &column;
    return cell;
  }

  // Counts the board as often as fills `least_seconds`, once at least; the mean goes into the result if it is the least
  // so far. A first count that is shorter than that only warms up, and is no measurement.
  absl::Status Measure(double least_seconds) {
    if (column_->algorithm ==
        nqueens::kMeetInTheMiddle) {  // Its tables are part of the work: those of earlier runs go.
      Result<std::unique_ptr<Runner>> fresh = column_->make_runner();
      if (!fresh.ok()) return ToAbsl(fresh.status());
      runner_ = std::move(fresh).value();
    }
    const bool warms_up = result_.runs == 0;
    const double start = Seconds();
    double elapsed = 0;
    uint64_t times = 0;
    do {
      if (absl::Status status = CountOnce(); !status.ok()) return status;
      ++times;
      elapsed = Seconds() - start;
    } while (!warms_up && elapsed < least_seconds);
    const double seconds = elapsed / static_cast<double>(times);
    if (result_.runs == 0 || seconds < result_.seconds) result_.seconds = seconds;
    if (!warms_up || seconds >= least_seconds) ++measurements_;
    result_.runs += times;
    const Result<nqueens::Counts> counts = nqueens::DecodeCounts(planner_->Summary());
    if (!counts.ok()) return ToAbsl(counts.status());
    result_.counts = *counts;
    return absl::OkStatus();
  }

  int measurements() const { return measurements_; }
  const PaperCell& result() const { return result_; }
  const Column& column() const { return *column_; }

 private:
  absl::Status CountOnce() {
    planner_->ResetRound();
    if (Status opened = runner_->Open(round_.payload); !opened.ok()) return ToAbsl(opened);
    const Interval all{0, round_.plan->Size()};
    RunControl control(all);
    Status merged;
    const Status ran =
        runner_->Run(all, control, RunOptions{}, [&](Interval interval, std::string_view payload, double) {
          if (merged.ok()) merged = planner_->Merge(interval, std::string(payload));
        });
    if (!ran.ok()) return ToAbsl(ran);
    return merged.ok() ? absl::OkStatus() : ToAbsl(merged);
  }

  const Column* column_ = nullptr;
  std::unique_ptr<Planner> planner_;
  std::unique_ptr<Runner> runner_;
  Round round_;
  PaperCell result_;
  int measurements_ = 0;
};

absl::Status Wrong(int n, const Column& column, const char* what, Count128 found, Count128 right) {
  return absl::DataLossError(absl::StrCat("n = ", n, ", ", column.name, ": ", found.ToString(), " ", what,
                                          " were counted; right are ", right.ToString()));
}

// Against what is published, and the nodes, of which not all are, against the first column's.
absl::Status CheckCounts(int n, const Cell& cell, const Cell& serial) {
  const nqueens::Counts& counts = cell.result().counts;
  if (const Count128 right = *nqueens::KnownSolutions(n); counts.solutions != right) {
    return Wrong(n, cell.column(), "solutions", counts.solutions, right);
  }
  if (cell.column().algorithm != nqueens::kBacktracking) return absl::OkStatus();
  const Count128 nodes = nqueens::KnownNodes(n).value_or(serial.result().counts.nodes);
  if (counts.nodes != nodes) return Wrong(n, cell.column(), "nodes", counts.nodes, nodes);
  return absl::OkStatus();
}

class Bench {
 public:
  Bench(const PaperFlags& flags, ProgressDisplay& display) : flags_(flags), display_(display) {}

  absl::StatusOr<PaperBench> Run() {
    if (absl::Status ready = MakeColumns(); !ready.ok()) return ready;
    bool has_mitm = false;
    for (int n = flags_.from; n <= flags_.to; ++n) {
      absl::StatusOr<PaperRow> row = MeasureBoard(n);
      if (!row.ok()) return row.status();
      if (row->cells[kMitm]) has_mitm = true;
      bench_.rows.push_back(*std::move(row));
    }
    if (has_mitm) bench_.mitm_note.clear();  // It was about some of the boards.
    return bench_;
  }

 private:
  absl::Status MakeColumns() {
    const Result<Dispatch> best = ChooseDispatch("auto");
    if (!best.ok()) return ToAbsl(best.status());
    bench_.dispatch = std::string(ToString(*best));
    bench_.cpu = CpuName();
    bench_.threads = flags_.threads;
    bench_.repeat = flags_.repeat;
    const auto cpu = [](int threads, const std::string& dispatch) {
      return [threads, dispatch] { return MakeCpuRunner("nqueens", {.threads = threads, .dispatch = dispatch}); };
    };
    columns_.push_back({kSerial, "serial", nqueens::kBacktracking, cpu(1, "scalar")});
    if (*best != Dispatch::kScalar) {
      columns_.push_back({kSerialBest, "one thread", nqueens::kBacktracking, cpu(1, bench_.dispatch)});
    }
    columns_.push_back({kMulticore, "all threads", nqueens::kBacktracking, cpu(flags_.threads, bench_.dispatch)});
    FindGpu();
    columns_.push_back({kMitm, "meet in the middle", nqueens::kMeetInTheMiddle, cpu(1, bench_.dispatch)});
    return absl::OkStatus();
  }

  void FindGpu() {
    DeviceRequest request;
    request.device = "cuda";
    const absl::StatusOr<FoundDevices> found = FindDevices(request);
    if (!found.ok()) {
      // What is said to those who asked for a GPU, which nobody did here.
      bench_.gpu_note = absl::StrReplaceAll(
          found.status().message(),
          {{"; the CPU is used instead", ""}, {"device is \"cuda\", but no GPU can be used: ", ""}});
      return;
    }
    const DeviceSpec& gpu = found->devices[0];
    bench_.gpu = gpu.name;
    columns_.push_back({kGpu, "GPU", nqueens::kBacktracking,
                        [plugin = gpu.plugin, index = gpu.index] { return MakeGpuRunner("nqueens", plugin, index); }});
  }

  absl::StatusOr<PaperRow> MeasureBoard(int n) {
    std::vector<Cell> cells;
    for (const Column& column : columns_) {
      absl::StatusOr<Cell> cell = Cell::Open(column, n);
      if (cell.ok()) {
        cells.push_back(*std::move(cell));
      } else if (column.column == kMitm && absl::IsNotFound(cell.status())) {
        bench_.mitm_note = std::string(cell.status().message());
      } else {
        return cell.status();
      }
    }
    PaperRow row;
    row.n = n;
    if (absl::Status measured = MeasureInTurn(n, cells); !measured.ok()) return measured;
    for (const Cell& cell : cells) row.cells[cell.column().column] = cell.result();
    return row;
  }

  // In turn, so that what else the machine does meets all columns alike.
  absl::Status MeasureInTurn(int n, std::vector<Cell>& cells) {
    for (bool more = true; more;) {
      more = false;
      for (Cell& cell : cells) {
        if (cell.measurements() == flags_.repeat) continue;
        display_.Show(
            absl::StrCat("n = ", n, ", ", cell.column().name, ", ", cell.measurements() + 1, " of ", flags_.repeat));
        if (absl::Status status = cell.Measure(kLeastWork / flags_.repeat); !status.ok()) return status;
        if (absl::Status right = CheckCounts(n, cell, cells.front()); !right.ok()) return right;
        more |= cell.measurements() < flags_.repeat;
      }
    }
    return absl::OkStatus();
  }

  const PaperFlags& flags_;
  ProgressDisplay& display_;
  std::vector<Column> columns_;
  PaperBench bench_;
};

absl::Status MeasureAll(const PaperFlags& flags, std::optional<PaperBench>& queens,
                        std::optional<PaperTraining>& training) {
  ProgressDisplay display;
  std::optional<cnn::DataPair> data;  // Read first: a wrong folder is told at once.
  if (!flags.data.empty() && flags.only != "queens") {
    Result<cnn::DataPair> read = cnn::ReadDataFolder(flags.data);
    if (!read.ok()) return absl::InvalidArgumentError(read.status().message());
    data = std::move(read).value();
  }
  if (flags.only != "training") {
    absl::StatusOr<PaperBench> bench = Bench(flags, display).Run();
    if (!bench.ok()) return bench.status();
    queens = *std::move(bench);
  }
  if (!data) return absl::OkStatus();
  PaperTrainingOptions options;
  options.epochs = flags.epochs.value_or(flags.full ? 12 : 1);
  options.repeat = flags.repeat;
  options.threads = flags.threads;
  absl::StatusOr<PaperTraining> trained = MeasurePaperTraining(options, *data, display);
  if (!trained.ok()) return trained.status();
  training = *std::move(trained);
  return absl::OkStatus();
}

}  // namespace

int RunBenchPaper(const Args& args) {
  PaperFlags flags;
  if (const std::optional<int> code = ReadFlags(args, flags)) return *code;
  std::unique_ptr<OutputFile> svg;
  if (!flags.svg.empty()) {
    absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create(flags.svg);
    if (!file.ok()) return FailLocally(file.status());
    svg = *std::move(file);
  }
  std::optional<PaperBench> queens;
  std::optional<PaperTraining> training;
  if (absl::Status measured = MeasureAll(flags, queens, training); !measured.ok()) return FailLocally(measured);
  if (flags.json) {
    nlohmann::ordered_json json = queens ? PaperJson(*queens) : nlohmann::ordered_json::object();
    if (training) json["training"] = PaperTrainingJson(*training);
    PrintJson(json);
  } else {
    if (queens) std::fputs(PaperText(*queens).c_str(), stdout);
    if (queens && training) std::fputs("\n", stdout);
    if (training) std::fputs(PaperTrainingText(*training).c_str(), stdout);
  }
  if (svg == nullptr) return kExitOk;
  FlushOutput().IgnoreError();  // Before what follows on standard error; main() tells.
  absl::Status written = svg->Write(PaperSvg(*queens));
  if (written.ok()) written = svg->Finish();
  return written.ok() ? kExitOk : FailLocally(written);
}

}  // namespace potluck
