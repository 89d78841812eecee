#include "worker/child_blobs.h"

#include "absl/strings/str_cat.h"
#include "base/blob.h"
#include "base/sha256.h"

namespace potluck {
namespace {

Status Over() { return Status::Error("The run was cancelled while it waited for a blob."); }

}  // namespace

Result<std::string> ChildBlobs::Fetch(const std::string& digest) {
  if (digest.size() != kSha256Bytes) {
    return Status::Error(
        absl::StrCat("A blob is named by a digest of ", digest.size(), " bytes; allowed: ", kSha256Bytes, "."));
  }
  std::optional<LeaseId> asked;
  {
    MutexLock lock(&mutex_);
    if (!lease_) return Over();
    if (wanted_[digest].waiters++ == 0) asked = lease_;
  }
  if (asked) send_({.kind = FrameKind::kNeed, .lease = *asked, .bytes = digest});
  MutexLock lock(&mutex_);
  Wanted& wanted = wanted_[digest];  // Stays as long as somebody waits.
  while (!wanted.answer) changed_.Wait(&mutex_);
  Result<std::string> answer = *wanted.answer;
  if (--wanted.waiters == 0) wanted_.erase(digest);
  return answer;
}

void ChildBlobs::Prefetch(std::span<const std::string> digests) {
  Frame need{.kind = FrameKind::kNeed, .number = 1};
  for (const std::string& digest : digests) {
    if (digest.size() == kSha256Bytes && need.bytes.size() + digest.size() <= kMaxFramePayload) need.bytes += digest;
  }
  {
    MutexLock lock(&mutex_);
    if (!lease_ || need.bytes.empty()) return;
    need.lease = *lease_;
  }
  send_(need);
}

std::string ChildBlobs::DigestOf(std::string_view bytes) const {
  return BlobDigest(DescribeBlob(absl::string_view(bytes.data(), bytes.size())));
}

void ChildBlobs::RunStarts(LeaseId lease) {
  MutexLock lock(&mutex_);
  lease_ = lease;
}

void ChildBlobs::RunEnds() {
  MutexLock lock(&mutex_);
  lease_.reset();
  for (auto& [digest, wanted] : wanted_) {
    if (!wanted.answer) wanted.answer = Over();
  }
  changed_.SignalAll();
}

void ChildBlobs::Deliver(const Frame& blob) {
  MutexLock lock(&mutex_);
  const auto it = wanted_.find(blob.bytes);
  if (lease_ != blob.lease || it == wanted_.end() || it->second.answer) return;
  it->second.answer = blob.number == 0 ? Result<std::string>(blob.text) : Result<std::string>(Status::Error(blob.text));
  changed_.SignalAll();
}

}  // namespace potluck
