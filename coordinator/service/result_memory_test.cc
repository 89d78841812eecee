// How much memory a synchronous round of a large model takes in the coordinator: 25 million parameters, or as many
// millions as POTLUCK_MILLIONS says, four workers.
// The coordinator is a process of its own (this program with --serve), whose peak the kernel tells (VmHWM).
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/sha256.h"
#include "coordinator/coordinator.h"
#include "coordinator/service/blob_service_testing.h"
#include "tests/simulation/fake_training.h"

namespace potluck {
namespace {

const uint64_t kParameters = 1'000'000 * [] {
  const char* millions = std::getenv("POTLUCK_MILLIONS");
  return millions != nullptr ? std::strtoull(millions, nullptr, 10) : 25;
}();
const uint64_t kBytes = kParameters * sizeof(float);
constexpr uint64_t kWorkers = 4;  // And as many indices.
constexpr uint32_t kRounds = 3;

// Stochastic gradient descent with momentum, without threads or anything else: parameters are replaced, not changed, as
// workers may be reading them.
class LargePlanner final : public Planner {
 public:
  LargePlanner()
      : plan_(std::make_shared<simulation::FakeTrainingPlan>(kWorkers)), parameters_(std::string(kBytes, 0)) {}

  Result<std::optional<Round>> NextRound(double) override {
    if (!blocks_.empty()) Step();
    if (is_open_) ++next_;
    is_open_ = next_ < kRounds;
    if (!is_open_) return std::optional<Round>();
    Round round;
    round.number = next_;
    round.durability = Durability::kVolatile;
    round.plan = plan_;
    round.bulk = {parameters_};
    round.max_result_bytes = kBytes;
    round.is_exact = false;
    return std::optional<Round>(std::move(round));
  }
  Status Check(Interval, std::string_view payload) const override {
    return payload.size() == kBytes ? Status() : Status::Error("the result has another length");
  }
  Status Merge(Interval block, std::string payload) override {
    for (;;) {
      const uint64_t length = block.size();
      const bool is_right = block.begin / length % 2 == 1;
      const auto sibling = blocks_.find(is_right ? block.begin - length : block.begin + length);
      if (sibling == blocks_.end() || sibling->second.first.size() != length) break;
      float* sum = Floats(payload);
      const float* other = Floats(sibling->second.second);
      for (uint64_t i = 0; i < kParameters; ++i) sum[i] = is_right ? other[i] + sum[i] : sum[i] + other[i];
      block = is_right ? Interval{block.begin - length, block.end} : Interval{block.begin, block.end + length};
      blocks_.erase(sibling);
    }
    blocks_[block.begin] = {block, std::move(payload)};
    return {};
  }
  Result<std::string> Combine(std::span<const Part> parts) const override { return parts[0].payload; }
  void ResetRound() override { blocks_.clear(); }
  std::vector<SharedBytes> State() const override { return {SharedBytes(std::to_string(next_)), parameters_}; }
  Status Restore(std::string_view) override { return {}; }
  std::string Summary() const override {
    float first = 0;
    std::memcpy(&first, parameters_.view().data(), sizeof first);
    return std::to_string(first);
  }

 private:
  static float* Floats(std::string& bytes) { return reinterpret_cast<float*>(bytes.data()); }

  void Step() {
    std::string& sum = blocks_.begin()->second.second;
    if (momentum_.empty()) momentum_.assign(kParameters, 0);
    std::string next(parameters_.view());
    for (uint64_t i = 0; i < kParameters; ++i) {
      momentum_[i] = 0.5f * momentum_[i] + Floats(sum)[i];
      Floats(next)[i] -= momentum_[i];
    }
    blocks_.clear();
    parameters_ = SharedBytes(std::move(next));
  }

  const std::shared_ptr<const RoundPlan> plan_;
  SharedBytes parameters_;
  std::vector<float> momentum_;
  std::map<uint64_t, std::pair<Interval, std::string>> blocks_;
  uint32_t next_ = 0;
  bool is_open_ = false;
};

uint64_t PeakBytes() {
  std::FILE* file = std::fopen("/proc/self/status", "re");
  char line[256];
  unsigned long kilobytes = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::sscanf(line, "VmHWM: %lu", &kilobytes) == 1) break;
  }
  std::fclose(file);
  return kilobytes * 1024;
}

// Until standard input ends; then says what it took.
int Serve(const char* directory) {
  CoordinatorOptions options;
  options.state_directory = directory;
  options.planners = [](const std::string&, const std::string&, const BlobReader&) {
    return Result<std::unique_ptr<Planner>>(std::make_unique<LargePlanner>());
  };
  absl::StatusOr<std::unique_ptr<Coordinator>> coordinator = Coordinator::Start(std::move(options));
  if (!coordinator.ok()) return 1;
  std::printf("%s\n%s\n", (*coordinator)->worker_join_string().c_str(), (*coordinator)->admin_join_string().c_str());
  std::fflush(stdout);
  char byte = 0;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  std::printf("%lu\n", static_cast<unsigned long>(PeakBytes()));
  std::fflush(stdout);
  return 0;
}

class Server {
 public:
  explicit Server(const std::string& directory) {
    int in[2], out[2];
    EXPECT_EQ(pipe2(in, O_CLOEXEC), 0);
    EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
    child_ = fork();
    if (child_ == 0) {
      dup2(in[0], STDIN_FILENO);
      dup2(out[1], STDOUT_FILENO);
      execl("/proc/self/exe", "result_memory_test", "--serve", directory.c_str(), nullptr);
      _exit(127);
    }
    close(in[0]);
    close(out[1]);
    in_ = in[1];
    out_ = fdopen(out[0], "r");
  }
  ~Server() {
    if (in_ >= 0) close(in_);
    waitpid(child_, nullptr, 0);
    std::fclose(out_);
  }
  std::string Line() {
    char line[8192] = "";
    EXPECT_NE(std::fgets(line, sizeof line, out_), nullptr);
    return std::string(line, strcspn(line, "\n"));
  }
  uint64_t StopAndReadPeak() {
    close(std::exchange(in_, -1));
    return std::strtoull(Line().c_str(), nullptr, 10);
  }

