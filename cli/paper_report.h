// What `bench paper` shows: the paper's first experiment, its figures 1 and 2, as measured here and as published.
//
// Source: T. Carneiro et al., "Performance Analysis of Google Colaboratory as a Tool for Accelerating Deep Learning
// Applications", IEEE Access 6, 2018, section III. Values and pure functions, thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "kernels/nqueens/payload.h"

namespace potluck {

enum PaperColumn : size_t {
  kSerial,      // One thread, scalar code: the one core of the paper.
  kSerialBest,  // One thread, the widest code path of the processor.
  kMulticore,   // That on all threads.
  kGpu,         // Backtracking on the first GPU.
  kMitm,        // Meet in the middle, one thread: it visits no nodes.
};
inline constexpr size_t kPaperColumns = 5;

struct PaperCell {
  double seconds = 0;  // Of one count of the board: the least that was measured.
  uint64_t runs = 0;   // Counts of the board in all.
  nqueens::Counts counts;

  // Nodes really visited, mirrored ones not counted twice.
  double nodes_per_second() const { return counts.visited.ToDouble() / seconds; }
  double solutions_per_second() const { return counts.solutions.ToDouble() / seconds; }
};

struct PaperRow {
  int n = 0;
  std::array<std::optional<PaperCell>, kPaperColumns> cells;  // None: cannot be measured here.

  // How many times faster than one core (kSerial).
  std::optional<double> SpeedUp(PaperColumn column) const;
  // Of all threads over one by the same code: what the paper calls multicore speed-up.
  std::optional<double> MulticoreSpeedUp() const;
};

struct PaperBench {
  std::string cpu;        // Its maker's name.
  std::string dispatch;   // The widest code path.
  std::string gpu;        // Empty: none was measured,
  std::string gpu_note;   // ... for this reason.
  std::string mitm_note;  // Why meet in the middle was not measured; empty if it was.
  int threads = 1;
  int repeat = 1;
  std::vector<PaperRow> rows;  // By ascending n.
};

// At most 100 columns wide, ending with a line feed.
std::string PaperText(const PaperBench& bench);
nlohmann::ordered_json PaperJson(const PaperBench& bench);
std::string PaperSvg(const PaperBench& bench);

}  // namespace potluck
