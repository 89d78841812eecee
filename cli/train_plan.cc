#include "cli/train_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "cli/output.h"
#include "cli/train_result.h"

namespace potluck {
namespace {

// Faster by less than this is not worth another worker.
constexpr double kWorthwhile = 0.95;

uint64_t CeilDiv(uint64_t a, uint64_t b) { return (a + b - 1) / b; }

double SpeedOf(const PlanWorker& worker, bool local) {
  return local ? worker.local_images_per_second : worker.images_per_second;
}

// Deals `units` out to workers so that the last one is done as early as can be; how many each gets.
std::vector<uint64_t> Deal(uint64_t units, const std::vector<double>& speeds) {
  std::vector<uint64_t> shares(speeds.size(), 0);
  const double total = std::accumulate(speeds.begin(), speeds.end(), 0.0);
  uint64_t dealt = 0;
  for (size_t i = 0; i < speeds.size(); ++i) {
    shares[i] = static_cast<uint64_t>(std::floor(static_cast<double>(units) * speeds[i] / total));
    dealt += shares[i];
  }
  for (; dealt < units; ++dealt) {
    size_t best = 0;
    for (size_t i = 1; i < speeds.size(); ++i) {
      if (static_cast<double>(shares[i] + 1) / speeds[i] < static_cast<double>(shares[best] + 1) / speeds[best])
        best = i;
    }
    ++shares[best];
  }
  return shares;
}

struct RoundBytes {
  double up = 0;  // A unit of work (uncompressed: a worker).
  double down = 0;
};

// Seconds of one round with `units` of work of `images` each.
double RoundSeconds(const std::vector<PlanWorker>& workers, bool local, uint64_t units, double images, RoundBytes bytes,
                    bool bytes_up_a_unit, double overhead) {
  std::vector<double> speeds;
  for (const PlanWorker& worker : workers) speeds.push_back(std::max(1e-9, SpeedOf(worker, local)));
  const std::vector<uint64_t> shares = Deal(units, speeds);
  double longest = 0;
  for (size_t i = 0; i < workers.size(); ++i) {
    if (shares[i] == 0) continue;
    const double sent = bytes.up * (bytes_up_a_unit ? static_cast<double>(shares[i]) : 1);
    longest = std::max(longest, static_cast<double>(shares[i]) * images / speeds[i] +
                                    bytes.down / std::max(1.0, workers[i].bytes_down_per_second) +
                                    sent / std::max(1.0, workers[i].bytes_up_per_second));
  }
  return longest + overhead * static_cast<double>(workers.size());
}

double DataBytes(const cnn::DataSpec& data) {
  return static_cast<double>(data.samples) * static_cast<double>(data.shape.size() + 2);
}

// What one round of a method looks like.
struct RoundOf {
  double rounds = 0;  // An epoch.
  uint64_t units = 0;
  double images_a_unit = 0;
  RoundBytes bytes;
  bool bytes_up_a_unit = false;
};

RoundOf Shape(const PlanInput& input, bool local) {
  const cnn::Spec& spec = local ? input.local : input.synchronous;
  const double samples = static_cast<double>(spec.train.samples);
  RoundOf round;
  if (local) {
    round.units = spec.local.replicas;
    round.images_a_unit = static_cast<double>(spec.local.inner_steps) * spec.batch;
    round.rounds = samples / (static_cast<double>(round.units) * round.images_a_unit);
    round.bytes = {static_cast<double>(cnn::EncodedBytes(spec.local.upload, input.parameters)),
                   static_cast<double>(cnn::EncodedBytes(spec.local.broadcast, input.parameters))};
    round.bytes_up_a_unit = spec.local.upload != cnn::Compression::kNone;
  } else {
    round.units = CeilDiv(spec.batch, spec.micro_shard);
    round.images_a_unit = static_cast<double>(spec.batch) / static_cast<double>(round.units);
    round.rounds = samples / spec.batch;
    round.bytes.up = round.bytes.down = 4.0 * static_cast<double>(input.parameters);
  }
  return round;
}

PlanRow RowOf(const PlanInput& input, const std::vector<PlanWorker>& workers, bool local) {
  const cnn::Spec& spec = local ? input.local : input.synchronous;
  const RoundOf round = Shape(input, local);
  const double seconds = RoundSeconds(workers, local, round.units, round.images_a_unit, round.bytes,
                                      round.bytes_up_a_unit, local ? input.local_overhead : input.synchronous_overhead);
  PlanRow row{.local = local, .workers = workers.size()};
  const double units_sent =
      round.bytes_up_a_unit ? static_cast<double>(round.units) / static_cast<double>(workers.size()) : 1;
  row.bytes_up = round.rounds * round.bytes.up * units_sent;
  row.bytes_down = round.rounds * round.bytes.down;
  double slowest_link = 0;
  for (const PlanWorker& worker : workers) {
    slowest_link = std::max(slowest_link, 1 / std::max(1.0, worker.bytes_down_per_second));
  }
  double evaluation = 4.0 * static_cast<double>(input.parameters) * slowest_link;
  if (input.evaluation_images_per_second > 0) {
    evaluation += static_cast<double>(spec.test.samples) /
                  (input.evaluation_images_per_second * static_cast<double>(workers.size()));
  }
  row.epoch_seconds = round.rounds * seconds + evaluation;
  row.total_seconds = row.epoch_seconds * spec.epochs + (DataBytes(spec.train) + DataBytes(spec.test)) * slowest_link;
  return row;
}

std::string RowName(const PlanRow& row) {
  return absl::StrCat(row.workers, row.workers == 1 ? " worker, " : " workers, ",
                      row.local ? "local steps" : "synchronous");
}

const PlanRow& Fastest(const std::vector<PlanRow>& rows) {
  return *std::min_element(rows.begin(), rows.end(),
                           [](const PlanRow& a, const PlanRow& b) { return a.total_seconds < b.total_seconds; });
}

}  // namespace

double BareRoundSeconds(const PlanInput& input, bool local) {
  const RoundOf round = Shape(input, local);
  return RoundSeconds(input.workers, local, round.units, round.images_a_unit, round.bytes, round.bytes_up_a_unit, 0);
}

std::vector<PlanRow> Predict(const PlanInput& input) {
  std::vector<PlanRow> rows;
  for (const bool local : {false, true}) {
    std::vector<PlanWorker> workers = input.workers;
    std::stable_sort(workers.begin(), workers.end(), [local](const PlanWorker& a, const PlanWorker& b) {
      return SpeedOf(a, local) > SpeedOf(b, local);
    });
    for (size_t count = 1; count <= workers.size(); ++count) {
      rows.push_back(RowOf(input, {workers.begin(), workers.begin() + static_cast<ptrdiff_t>(count)}, local));
    }
  }
  return rows;
}

std::string Advice(const PlanInput& input, const std::vector<PlanRow>& rows) {
  if (rows.empty()) return "There is no worker to plan for.";
  // The fewest workers that are about as fast as the fastest; of both methods the synchronous one, whose result is that
  // of one big machine.
  const PlanRow& fastest = Fastest(rows);
  const PlanRow* chosen = &fastest;
  for (const PlanRow& row : rows) {
    if (row.total_seconds * kWorthwhile > fastest.total_seconds) continue;
    const bool is_simpler =
        row.workers < chosen->workers || (row.workers == chosen->workers && chosen->local && !row.local);
    if (is_simpler) chosen = &row;
  }
  const std::string time = TimeText(absl::Seconds(chosen->total_seconds));
  if (chosen->workers == 1) {
    if (input.workers.size() == 1) {
      return absl::StrCat("One worker is at the table: about ", time, ", ",
                          chosen->local ? "with local steps" : "synchronous", ".");
    }
    const PlanRow* all = &rows[input.workers.size() - 1];
    if (const uint64_t units = Shape(input, false).units; units < input.workers.size()) {
      return absl::StrCat("One worker is the best choice (about ", time, "): a batch has ", units,
                          units == 1 ? " micro-shard" : " micro-shards",
                          ", which no more workers can share; larger batches, or more local steps, would use them.");
    }
    return absl::StrCat(
        "One worker is the best choice (about ", time, "): with ", input.workers.size(),
        " the parameters travel so often that a synchronous run takes ", TimeText(absl::Seconds(all->total_seconds)),
        "; more of them pay off with a larger model, larger batches, more local steps or faster links.");
  }
  const auto single = std::min_element(rows.begin(), rows.end(), [](const PlanRow& a, const PlanRow& b) {
    return std::pair(a.workers, a.total_seconds) < std::pair(b.workers, b.total_seconds);
  });
  return absl::StrCat(
      "Use ", chosen->workers, " workers ", chosen->local ? "with local steps" : "synchronously", ": about ", time,
      absl::StrFormat(", %.1f times as fast as one worker", single->total_seconds / chosen->total_seconds),
      chosen->local ? " (synchronous steps would wait for the links)." : ".");
}

std::string PlanText(const PlanInput& input, const std::vector<PlanRow>& rows) {
  std::vector<std::vector<std::string>> workers = {{"worker", "images/s", "with local steps", "down", "up"}};
  const auto rate = [](double value) { return absl::StrCat(Metric(value), "B/s"); };
  for (const PlanWorker& worker : input.workers) {
    workers.push_back({Printable(worker.name), absl::StrFormat("%.0f", worker.images_per_second),
                       absl::StrFormat("%.0f", worker.local_images_per_second), rate(worker.bytes_down_per_second),
                       rate(worker.bytes_up_per_second)});
  }
  std::vector<std::vector<std::string>> table = {
      {"plan", "an epoch", "in all", "a worker sends", "and gets, an epoch"}};
  for (const PlanRow& row : rows) {
    table.push_back({RowName(row), TimeText(absl::Seconds(row.epoch_seconds)),
                     TimeText(absl::Seconds(row.total_seconds)), absl::StrCat(Metric(row.bytes_up), "B"),
                     absl::StrCat(Metric(row.bytes_down), "B")});
  }
  return absl::StrCat("measured\n", Table(workers, {1, 2, 3, 4}), "\npredicted (", MethodText(input.synchronous),
                      "; or ", MethodText(input.local), "; ", input.synchronous.epochs, " epochs)\n",
                      Table(table, {1, 2, 3, 4}), "\n", Advice(input, rows), "\n");
}

nlohmann::ordered_json PlanJson(const PlanInput& input, const std::vector<PlanRow>& rows) {
  nlohmann::ordered_json json;
  json["workers"] = nlohmann::ordered_json::array();
  for (const PlanWorker& worker : input.workers) {
    json["workers"].push_back({{"worker", Printable(worker.name)},
                               {"images_per_second", worker.images_per_second},
                               {"local_images_per_second", worker.local_images_per_second},
                               {"bytes_down_per_second", worker.bytes_down_per_second},
                               {"bytes_up_per_second", worker.bytes_up_per_second}});
  }
  json["synchronous"] = MethodText(input.synchronous);
  json["local"] = MethodText(input.local);
  json["epochs"] = input.synchronous.epochs;
  json["plans"] = nlohmann::ordered_json::array();
  for (const PlanRow& row : rows) {
    json["plans"].push_back({{"method", row.local ? "local" : "synchronous"},
                             {"workers", row.workers},
                             {"epoch_seconds", row.epoch_seconds},
                             {"total_seconds", row.total_seconds},
                             {"bytes_up_a_worker_an_epoch", row.bytes_up},
                             {"bytes_down_a_worker_an_epoch", row.bytes_down}});
  }
  json["advice"] = Advice(input, rows);
  return json;
}

}  // namespace potluck
