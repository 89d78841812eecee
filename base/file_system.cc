#include "base/file_system.h"

#include <linux/magic.h>
#include <sys/vfs.h>

#include <cstdint>

namespace potluck {
namespace {

// Not in every kernel's headers.
constexpr uint32_t kFuse = 0x65735546;
constexpr uint32_t kCifs = 0xFF534D42;
constexpr uint32_t kSmb2 = 0xFE534D42;
constexpr uint32_t kCeph = 0x00C36400;
constexpr uint32_t kLustre = 0x0BD00BD0;

}  // namespace

bool IsLocalFileSystem(const std::string& path) {
  struct statfs info {};
  if (statfs(path.c_str(), &info) != 0) return true;
  switch (static_cast<uint32_t>(info.f_type)) {
    case kFuse:
    case kCifs:
    case kSmb2:
    case kCeph:
    case kLustre:
    case NFS_SUPER_MAGIC:
    case SMB_SUPER_MAGIC:
    case V9FS_MAGIC:  // Also what WSL2 shows of Windows' disks.
      return false;
    default:
      return true;
  }
}

}  // namespace potluck
