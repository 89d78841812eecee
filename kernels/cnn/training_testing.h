// For tests: a tiny network and data set, blobs in memory, and a whole job in one process: the planner, some runners,
// and a hand that cuts rounds into units and merges slices in any order.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cnn/data/shards.h"
#include "kernels/cnn/data/testing.h"
#include "kernels/cnn/payload.h"
#include "kernels/cnn/planner.h"
#include "kernels/cnn/runner.h"
#include "kernels/cnn/state.h"

namespace potluck::cnn {

// Blobs as files in a folder, named by a plain hash. Counts what is fetched.
class TestBlobs final : public BlobSource {
 public:
  std::string Put(std::string_view bytes);
  // Takes one Put back, file and all.
  void Remove(const std::string& digest);
  Result<std::string> Read(std::string_view digest) const;
  BlobReader reader() const {
    return [this](std::string_view digest) { return Read(digest); };
  }
  uint64_t fetched_bytes() const { return fetched_; }
  // Digests whose fetch fails.
  std::vector<std::string> missing;

  Result<std::string> Fetch(const std::string& digest) override;
  void Prefetch(std::span<const std::string>) override {}
  std::string DigestOf(std::string_view bytes) const override;

 private:
  TestFolder folder_;
  std::string PathOf(const std::string& digest) const;

  struct Blob {
    std::string bytes;
    int puts = 0;
  };
  std::map<std::string, Blob> blobs_;
  uint64_t fetched_ = 0;
  std::mutex mutex_;
};

// 8 x 8 images of 3 classes: a conv layer with dropout behind it, two dense layers.
ModelSpec TinyModel();
DataSet TinyData(uint64_t samples, uint64_t seed);
DataSpec PutData(const DataSet& data, uint32_t samples_a_shard, TestBlobs& blobs);
// Synchronous: 70 training and 300 test samples, batches of 24 in micro-shards of 4, 2 epochs, SGD with momentum.
Spec TinySpec(TestBlobs& blobs);

// How a job is run.
struct HandOptions {
  int workers = 1;
  int threads = 1;
  std::string plugin = {};          // As MakeCpuRunner.
  uint64_t seed = 0;                // Of the units and of the order in which slices are merged.
  bool restart_each_round = false;  // A new planner from the saved state before each round, and in the midst of it.
  double seconds_a_round = 0;
  uint64_t stop_after_rounds = ~uint64_t{0};
};

struct Outcome {
  std::vector<float> parameters;
  std::string state;
  Summary summary;
  uint64_t rounds = 0;
  uint64_t slices = 0, slice_bytes = 0;
  std::optional<std::string> failure;  // Of NextRound.
};

Outcome RunByHand(const Spec& spec, TestBlobs& blobs, const HandOptions& options);

// The job in one loop, without planner and runner: the numbers that it must lead to. Synchronous only.
std::vector<float> PlainLoop(const Spec& spec, TestBlobs& blobs);

// A slice as a runner reports it.
struct TestSlice {
  Interval interval;
  std::string payload;
};
std::vector<TestSlice> RunUnit(Runner& runner, const Round& round, Interval unit, TestBlobs& blobs);

}  // namespace potluck::cnn
