#include "cli/train_result.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/train_progress.h"

namespace potluck {
namespace {

using testing::HasSubstr;

cnn::Spec Spec() {
  cnn::Spec spec;
  spec.model = cnn::MnistCnn();
  for (cnn::DataSpec* data : {&spec.train, &spec.test}) {
    data->name = "digits";
    data->shape = {1, 28, 28};
    data->classes = 10;
    data->samples = 1000;
    data->samples_a_shard = 1000;
    data->shards = {std::string(32, 'x')};
  }
  spec.epochs = 2;
  return spec;
}

v1::JobStatus Status(const cnn::Summary& summary) {
  v1::JobStatus status;
  status.set_job(7);
  status.set_workload("cnn");
  status.set_state(v1::JobStatus::DONE);
  status.set_spec(cnn::Encode(Spec()));
  status.set_summary(cnn::Encode(summary));
  status.set_submitted_unix_ms(1000);
  status.set_ended_unix_ms(3000);
  v1::Contribution* worker = status.add_contributions();
  worker->set_worker("lab");
  worker->set_cost(2000);
  worker->set_bytes_sent(5'000'000);
  worker->set_devices("cpu/avx512/x86-64");
  return status;
}

cnn::Summary Done() {
  cnn::Summary summary;
  summary.epoch = 2;
  summary.step = summary.total_steps = 16;
  summary.samples_seen = summary.total_samples = 2000;
  summary.stopped_by = "epochs";
  summary.epochs = {{.epoch = 1, .step = 8, .test_accuracy = 0.9},
                    {.epoch = 2,
                     .step = 16,
                     .train_loss = 0.25,
                     .train_accuracy = 0.95,
                     .test_loss = 0.125,
                     .test_accuracy = 0.9912,
                     .learning_rate = 1,
                     .seconds = 2}};
  return summary;
}

TEST(TrainResultTest, TellsTheLastEvaluation) {
  const auto result = ReadTrainResult(Status(Done()), 0);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->parameters, 1'199'882u);
  EXPECT_EQ(result->images_per_second(), 1000);
  const std::string text = ResultText(*result);
  for (const char* part : {"99.12 %", "1,199,882 parameters", "synchronous, batch 128", "lab", "5.00 MB"}) {
    EXPECT_THAT(text, HasSubstr(part));
  }
  const nlohmann::ordered_json json = ResultJson(*result);
  EXPECT_EQ(json["test_accuracy"], 0.9912);
  EXPECT_EQ(json["history"].size(), 2u);
  EXPECT_EQ(json["contributions"][0]["numerics_class"], "cpu/avx512/x86-64");
}

TEST(TrainResultTest, MetricsHaveALineAnEpoch) {
  const auto result = ReadTrainResult(Status(Done()), 0);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(MetricsCsv(*result),
            "epoch,step,train_loss,train_accuracy,test_loss,test_accuracy,learning_rate,seconds\n"
            "1,8,0.0,0.0,0.0,0.9,0.0,0.0\n2,16,0.25,0.95,0.125,0.9912,1.0,2.0\n");
  const std::string lines = MetricsJsonLines(*result);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), '\n'), 2);
  EXPECT_EQ(nlohmann::json::parse(lines.substr(lines.find('\n') + 1))["test_accuracy"], 0.9912);
}

TEST(TrainResultTest, OtherJobsAreRefused) {
  v1::JobStatus status = Status(Done());
  status.set_workload("nqueens");
  EXPECT_FALSE(ReadTrainResult(status, 0).ok());
}

TEST(TrainProgressTest, ShowsRatesByWorkerAndWhatIsLeft) {
  TrainProgress progress;
  cnn::Summary summary = Done();
  summary.stopped_by.clear();
  summary.total_samples = 20'000;
  for (int second = 0; second <= 10; ++second) {
    summary.samples_seen = static_cast<uint64_t>(100 * second);
    v1::JobStatus status = Status(summary);
    status.set_state(v1::JobStatus::RUNNING);
    status.set_workers(1);
    status.mutable_contributions(0)->set_cost(100 * second);
    status.mutable_contributions(0)->set_bytes_sent(static_cast<uint64_t>(1000 * second));
    progress.Add(status, absl::Seconds(second));
  }
  EXPECT_DOUBLE_EQ(progress.CurrentRates().images_per_second, 100);
  const std::string line = progress.Line(std::string::npos);
  for (const char* part :
       {"epoch 2/2", "step 16 of 16", "100 images/s", "lab 100", "test 99.1 %", "ETA 3 min", "up 1.00 kB/s"}) {
    EXPECT_THAT(line, HasSubstr(part));
  }
  EXPECT_LE(progress.Line(40).size(), 40u);
}

TEST(TrainProgressTest, ARestartBeginsTheRatesAnew) {
  TrainProgress progress;
  cnn::Summary summary = Done();
  for (const uint64_t samples : {1000u, 1500u, 900u}) {
    summary.samples_seen = samples;
    progress.Add(Status(summary), absl::Seconds(static_cast<int64_t>(samples)));
  }
  EXPECT_EQ(progress.CurrentRates().images_per_second, 0);
}

}  // namespace
}  // namespace potluck
