#include "proto/exchange_codec.h"

#include <random>

#include "base/sha256.h"
#include "gtest/gtest.h"
#include "kernels/workload/fields.h"
#include "proto/nqueens.pb.h"

namespace potluck {
namespace {

ExchangeRequest SampleRequest() {
  ExchangeRequest request;
  request.session = SessionId{0xfedcba9876543210};
  request.seq = 7;
  ReportedSlice slice;
  slice.round = {JobId{3}, 2};
  slice.interval = {10, 20};
  slice.lease = {5, 6};
  slice.slot = 1;
  slice.busy_seconds = 0.25;
  slice.payload = "counts";
  slice.digest = Sha256("counts");
  request.slices.push_back(slice);
  request.report.held = {{{5, 6}, {JobId{3}, 2}, 1, {20, 30}, 25}, {{5, 7}, {JobId{3}, 2}, 0, {30, 40}}};
  request.report.free_capacity = {0, 2};
  request.report.draining = true;
  request.known_rounds = {{JobId{3}, 2}};
  request.no_wait = true;
  return request;
}

TEST(ExchangeCodecTest, ARequestSurvivesTheWire) {
  const ExchangeRequest request = SampleRequest();
  const absl::StatusOr<ExchangeRequest> back = FromWire(ToWire(request));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(ToWire(*back).SerializeAsString(), ToWire(request).SerializeAsString());
  EXPECT_EQ(back->report.held[1].shrunk_to, std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(back->slices[0].digest, Sha256("counts"));
}

TEST(ExchangeCodecTest, AReplySurvivesTheWire) {
  ExchangeReply reply;
  reply.seq = 9;
  for (int verdict = 0; verdict <= static_cast<int>(SliceVerdict::kNotHere); ++verdict) {
    reply.answers.push_back({static_cast<SliceVerdict>(verdict), "why"});
  }
  reply.orders.granted = {{{1, 2}, {JobId{3}, 4}, 5, {6, 7}, "avx2"}};
  reply.orders.shrunk = {{{1, 3}, 44}};
  reply.orders.revoked = {{1, 4}};
  reply.rounds = {{{JobId{3}, 4}, "nqueens", "payload", {"a digest", "another"}}};
  reply.drain = true;
  reply.call_within = absl::Seconds(20);
  const absl::StatusOr<ExchangeReply> back = FromWire(ToWire(reply));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(ToWire(*back).SerializeAsString(), ToWire(reply).SerializeAsString());
  EXPECT_EQ(back->rounds[0].blobs, reply.rounds[0].blobs);
  EXPECT_EQ(back->orders.granted[0].implementation, "avx2");
  for (size_t i = 0; i < reply.answers.size(); ++i) EXPECT_EQ(back->answers[i].verdict, reply.answers[i].verdict);
}

TEST(ExchangeCodecTest, ADevicesImplementationsSurviveTheWireWithinBounds) {
  DeviceInfo device;
  device.kind = "cpu";
  device.implementations = {"avx512", "scalar"};
  EXPECT_EQ(FromWire(ToWire(device)).implementations, device.implementations);
  v1::Device wire;
  wire.add_implementations("");
  wire.add_implementations(std::string(65, 'x'));
  for (int i = 0; i < 100; ++i) wire.add_implementations("sound");
  EXPECT_EQ(FromWire(wire).implementations, std::vector<std::string>(16, "sound"));
}

TEST(ExchangeCodecTest, ADigestThatIsNotThePayloadsIsCleared) {
  v1::ExchangeRequest wire = ToWire(SampleRequest());
  wire.mutable_slices(0)->set_payload("other counts");
  const absl::StatusOr<ExchangeRequest> request = FromWire(std::move(wire));
  ASSERT_TRUE(request.ok());
  EXPECT_TRUE(request->slices[0].digest.empty());
}

TEST(ExchangeCodecTest, ASliceHandedOverApartIsNamedByItsDigestAlone) {
  ExchangeRequest sample = SampleRequest();
  sample.slices[0].is_put = true;
  const v1::ExchangeRequest wire = ToWire(sample);
  EXPECT_TRUE(wire.slices(0).payload().empty());
  absl::StatusOr<ExchangeRequest> request = FromWire(v1::ExchangeRequest(wire));
  ASSERT_TRUE(request.ok());
  EXPECT_TRUE(request->slices[0].is_put);
  EXPECT_EQ(request->slices[0].digest, sample.slices[0].digest);
  v1::ExchangeRequest both = wire;  // A payload besides is no such slice.
  both.mutable_slices(0)->set_payload("counts");
  EXPECT_TRUE(FromWire(std::move(both))->slices[0].digest.empty());
  v1::ExchangeRequest short_digest = wire;
  short_digest.mutable_slices(0)->set_digest("abc");
  EXPECT_TRUE(FromWire(std::move(short_digest))->slices[0].digest.empty());
}

TEST(ExchangeCodecTest, ARoundsBulkSurvivesTheWireInItsOrder) {
  ExchangeReply reply;
  reply.rounds.push_back({{JobId{1}, 2}, "cnn", "payload", {"shard"}, {"parameters", "update"}});
  const absl::StatusOr<ExchangeReply> back = FromWire(ToWire(reply));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(back->rounds[0].blobs, reply.rounds[0].blobs);
  EXPECT_EQ(back->rounds[0].bulk, reply.rounds[0].bulk);
}

TEST(ExchangeCodecTest, AnIntervalThatEndsBeforeItBeginsIsRefused) {
  v1::ExchangeRequest wire = ToWire(SampleRequest());
  wire.mutable_slices(0)->set_end(9);
  EXPECT_EQ(FromWire(std::move(wire)).status().message(), "slice [10, 9) ends before it begins");
}

TEST(ExchangeCodecTest, APayloadOverTheLimitIsRefused) {
  v1::ExchangeRequest wire = ToWire(SampleRequest());
  wire.mutable_slices(0)->set_payload(std::string(kMaxSliceBytes + 1, 'x'));
  EXPECT_EQ(FromWire(std::move(wire)).status().code(), absl::StatusCode::kInvalidArgument);
}

// kernels/ writes payloads without protobuf; they must be what protobuf would write.
TEST(FieldsTest, WriteWhatProtobufWrites) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 200; ++i) {
    v1::NQueensCounts counts;
    counts.set_solutions_low(random() >> (random() % 64));
    counts.set_solutions_high(random() % 2);
    counts.set_nodes_low(random());
    counts.set_checksum(random() >> (random() % 64));
    FieldWriter writer;
    writer.Fixed64(1, counts.solutions_low());
    writer.Fixed64(2, counts.solutions_high());
    writer.Fixed64(3, counts.nodes_low());
    writer.Fixed64(5, counts.checksum());
    const std::string bytes = writer.Take();
    ASSERT_EQ(bytes, counts.SerializeAsString());
    const auto fields = FieldReader::Parse(bytes);
    ASSERT_TRUE(fields.has_value());
    EXPECT_EQ(fields->Number(5), counts.checksum());
  }
  v1::NQueensSpec spec;
  spec.set_n(27);
  spec.set_algorithm(1);
  spec.set_depth(300);
  FieldWriter writer;
  writer.Uint(1, 27);
  writer.Uint(2, 1);
  writer.Uint(3, 300);
  EXPECT_EQ(writer.Take(), spec.SerializeAsString());
}

}  // namespace
}  // namespace potluck
