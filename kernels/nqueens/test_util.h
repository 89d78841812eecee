// Helpers of the N-Queens tests.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "kernels/nqueens/backtracking/slice_runner.h"
#include "kernels/nqueens/payload.h"

namespace potluck::nqueens {

// Sanitizers slow the search down some 10 to 50 times: fewer boards there.
#if defined(__has_feature)  // clang
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define POTLUCK_SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(POTLUCK_SANITIZED)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

struct Slice {
  Interval interval;
  Counts counts;
};

// Runs `interval` to its end; the slices must be consecutive and cover it.
inline std::vector<Slice> RunAll(Runner& runner, Interval interval, double slice_seconds = 0.05) {
  std::vector<Slice> slices;
  RunControl control(interval);
  uint64_t position = interval.begin;
  const Status status = runner.Run(interval, control, RunOptions{slice_seconds},
                                   [&](Interval slice, std::string_view bytes, double busy) {
                                     EXPECT_EQ(slice.begin, position);
                                     EXPECT_GT(busy, 0);
                                     const Result<Counts> counts = DecodeCounts(bytes);
                                     EXPECT_TRUE(counts.ok());
                                     if (counts.ok()) slices.push_back({slice, *counts});
                                     position = slice.end;
                                   });
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(position, interval.end);
  return slices;
}

inline Counts Sum(const std::vector<Slice>& slices) {
  Counts sum;
  for (const Slice& slice : slices) EXPECT_TRUE(sum.Add(slice.counts));
  return sum;
}

}  // namespace potluck::nqueens
