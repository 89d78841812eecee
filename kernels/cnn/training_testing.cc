#include "kernels/cnn/training_testing.h"

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <span>
#include <utility>

#include "kernels/cnn/data/order.h"
#include "kernels/cnn/plan.h"
#include "kernels/cnn/results.h"

namespace potluck::cnn {

std::string TestBlobs::DigestOf(std::string_view bytes) const {
  uint64_t lanes[4] = {bytes.size(), 1, 2, 3};
  const auto mix = [](uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 29;
  };
  for (size_t i = 0; i < bytes.size(); i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data() + i, std::min<size_t>(8, bytes.size() - i));
    lanes[i / 8 % 4] = mix(lanes[i / 8 % 4], word);
  }
  std::string digest;
  for (int lane = 0; lane < 4; ++lane) {
    uint64_t hash = static_cast<uint64_t>(lane);
    for (int other = 0; other < 4; ++other) hash = mix(hash, lanes[(lane + other) % 4]);
    for (int shift = 0; shift < 64; shift += 8) digest.push_back(static_cast<char>(hash >> shift));
  }
  return digest;
}

std::string TestBlobs::Put(std::string_view bytes) {
  std::string digest = DigestOf(bytes);
  Blob& blob = blobs_[digest];
  if (blob.puts++ == 0) blob.bytes = bytes;
  return digest;
}

void TestBlobs::Remove(const std::string& digest) {
  const auto it = blobs_.find(digest);
  if (it == blobs_.end() || --it->second.puts > 0) return;
  blobs_.erase(it);
  std::filesystem::remove(PathOf(digest));
}

Result<std::string> TestBlobs::Read(std::string_view digest) const {
  const auto it = blobs_.find(std::string(digest));
  if (it == blobs_.end()) return Status::Error("There is no such blob.");
  return it->second.bytes;
}

std::string TestBlobs::PathOf(const std::string& digest) const {
  std::string path = folder_.path() + "/";
  for (const unsigned char byte : digest) path += std::to_string(byte) + ".";
  return path;
}

Result<std::string> TestBlobs::Fetch(const std::string& digest) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const Result<std::string> bytes = Read(digest);
  if (!bytes.ok()) return bytes.status();
  if (std::find(missing.begin(), missing.end(), digest) != missing.end()) {
    return Status::Error("The blob cannot be fetched.");
  }
  fetched_ += bytes->size();
  std::ofstream(PathOf(digest), std::ios::binary) << *bytes;
  return PathOf(digest);
}

ModelSpec TinyModel() {
  return {"tiny",
          {1, 8, 8},
          {ConvLayer(4, 3), PoolLayer(2), DropoutLayer(0.25), FlattenLayer(), DenseLayer(12, true), DenseLayer(3)}};
}

// A bright bar whose place tells the class, and noise.
DataSet TinyData(uint64_t samples, uint64_t seed) {
  DataSet data;
  data.name = "tiny";
  data.shape = {1, 8, 8};
  data.classes = 3;
  for (uint64_t sample = 0; sample < samples; ++sample) {
    const uint32_t label = Philox(seed, static_cast<uint32_t>(sample), 0, 0, 7).word[0] % 3;
    data.labels.push_back(static_cast<uint16_t>(label));
    for (uint32_t i = 0; i < 64; ++i) {
      const uint32_t noise = Philox(seed, static_cast<uint32_t>(sample), i, 1, 7).word[0] % 100;
      data.pixels.push_back(static_cast<uint8_t>(noise + (i / 8 / 3 == label ? 100 : 0)));
    }
  }
  return data;
}

DataSpec PutData(const DataSet& data, uint32_t samples_a_shard, TestBlobs& blobs) {
  DataSpec spec = DescribeData(data);
  spec.samples_a_shard = samples_a_shard;
  spec.shards.clear();
  for (uint64_t shard = 0; shard < ShardCount(data.samples(), samples_a_shard); ++shard) {
    spec.shards.push_back(blobs.Put(EncodeShard(data, samples_a_shard, shard)));
  }
  return spec;
}

