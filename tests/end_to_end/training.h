// A table for training: with a small network and digits that were drawn, so that a test takes seconds.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "kernels/cnn/payload.h"
#include "tests/end_to_end/process.h"
#include "tests/end_to_end/table.h"

namespace potluck::end_to_end {

inline constexpr char kSmallModel[] = R"(
name: "small"
input { channels: 1 height: 28 width: 28 }
layers { conv { filters: 16 kernel: 3 activation: RELU } }
layers { max_pool { size: 2 } }
layers { dropout { rate: 0.25 } }
layers { flatten {} }
layers { dense { units: 40 activation: RELU } }
layers { dense { units: 10 } }
)";

inline std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  bytes << file.rdbuf();
  return bytes.str();
}

// A table with a data set and a model.
class Training : public Table {
 public:
  Training() {
    std::ofstream(directory() + "/small.txt") << kSmallModel;
    Process& synth = Run({"data", "synth", Data(), "--samples", "3000", "--test", "500", "--seed", "5"});
    EXPECT_EQ(synth.WaitForExit(kPatience), Exit{}) << synth.errors();
  }

  std::string Data() const { return directory() + "/digits"; }
  std::string Out(const std::string& name) const { return directory() + "/" + name; }
  std::string Admin() const { return directory() + "/state/admin.join"; }

  // `potluck train --coordinator`, its files in Out(name); returns when its job is there.
  Process& Train(const std::string& name, uint64_t job, const std::vector<std::string>& flags = {}) {
    std::vector<std::string> arguments = {"train",         directory() + "/small.txt",
                                          "--data",        Data(),
                                          "--coordinator", Admin(),
                                          "--out",         Out(name),
                                          "--epochs",      "2",
                                          "--batch",       "256",
                                          "--micro-shard", "32",
                                          "--json"};
    arguments.insert(arguments.end(), flags.begin(), flags.end());
    Process& process = Run(arguments);
    WaitUntil(absl::StrCat("job ", job, " is submitted"), [&] { return process.has_ended() || Job(job).ok(); });
    return process;
  }

  bool WaitForStep(uint64_t job, uint64_t step) {
    uint64_t seen = 0;
    bool has_ended = false;
    WaitUntil(absl::StrCat("step ", step, " of job ", job), [&] {
      const absl::StatusOr<v1::JobStatus> status = Job(job);
      if (!status.ok()) return false;
      has_ended = status->state() != v1::JobStatus::RUNNING;
      if (const auto summary = cnn::DecodeSummary(status->summary()); summary.ok()) seen = summary->step;
      return has_ended || seen >= step;
    });
    EXPECT_FALSE(has_ended) << "the job ended before the faults came";
    return !has_ended && seen >= step;
  }

  // The client ends well; the digest of its model's file.
  std::string Model(Process& client, const std::string& name) {
    const std::optional<Exit> exit = client.WaitForExit(kPatience);
    EXPECT_TRUE(exit == Exit{}) << client.errors();
    const std::string model = ReadAll(Out(name) + "/model.safetensors");
    EXPECT_GT(model.size(), 1000u);
    return HexDigest(Sha256(model));
  }
};

inline std::vector<std::string> operator+(std::vector<std::string> a, const std::vector<std::string>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

}  // namespace potluck::end_to_end
