#include "cli/train_probe.h"

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/blob.h"
#include "base/clock.h"
#include "kernels/cnn/data/shards.h"

namespace potluck {
namespace {

constexpr absl::Duration kLookInterval = absl::Milliseconds(250);
constexpr absl::Duration kPatience = absl::Minutes(3);  // Until a job is under way.
// The first rounds make ready what later ones use.
constexpr uint64_t kWarmUpRounds = 3;
constexpr uint64_t kFewestRounds = 3;
constexpr double kEvaluationSpeed = 3;  // Forward only, against a training step.

// What was seen of a job at one moment.
struct Look {
  absl::Time at;
  uint64_t rounds = 0;
  std::map<std::string, v1::Contribution> contributions;
  std::map<std::string, v1::LinkUse> links;
};

struct Seen {
  Look first, last;
};

double PerSecond(double amount, double seconds, double otherwise) { return seconds > 0 ? amount / seconds : otherwise; }

// So few samples that they are with the workers soon, and so many that an epoch is long.
cnn::DataSet Part(const cnn::DataSet& data, uint64_t samples) {
  cnn::DataSet part;
  part.name = data.name;
  part.shape = data.shape;
  part.classes = data.classes;
  samples = std::min(samples, data.samples());
  part.labels.assign(data.labels.begin(), data.labels.begin() + static_cast<ptrdiff_t>(samples));
  part.pixels.assign(data.pixels.begin(), data.pixels.begin() + static_cast<ptrdiff_t>(samples * data.shape.size()));
  return part;
}

void AddShards(const cnn::DataSet& data, cnn::DataSpec& spec, std::vector<std::string>& blobs) {
  spec = cnn::DescribeData(data);
  for (uint64_t i = 0; i < cnn::ShardCount(spec.samples, spec.samples_a_shard); ++i) {
    blobs.push_back(cnn::EncodeShard(data, spec.samples_a_shard, i));
    spec.shards.push_back(BlobDigest(DescribeBlob(blobs.back())));
  }
}

class Probe {
 public:
  Probe(Client& client, Client& remover, Interrupt& interrupt, ProgressDisplay& display)
      : client_(client), remover_(remover), interrupt_(interrupt), display_(display) {}

  absl::StatusOr<Seen> Watch(uint64_t job, uint64_t steps_a_round, const std::string& method) {
    Seen seen;
    const absl::Time begun = AwakeNow();
    std::optional<absl::Time> under_way;
    while (true) {
      if (interrupt_.WaitFor(kLookInterval)) return interrupt_.reason();
      absl::StatusOr<Look> look = LookAt(job, steps_a_round);
      if (!look.ok()) return look.status();
      const absl::Time now = AwakeNow();
      display_.Show(absl::StrCat("measuring ", method, ": ", look->rounds, " rounds"));
      if (!under_way) {
        if (look->rounds >= kWarmUpRounds) {
          under_way = now;
          seen.first = *std::move(look);
        } else if (now - begun > kPatience) {
          return absl::FailedPreconditionError(
              "no worker has computed anything within three minutes; start workers first, with `potluck join`");
        }
        continue;
      }
      if (now - *under_way >= kProbeTime && look->rounds >= seen.first.rounds + kFewestRounds) {
        seen.last = *std::move(look);
        return seen;
      }
    }
  }

  void Remove(uint64_t job) {
    v1::JobRef request;
    request.set_job(job);
    v1::Empty reply;
    remover_.Call(&v1::Jobs::StubInterface::Cancel, request, &reply).IgnoreError();
    remover_.Call(&v1::Jobs::StubInterface::Delete, request, &reply).IgnoreError();
  }

 private:
  absl::StatusOr<Look> LookAt(uint64_t job, uint64_t steps_a_round) {
    v1::ListReply jobs;
    if (absl::Status status = client_.Call(&v1::Jobs::StubInterface::List, v1::ListRequest(), &jobs, /*retry=*/true);
        !status.ok()) {
      return status;
    }
    Look look;
    look.at = AwakeNow();
    for (const v1::JobStatus& status : jobs.jobs()) {
      if (status.job() != job) continue;
      if (status.state() != v1::JobStatus::RUNNING) {
        return absl::InternalError(absl::StrCat("the job that measures ended: ", status.message()));
      }
      for (const v1::Contribution& one : status.contributions()) look.contributions[one.worker()] = one;
      if (const auto summary = cnn::DecodeSummary(status.summary()); summary.ok()) {
        look.rounds = summary->step / steps_a_round;
      }
    }
    v1::ListWorkersReply workers;
    if (absl::Status status =
            client_.Call(&v1::Jobs::StubInterface::ListWorkers, v1::Empty(), &workers, /*retry=*/true);
        !status.ok()) {
      return status;
    }
    for (const v1::WorkerStatus& worker : workers.workers()) look.links[worker.name()] = worker.link();
    return look;
  }