Spec TinySpec(TestBlobs& blobs) {
  Spec spec;
  spec.model = TinyModel();
  spec.train = PutData(TinyData(70, 1), 16, blobs);
  spec.test = PutData(TinyData(300, 2), 100, blobs);
  spec.seed = 42;
  spec.batch = 24;
  spec.epochs = 2;
  spec.micro_shard = 4;
  spec.optimizer = {.kind = OptimizerKind::kSgd, .learning_rate = 0.05, .momentum = 0.9};
  return spec;
}

std::vector<TestSlice> RunUnit(Runner& runner, const Round& round, Interval unit, TestBlobs& blobs) {
  std::vector<std::string> bulk;
  for (const SharedBytes& bytes : round.bulk) bulk.push_back(blobs.Put(bytes.view()));
  const Status opened = runner.Open({round.payload, bulk, &blobs});
  EXPECT_TRUE(opened.ok()) << opened.message();
  std::vector<TestSlice> slices;
  RunControl control(unit);
  const Status status = runner.Run(unit, control, {}, [&](Interval interval, std::string_view payload, double busy) {
    EXPECT_GE(busy, 0);
    slices.push_back({interval, std::string(payload)});
  });
  EXPECT_TRUE(status.ok()) << status.message();
  for (const std::string& digest : bulk) blobs.Remove(digest);
  return slices;
}

namespace {

class Hand {
 public:
  Hand(const Spec& spec, TestBlobs& blobs, const HandOptions& options)
      : spec_(spec), blobs_(blobs), options_(options), random_(options.seed) {
    for (int i = 0; i < options.workers; ++i) runners_.push_back(MakeCpuRunner(options.threads, options.plugin));
    NewPlanner();
  }

  Outcome Run() {
    while (outcome_.rounds < options_.stop_after_rounds) {
      if (options_.restart_each_round && outcome_.rounds > 0) Restart();
      Result<std::optional<Round>> round = planner_->NextRound(outcome_.rounds * options_.seconds_a_round);
      if (!round.ok()) outcome_.failure = round.status().message();
      if (!round.ok() || !round->has_value()) break;
      EXPECT_EQ((*round)->number, outcome_.rounds);
      if (options_.restart_each_round) LoseHalf(**round);
      Complete(**round);
      ++outcome_.rounds;
    }
    outcome_.state = Concatenate(planner_->State());
    const Result<Model> model = MakeModel(spec_.model);
    Result<State> state = DecodeState(spec_, *model, outcome_.state);
    EXPECT_TRUE(state.ok() || outcome_.failure) << state.status().message();
    if (state.ok()) outcome_.parameters = std::move(state->parameters);
    outcome_.summary = *DecodeSummary(planner_->Summary());
    return std::move(outcome_);
  }

 private:
  void NewPlanner() {
    Result<std::unique_ptr<Planner>> planner = MakePlanner(Encode(spec_), blobs_.reader());
    ASSERT_TRUE(planner.ok()) << planner.status().message();
    planner_ = *std::move(planner);
  }
  void Restart() {
    const std::string state = Concatenate(planner_->State());
    NewPlanner();
    const Status status = planner_->Restore(state);
    EXPECT_TRUE(status.ok()) << status.message();
  }
  // A part of the round is merged, then forgotten: by ResetRound, or by a restart.
  void LoseHalf(Round& round) {
    for (const TestSlice& slice : RunUnit(*runners_[0], round, {0, (round.plan->Size() + 1) / 2}, blobs_)) {
      EXPECT_TRUE(planner_->Merge(slice.interval, slice.payload).ok());
    }
    if (round.plan->Size() == 1) return planner_->ResetRound();
    Restart();
    round = **planner_->NextRound(0);
    EXPECT_EQ(round.number, outcome_.rounds);
  }

