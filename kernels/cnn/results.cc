#include "kernels/cnn/results.h"

#include <algorithm>
#include <cstring>

namespace potluck::cnn {
namespace {

constexpr uint64_t kDivergedSteps = ~uint64_t{0};

void AddFloats(char* __restrict sum, const char* __restrict other, uint64_t count) {
  for (uint64_t i = 0; i < count; ++i) {
    float a, b;
    std::memcpy(&a, sum + 4 * i, 4);
    std::memcpy(&b, other + 4 * i, 4);
    a += b;
    std::memcpy(sum + 4 * i, &a, 4);
  }
}

}  // namespace

bool AllFinite(const char* floats, uint64_t count) {
  constexpr uint64_t kBlock = 16384;  // Long enough for vectors, short enough to stop early.
  constexpr uint32_t kExponent = 0x7f800000;
  for (uint64_t begin = 0; begin < count; begin += kBlock) {
    const uint64_t end = std::min(count, begin + kBlock);
    uint32_t wrong = 0;
    for (uint64_t i = begin; i < end; ++i) {
      uint32_t bits;
      std::memcpy(&bits, floats + 4 * i, 4);
      wrong |= (bits & kExponent) == kExponent ? 1 : 0;
    }
    if (wrong != 0) return false;
  }
  return true;
}

bool AllFinite(std::span<const float> values) {
  return AllFinite(reinterpret_cast<const char*>(values.data()), values.size());
}

std::string DivergedMark(uint64_t samples) {
  std::string mark;
  AppendTally({.samples = samples, .steps = kDivergedSteps}, mark);
  return mark;
}

bool IsDivergedMark(std::string_view result) {
  if (result.size() != kTallyBytes) return false;
  const Tally tally = ReadTally(result);
  return tally.steps == kDivergedSteps && tally.loss_sum == 0 && tally.hits == 0;
}

void AddResult(std::string& result, std::string_view other, uint64_t floats) {
  Tally tally = ReadTally(result);
  const Tally more = ReadTally(other);
  if (IsDivergedMark(result) || IsDivergedMark(other)) {
    result = DivergedMark(tally.samples + more.samples);
    return;
  }
  AddFloats(result.data(), other.data(), floats);
  tally.Add(more);
  result.resize(4 * floats);
  AppendTally(tally, result);
}

std::span<float> FloatsOf(std::string& result, uint64_t count) {
  return {reinterpret_cast<float*>(result.data()), count};
}

}  // namespace potluck::cnn