 private:
  pid_t child_ = 0;
  int in_ = -1;
  std::FILE* out_ = nullptr;
};

// Gets the parameters, and hands over a gradient that is 1 everywhere, until the job is done.
void Train(const std::string& join_string, int number) {
  Worker worker(join_string, "worker-" + std::to_string(number));
  std::string gradient(kBytes, 0);
  for (uint64_t i = 0; i < kParameters; ++i) reinterpret_cast<float*>(gradient.data())[i] = 1;
  const std::string digest = Sha256(gradient);
  uint64_t seq = 0;
  std::vector<v1::Slice> slices;
  for (;;) {
    v1::ExchangeRequest request;
    request.set_session(worker.session());
    request.set_seq(++seq);
    request.add_free_capacity(1);
    for (const v1::Slice& slice : slices) *request.add_slices() = slice;
    slices.clear();
    v1::ExchangeReply reply;
    const grpc::Status exchanged = worker.workers().Exchange(worker.Context().get(), request, &reply);
    if (!exchanged.ok()) return;  // The coordinator has stopped.
    for (const v1::SliceAnswer& answer : reply.answers()) ASSERT_EQ(answer.verdict(), v1::SliceAnswer::COMMITTED);
    if (reply.granted_size() == 0) continue;
    const v1::Grant& grant = reply.granted(0);
    if (reply.rounds_size() > 0) {
      // Read, but not kept: what this process needs does not matter.
      const auto stream = worker.StartGet(reply.rounds(0).bulk(0));
      v1::BlobPiece piece;
      uint64_t bytes = 0;
      while (stream->reader->Read(&piece)) bytes += piece.data().size();
      ASSERT_TRUE(stream->reader->Finish().ok());
      ASSERT_EQ(bytes, kBytes);
    }
    for (uint64_t index = grant.begin(); index < grant.end(); ++index) {
      v1::PutResultReply put;
      const auto context = worker.Context();
      context->set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(3));
      const auto writer = worker.workers().PutResult(context.get(), &put);
      v1::PutResultRequest message;
      message.set_session(worker.session());
      *message.mutable_lease() = grant.lease();
      *message.mutable_round() = grant.round();
      message.set_size(kBytes);
      writer->Write(message);
      message.Clear();
      for (uint64_t at = 0; at < kBytes; at += kPieceBytes) {
        message.set_data(gradient.substr(at, kPieceBytes));
        writer->Write(message);
      }
      writer->WritesDone();
      const grpc::Status handed_over = writer->Finish();
      ASSERT_TRUE(handed_over.ok()) << handed_over.error_message();
      ASSERT_EQ(put.digest(), digest);
      v1::Slice slice;
      *slice.mutable_round() = grant.round();
      *slice.mutable_lease() = grant.lease();
      slice.set_begin(index);
      slice.set_end(index + 1);
      slice.set_busy_seconds(1);
      slice.set_digest(digest);
      slice.set_is_put(true);
      if (index + 1 == grant.end()) {
        slices.push_back(slice);
        continue;
      }
      v1::ExchangeRequest at_once;
      at_once.set_session(worker.session());
      at_once.set_seq(++seq);
      at_once.set_no_wait(true);
      *at_once.add_slices() = slice;
      v1::HeldLease* held = at_once.add_held();
      *held->mutable_lease() = grant.lease();
      *held->mutable_round() = grant.round();
      held->set_begin(index + 1);
      held->set_end(grant.end());
      reply.Clear();
      ASSERT_TRUE(worker.workers().Exchange(worker.Context().get(), at_once, &reply).ok());
    }
  }
}

TEST(ResultMemoryTest, ASynchronousRoundTakesAtMostSixCopiesOfTheParameters) {
  std::string directory = ::testing::TempDir() + "/potluck-XXXXXX";
  ASSERT_NE(mkdtemp(directory.data()), nullptr);
  uint64_t peak = 0;
  {
    Server server(directory);
    const std::string worker_join = server.Line(), admin_join = server.Line();
    Admin admin(admin_join);
    const uint64_t job = admin.MustSubmit({});
    std::vector<std::thread> workers;
    for (uint64_t i = 0; i < kWorkers; ++i) workers.emplace_back([&, i] { Train(worker_join, static_cast<int>(i)); });
    v1::WatchRequest request;
    request.set_job(job);
    const auto context = admin.Context();
    context->set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(4));
    const auto reader = admin.jobs().Watch(context.get(), request);
    v1::JobStatus status;
    while (reader->Read(&status)) {
    }
    EXPECT_EQ(status.state(), v1::JobStatus::DONE) << status.message();
    EXPECT_EQ(status.summary(), "-17.000000");  // 4 + 6 + 7.
    peak = server.StopAndReadPeak();
    for (std::thread& worker : workers) worker.join();
  }
  std::error_code ignored;
  std::filesystem::remove_all(directory, ignored);
  const double copies = static_cast<double>(peak) / kBytes;
  std::printf("peak %.1f MB: %.2f copies of the parameters\n", static_cast<double>(peak) / 1e6, copies);
  RecordProperty("copies", std::to_string(copies));
  EXPECT_LE(copies, 6);
}

}  // namespace
}  // namespace potluck

int main(int argc, char** argv) {
  if (argc == 3 && std::strcmp(argv[1], "--serve") == 0) return potluck::Serve(argv[2]);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