  void Complete(const Round& round) {
    std::vector<TestSlice> slices;
    std::shuffle(runners_.begin(), runners_.end(), random_);
    size_t turn = 0;
    for (Interval rest{0, round.plan->Size()}; !rest.empty();) {
      const double share = round.plan->Cost(rest) / std::uniform_real_distribution<>(1, 2 * options_.workers)(random_);
      const Interval unit{rest.begin, round.plan->Cut(rest, options_.workers == 1 ? 1e18 : share)};
      rest.begin = unit.end;
      for (TestSlice& slice : RunUnit(*runners_[turn++ % runners_.size()], round, unit, blobs_)) {
        slices.push_back(std::move(slice));
      }
    }
    std::shuffle(slices.begin(), slices.end(), random_);
    for (TestSlice& slice : slices) {
      ++outcome_.slices;
      outcome_.slice_bytes += slice.payload.size();
      EXPECT_LE(slice.payload.size(), round.max_result_bytes);
      const Status checked = planner_->Check(slice.interval, slice.payload);
      EXPECT_TRUE(checked.ok()) << checked.message();
      const Status merged = planner_->Merge(slice.interval, std::move(slice.payload));
      EXPECT_TRUE(merged.ok()) << merged.message();
    }
  }

  const Spec& spec_;
  TestBlobs& blobs_;
  const HandOptions options_;
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Runner>> runners_;
  std::unique_ptr<Planner> planner_;
  Outcome outcome_;
};

}  // namespace

Outcome RunByHand(const Spec& spec, TestBlobs& blobs, const HandOptions& options) {
  return Hand(spec, blobs, options).Run();
}

std::vector<float> PlainLoop(const Spec& spec, TestBlobs& blobs) {
  const Model model = *MakeModel(spec.model);
  const std::unique_ptr<Backend> backend = std::move(MakeReferenceBackend(model)).value();
  const std::unique_ptr<Context> context = std::move(backend->NewContext(spec.micro_shard)).value();
  ShardReader reader(spec.train);
  for (uint64_t i = 0; i < reader.shards(); ++i) EXPECT_TRUE(reader.Adopt(i, *blobs.Read(spec.train.shards[i])).ok());
  std::vector<float> parameters = InitialParameters(model, spec.seed);
  Optimizer optimizer(spec.optimizer, parameters.size());
  uint32_t step = 0;
  for (uint32_t epoch = 0; epoch < spec.epochs; ++epoch) {
    const std::vector<uint32_t> order = EpochOrder(spec.seed, epoch, static_cast<uint32_t>(reader.samples()));
    for (uint64_t first = 0; first < reader.samples(); first += spec.batch, ++step) {
      const uint64_t end = std::min<uint64_t>(first + spec.batch, reader.samples());
      const auto prepared = std::move(backend->Prepare(parameters)).value();
      // The sum of micro-shards [begin, begin + width), cut off at the end of the batch.
      const std::function<std::vector<float>(uint64_t, uint64_t)> sum = [&](uint64_t begin, uint64_t width) {
        const uint64_t middle = begin + width / 2 * spec.micro_shard;
        std::vector<float> gradient(parameters.size());
        if (width > 1) {
          gradient = sum(begin, width / 2);
          if (middle >= end) return gradient;
          const std::vector<float> other = sum(middle, width / 2);
          for (size_t i = 0; i < gradient.size(); ++i) gradient[i] += other[i];
          return gradient;
        }
        std::vector<uint8_t> pixels;
        std::vector<uint16_t> labels;
        std::vector<uint32_t> positions;
        for (uint64_t place = begin; place < std::min<uint64_t>(begin + spec.micro_shard, end); ++place) {
          pixels.insert(pixels.end(), reader.image(order[place]), reader.image(order[place]) + reader.shape().size());
          labels.push_back(reader.label(order[place]));
          positions.push_back(static_cast<uint32_t>(epoch * reader.samples() + place));
        }
        const ShardInput input{
            static_cast<uint32_t>(labels.size()), pixels.data(), labels.data(), positions.data(), spec.seed, step};
        ShardTally tally;
        EXPECT_TRUE(context->ForwardBackward(*prepared, input, gradient, tally).ok());
        return gradient;
      };
      const std::vector<float> gradient = sum(first, 1024);
      optimizer.Step(parameters, gradient, static_cast<float>(1.0 / static_cast<double>(end - first)),
                     spec.optimizer.learning_rate);
    }
  }
  return parameters;
}

}  // namespace potluck::cnn
