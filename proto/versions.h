// Which versions of the conversation this build speaks, and what it calls itself.
#pragma once

#include <cstdint>

namespace potluck {

// Join negotiates the highest version in both ranges. History:
//   1  the first.
inline constexpr uint32_t kProtocolMin = 1;
inline constexpr uint32_t kProtocolMax = 1;

inline constexpr char kVersion[] = "0.1.0";

}  // namespace potluck
