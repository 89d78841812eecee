// A half-open interval of a round's index space: all that is ever stored, sent or recovered of a piece of work.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

namespace potluck {

struct Interval {
  uint64_t begin = 0;
  uint64_t end = 0;  // Exclusive; end >= begin.

  constexpr uint64_t size() const { return end - begin; }
  constexpr bool empty() const { return begin >= end; }
  constexpr bool Contains(Interval other) const { return begin <= other.begin && other.end <= end; }
  constexpr bool Overlaps(Interval other) const {
    return begin < other.end && other.begin < end && !empty() && !other.empty();
  }
  friend constexpr bool operator==(Interval, Interval) = default;
};

// The common part; empty when there is none.
constexpr Interval Intersection(Interval a, Interval b) {
  const uint64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

// "[begin, end)", for messages.
inline std::string ToString(Interval interval) {
  return "[" + std::to_string(interval.begin) + ", " + std::to_string(interval.end) + ")";
}

}  // namespace potluck
