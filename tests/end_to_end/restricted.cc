// A file system that promises little, as a mounted Drive or bucket does: a library that is loaded before all others
// (LD_PRELOAD) and fails calls on what lies under a folder. For tests, never installed.
//
//   POTLUCK_RESTRICTED    the folder: no flock, link, rename, mmap or fsync there, and it is said to be FUSE
//   POTLUCK_FULL          as long as there is a file of this name, the folder is full
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

constexpr unsigned kFuse = 0x65735546;

template <typename Function>
Function* Real(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

bool IsRestricted(const char* path) {
  const char* folder = std::getenv("POTLUCK_RESTRICTED");
  return folder != nullptr && path != nullptr && std::strncmp(path, folder, std::strlen(folder)) == 0;
}

bool IsRestricted(int fd) {
  char link[64], path[PATH_MAX];
  std::snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return false;
  path[length] = '\0';
  return IsRestricted(path);
}

bool IsFull(int fd) {
  const char* full = std::getenv("POTLUCK_FULL");
  return full != nullptr && access(full, F_OK) == 0 && IsRestricted(fd);
}

int Fail(int error) {
  errno = error;
  return -1;
}

}  // namespace

extern "C" {

int flock(int fd, int operation) {
  return IsRestricted(fd) ? Fail(ENOSYS) : Real<int(int, int)>("flock")(fd, operation);
}

int link(const char* from, const char* to) {
  return IsRestricted(to) ? Fail(EPERM) : Real<int(const char*, const char*)>("link")(from, to);
}

int rename(const char* from, const char* to) {
  return IsRestricted(to) ? Fail(EOPNOTSUPP) : Real<int(const char*, const char*)>("rename")(from, to);
}

int fsync(int fd) { return IsRestricted(fd) ? Fail(EINVAL) : Real<int(int)>("fsync")(fd); }

void* mmap(void* address, size_t length, int protection, int flags, int fd, off_t offset) {
  if (fd >= 0 && IsRestricted(fd)) {
    errno = ENODEV;
    return MAP_FAILED;
  }
  return Real<void*(void*, size_t, int, int, int, off_t)>("mmap")(address, length, protection, flags, fd, offset);
}

ssize_t write(int fd, const void* bytes, size_t size) {
  return IsFull(fd) ? Fail(ENOSPC) : Real<ssize_t(int, const void*, size_t)>("write")(fd, bytes, size);
}

int statfs(const char* path, struct statfs* info) {
  const int result = Real<int(const char*, struct statfs*)>("statfs")(path, info);
  if (result == 0 && IsRestricted(path)) info->f_type = kFuse;
  return result;
}

}  // extern "C"
