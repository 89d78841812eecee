// A folder with copies of a training's last states and, at the end, of its files: on a mounted Drive or bucket, so that
// the run can go on elsewhere when this machine is gone.
//
//   state-000012.bin    a state as the coordinator saved it (kernels/cnn/state.h)
//   state-000012.json   what it is: digest, size, specification; written after it
//   model.safetensors, ...
//
// Such file systems promise little: nothing here is locked, linked, mapped or changed in place. Files are written whole
// under another name, synced and renamed; where that cannot be done, under their own name, and a digest tells half of
// one from a whole one. The newest two states are kept. Errors are sentences that name the path. Not thread-safe.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "kernels/cnn/payload.h"

namespace potluck {

struct MirroredState {
  uint64_t number = 0;  // In the files' names; the greatest is the newest.
  std::string job_name;
  uint32_t round = 0;  // At the opening of which it was saved.
  std::string digest;  // Of the blob, 32 bytes.
  uint64_t size = 0;   // Bytes.
  cnn::Spec spec;      // What the job was submitted with.
};

// Whether one may go on from the other: all but the limits and what they begin with is the same.
bool IsSameTraining(const cnn::Spec& a, const cnn::Spec& b);

class MirrorFolder {
 public:
  // To write: makes the folder if there is none, and tries whether a file can be written. InvalidArgument.
  static absl::StatusOr<MirrorFolder> Create(const std::string& path);
  // To read; it may be anything.
  static MirrorFolder Existing(const std::string& path) { return MirrorFolder(path); }

  const std::string& path() const { return path_; }
  // Those whose descriptions can be read, newest first.
  std::vector<MirroredState> States() const;
  // A finished run's.
  bool HasResult() const;
  // DataLoss if it is not what its description says, or not there.
  absl::StatusOr<std::string> Read(const MirroredState& state) const;

  // Gives it the next number, and removes all but the newest two of this training.
  absl::Status Add(MirroredState state, absl::string_view bytes);
  // Under the name that the file has elsewhere.
  absl::Status Copy(const std::string& file);

 private:
  explicit MirrorFolder(std::string path) : path_(std::move(path)) {}
  std::string Path(const std::string& name) const { return path_ + "/" + name; }
  // Whether this is still the folder that was created.
  absl::Status CheckThere() const;
  absl::Status Write(const std::string& name, absl::string_view bytes) const;
  void Remove(uint64_t number) const;
  // All but the newest `count` of this training.
  void KeepOnly(size_t count, const cnn::Spec& spec) const;

  std::string path_;
  dev_t device_ = 0;
  std::string last_;  // The description that was written last; empty: none.
};

}  // namespace potluck
