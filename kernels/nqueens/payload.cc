#include "kernels/nqueens/payload.h"

#include "kernels/nqueens/backtracking/prefix.h"
#include "kernels/workload/fields.h"

namespace potluck::nqueens {

namespace {

Result<Spec> MitmSpec(uint64_t n, uint64_t depth) {
  if (n > kMaxMeetInTheMiddleN) {
    return Status::Error("n is " + std::to_string(n) + "; allowed for meeting in the middle: 1 to " +
                         std::to_string(kMaxMeetInTheMiddleN) + ".");
  }
  if (depth != 0) {
    return Status::Error("depth is " + std::to_string(depth) + "; allowed for meeting in the middle: 0.");
  }
  return Spec{static_cast<uint32_t>(n), kMeetInTheMiddle, 0};
}

}  // namespace

std::string_view AlgorithmName(uint32_t algorithm) {
  return algorithm == kBacktracking ? "backtracking" : algorithm == kMeetInTheMiddle ? "mitm" : "unknown";
}

bool Counts::Add(const Counts& other) {
  Counts sum = *this;
  if (!sum.solutions.Add(other.solutions) || !sum.nodes.Add(other.nodes) || !sum.visited.Add(other.visited)) {
    return false;
  }
  sum.checksum += other.checksum;
  *this = sum;
  return true;
}

std::string Encode(const Spec& spec) {
  FieldWriter writer;
  writer.Uint(1, spec.n);
  writer.Uint(2, spec.algorithm);
  writer.Uint(3, spec.depth);
  return writer.Take();
}

std::string Encode(const Counts& counts) {
  FieldWriter writer;
  writer.Fixed64(1, counts.solutions.low());
  writer.Fixed64(2, counts.solutions.high());
  writer.Fixed64(3, counts.nodes.low());
  writer.Fixed64(4, counts.nodes.high());
  writer.Fixed64(5, counts.checksum);
  writer.Fixed64(6, counts.visited.low());
  writer.Fixed64(7, counts.visited.high());
  return writer.Take();
}

Result<Spec> DecodeSpec(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return Status::Error("The N-Queens specification is not a well-formed NQueensSpec message.");
  const uint64_t n = fields->Number(1);
  const uint64_t algorithm = fields->Number(2);
  const uint64_t depth = fields->Number(3);
  if (n < 1 || n > kMaxN) {
    return Status::Error("n is " + std::to_string(n) + "; allowed: 1 to " + std::to_string(kMaxN) + ".");
  }
  if (algorithm == kMeetInTheMiddle) return MitmSpec(n, depth);
  if (algorithm != kBacktracking) {
    return Status::Error("algorithm is " + std::to_string(algorithm) +
                         "; allowed: 1 (backtracking) and 2 (meet in the middle).");
  }
  const int max_depth = MaxPrefixDepth(static_cast<int>(n));
  if (depth > static_cast<uint64_t>(max_depth)) {
    return Status::Error("depth is " + std::to_string(depth) + "; allowed for n = " + std::to_string(n) +
                         ": 0 (chosen by the planner) to " + std::to_string(max_depth) + ".");
  }
  return Spec{static_cast<uint32_t>(n), static_cast<uint32_t>(algorithm), static_cast<uint32_t>(depth)};
}

Result<Counts> DecodeCounts(std::string_view bytes) {
  const auto fields = FieldReader::Parse(bytes);
  if (!fields) return Status::Error("The N-Queens result is not a well-formed NQueensCounts message.");
  Counts counts;
  counts.solutions = Count128::FromWords(fields->Number(2), fields->Number(1));
  counts.nodes = Count128::FromWords(fields->Number(4), fields->Number(3));
  counts.checksum = fields->Number(5);
  counts.visited = Count128::FromWords(fields->Number(7), fields->Number(6));
  return counts;
}

}  // namespace potluck::nqueens
