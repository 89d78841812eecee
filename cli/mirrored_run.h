// What a run finds in a folder that shall be, or is, the mirror of one: whether it may write there, and what it goes on
// from. Functions without state; errors are sentences.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "cli/mirror_folder.h"

namespace potluck {

struct MirroredRun {
  MirroredState state;
  std::string bytes;
  uint64_t step = 0;  // Optimizer steps done.
};

// The newest state that is whole; `say` is told of newer ones that are not. InvalidArgument if there is none.
absl::StatusOr<MirroredRun> LoadMirroredRun(const std::string& path,
                                            const std::function<void(const std::string&)>& say);

// `spec` has the data of `data`, and shall go on with the run in `mirror` that was begun as `before`. InvalidArgument
// if its data are others. Their names are what they were: a folder may be called otherwise now.
absl::Status AdoptSameData(const cnn::Spec& before, const std::string& mirror, const std::string& data,
                           cnn::Spec& spec);

// For a new run: InvalidArgument if there is one already.
absl::Status CheckMirrorIsFree(const MirrorFolder& mirror);
// For one that goes on: InvalidArgument if what is there is of another training.
absl::Status CheckMirrorFits(const MirrorFolder& mirror, const cnn::Spec& spec);

}  // namespace potluck