  Client& client_;
  Client& remover_;
  Interrupt& interrupt_;
  ProgressDisplay& display_;
};

// Images a second while it computes; 0 if it did nothing.
double SpeedOf(const Seen& seen, const std::string& worker) {
  const auto last = seen.last.contributions.find(worker);
  if (last == seen.last.contributions.end()) return 0;
  const auto first = seen.first.contributions.find(worker);
  const bool is_new = first == seen.first.contributions.end();
  const double cost = last->second.cost() - (is_new ? 0 : first->second.cost());
  const double busy = last->second.busy_seconds() - (is_new ? 0 : first->second.busy_seconds());
  return PerSecond(cost, busy, 0);
}

double RoundSeconds(const Seen& seen) {
  return absl::ToDoubleSeconds(seen.last.at - seen.first.at) /
         static_cast<double>(std::max<uint64_t>(1, seen.last.rounds - seen.first.rounds));
}

void AddLinks(const Seen& seen, PlanWorker& worker) {
  constexpr double kFree = 1e12;  // Nothing was sent: as if it cost nothing.
  const auto last = seen.last.links.find(worker.name);
  const auto first = seen.first.links.find(worker.name);
  worker.bytes_down_per_second = worker.bytes_up_per_second = kFree;
  if (last == seen.last.links.end() || first == seen.first.links.end()) return;
  const v1::LinkUse &before = first->second, &after = last->second;
  worker.bytes_down_per_second = PerSecond(static_cast<double>(after.bytes_received() - before.bytes_received()),
                                           after.seconds_receiving() - before.seconds_receiving(), kFree);
  worker.bytes_up_per_second = PerSecond(static_cast<double>(after.bytes_sent() - before.bytes_sent()),
                                         after.seconds_sending() - before.seconds_sending(), kFree);
}

}  // namespace

absl::StatusOr<PlanInput> MeasureForPlan(const cnn::Spec& synchronous, const cnn::Spec& local,
                                         const cnn::DataPair& data, Client& client, Client& remover,
                                         const SubmitProbe& submit, Interrupt& interrupt, ProgressDisplay& display) {
  const Result<cnn::Model> model = cnn::MakeModel(synchronous.model);
  if (!model.ok()) return absl::InvalidArgumentError(model.status().message());
  PlanInput input;
  input.synchronous = synchronous;
  input.local = local;
  input.parameters = model->parameter_count;
  Probe probe(client, remover, interrupt, display);
  Seen seen[2];
  for (const bool is_local : {false, true}) {
    cnn::Spec spec = is_local ? local : synchronous;
    const uint64_t round = is_local ? uint64_t{spec.local.replicas} * spec.local.inner_steps * spec.batch : spec.batch;
    std::vector<std::string> blobs;
    AddShards(Part(data.train, std::max<uint64_t>(4 * round, 4096)), spec.train, blobs);
    AddShards(Part(data.test, 1), spec.test, blobs);
    spec.epochs = 100'000;
    spec.max_steps = 0;
    spec.target_accuracy = 0;
    spec.time_limit_seconds = absl::ToDoubleSeconds(2 * kPatience);  // If nobody is left to end it.
    // Nothing is learned here, so nothing may diverge.
    spec.optimizer.learning_rate *= 1e-6;
    const absl::StatusOr<uint64_t> job = submit(spec, blobs);
    if (!job.ok()) return job.status();
    const absl::StatusOr<Seen> watched =
        probe.Watch(*job, is_local ? spec.local.inner_steps : 1, is_local ? "local steps" : "synchronous steps");
    probe.Remove(*job);
    if (!watched.ok()) return watched.status();
    seen[is_local ? 1 : 0] = *watched;
  }
  display.Clear();
  for (const auto& [name, unused] : seen[0].last.contributions) {
    PlanWorker worker{.name = name, .images_per_second = SpeedOf(seen[0], name)};
    worker.local_images_per_second = SpeedOf(seen[1], name);
    if (!(worker.images_per_second > 0)) continue;  // It has left.
    if (!(worker.local_images_per_second > 0)) worker.local_images_per_second = worker.images_per_second;
    AddLinks(seen[0], worker);
    input.workers.push_back(worker);
  }
  if (input.workers.empty()) return absl::FailedPreconditionError("no worker computed anything while it was measured");
  const auto count = static_cast<double>(input.workers.size());
  double speed = 0;
  for (const PlanWorker& worker : input.workers) speed += worker.images_per_second;
  input.evaluation_images_per_second = kEvaluationSpeed * speed / count;
  const auto overhead = [&](bool is_local) {
    return std::max(0.0, RoundSeconds(seen[is_local ? 1 : 0]) - BareRoundSeconds(input, is_local)) / count;
  };
  input.synchronous_overhead = overhead(false);
  input.local_overhead = overhead(true);
  return input;
}

}  // namespace potluck
