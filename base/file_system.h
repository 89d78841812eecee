// What kind of file system a folder is on. Stateless, thread-safe.
#pragma once

#include <string>

namespace potluck {

// False for those of a network and those that a program serves (FUSE: mounted Drives and buckets): slow, and without
// promises about locks, links and mapped files. What cannot be asked counts as local.
bool IsLocalFileSystem(const std::string& path);

}  // namespace potluck
