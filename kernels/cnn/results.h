// The bytes of a partial result: floats, then a tally (payload.h); or, where the numbers are not finite, a *diverged
// mark*: a tally alone that says so. Pure functions, thread-safe.
//
// Why a mark: a result that claims to be numbers and holds a NaN or an infinity is wrong, and counts against its
// sender. But when a training diverges every honest worker finds such numbers; it says so with a mark, which is a
// possible result. The planner decides what follows from it.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "kernels/cnn/payload.h"

namespace potluck::cnn {

// Whether none is a NaN or an infinity.
bool AllFinite(std::span<const float> values);
bool AllFinite(const char* floats, uint64_t count);

// The mark of an interval with so many samples: loss and hits 0, steps all ones.
std::string DivergedMark(uint64_t samples);
bool IsDivergedMark(std::string_view result);

// result += other. Both are floats and a tally, or a mark; a mark and anything is a mark of the samples of both.
void AddResult(std::string& result, std::string_view other, uint64_t floats);

// The floats at the front of a result, in place. `result` must own its bytes on the heap (longer than a tally), so that
// they are aligned.
std::span<float> FloatsOf(std::string& result, uint64_t count);

}  // namespace potluck::cnn
