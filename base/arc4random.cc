// For portable builds (cmake/Portable.cmake): std::random_device of a static libstdc++ calls arc4random, which glibc
// has since 2.36 only. Thread-safe, like the original; where the kernel has no randomness to give the process ends, as
// there.
#include <sys/random.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>

extern "C" __attribute__((visibility("hidden"))) uint32_t arc4random() {
  uint32_t value = 0;
  ssize_t got = 0;
  do {
    got = getrandom(&value, sizeof value, 0);
  } while (got < 0 && errno == EINTR);
  if (got != static_cast<ssize_t>(sizeof value)) std::abort();
  return value;
}
