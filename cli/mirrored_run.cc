#include "cli/mirrored_run.h"

#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "cli/output.h"
#include "kernels/cnn/model.h"
#include "kernels/cnn/state.h"

namespace potluck {
namespace {

// Its step. What is whole may still be no state of that network.
absl::StatusOr<uint64_t> StepOf(const MirroredState& state, const std::string& bytes) {
  const Result<cnn::Model> model = cnn::MakeModel(state.spec.model);
  if (!model.ok()) return absl::DataLossError(model.status().message());
  const Result<cnn::State> decoded = cnn::DecodeState(state.spec, *model, bytes);
  if (!decoded.ok()) return absl::DataLossError(decoded.status().message());
  return decoded->progress.step;
}

}  // namespace

absl::StatusOr<MirroredRun> LoadMirroredRun(const std::string& path,
                                            const std::function<void(const std::string&)>& say) {
  const MirrorFolder mirror = MirrorFolder::Existing(path);
  for (MirroredState& state : mirror.States()) {
    absl::StatusOr<std::string> bytes = mirror.Read(state);
    const absl::StatusOr<uint64_t> step = bytes.ok() ? StepOf(state, *bytes) : bytes.status();
    if (!step.ok()) {
      say(absl::StrCat(std::string(step.status().message()), "; the state before it is tried"));
      continue;
    }
    return MirroredRun{std::move(state), *std::move(bytes), *step};
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "--resume is \"", path, "\", which holds no state that can be read; allowed is a job's number, or a ",
      "folder that `potluck train --mirror` wrote (is the Drive or bucket mounted?)"));
}

absl::Status AdoptSameData(const cnn::Spec& before, const std::string& mirror, const std::string& data,
                           cnn::Spec& spec) {
  for (const auto& [now, then, which] :
       {std::tuple(&spec.train, &before.train, "training"), std::tuple(&spec.test, &before.test, "test")}) {
    if (now->shards != then->shards) {
      return absl::InvalidArgumentError(absl::StrCat("--data is ", data, ", whose ", which, " set is another one (",
                                                     now->samples, " samples) than that of the run in ", mirror, " (",
                                                     then->samples, " samples, \"", Printable(then->name),
                                                     "\"); allowed is the data set that it was begun with"));
    }
    now->name = then->name;
  }
  return absl::OkStatus();
}

absl::Status CheckMirrorIsFree(const MirrorFolder& mirror) {
  const bool has_states = !mirror.States().empty();
  if (!has_states && !mirror.HasResult()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--mirror is ", mirror.path(), ", which holds ",
                   has_states ? "the states of a run" : "a finished run", "; allowed is another folder",
                   has_states ? absl::StrCat(", to go on with that run (--resume ", mirror.path(), " --data ...)") : "",
                   ", or --overwrite"));
}

absl::Status CheckMirrorFits(const MirrorFolder& mirror, const cnn::Spec& spec) {
  const std::vector<MirroredState> states = mirror.States();
  if (states.empty() || IsSameTraining(states.front().spec, spec)) return absl::OkStatus();
  const cnn::Spec& other = states.front().spec;
  return absl::InvalidArgumentError(
      absl::StrCat("--mirror is ", mirror.path(), ", which holds the states of another training (model \"",
                   Printable(other.model.name), "\", data \"", Printable(other.train.name),
                   "\"); allowed is another folder, or --overwrite"));
}

}  // namespace potluck
