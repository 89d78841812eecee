// What a training run leaves behind in its folder: model.safetensors, model.onnx, metrics.jsonl, metrics.csv, run.json;
// and, while it is not finished, .potluck-train/ with the coordinator's state, from which it can be taken up again.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "cli/arguments.h"
#include "cli/train_result.h"

namespace potluck {

class TrainFolder {
 public:
  // Makes the folder if there is none. Errors name the path.
  static absl::StatusOr<TrainFolder> Open(const std::string& path);

  const std::string& path() const { return path_; }
  std::string Path(absl::string_view name) const;
  std::string state_directory() const { return Path(".potluck-train"); }
  bool HasState() const;
  // Which run was left unfinished here, and how large its parameters are; 0: not known.
  struct Unfinished {
    uint64_t job = 0;
    uint64_t parameter_bytes = 0;
  };
  Unfinished ReadUnfinished() const;
  void NoteUnfinished(const Unfinished& run) const;
  // Takes away what a coordinator left there, nothing else's.
  absl::Status RemoveState() const;
  // Whether a run was finished here.
  bool HasResult() const;

  struct Written {
    std::string model_sha256;        // Hexadecimal, of model.safetensors.
    std::vector<std::string> files;  // Paths, in the order written.
    std::string note;                // What could not be written although the rest was.
  };
  // Each file appears whole or not at all. `saved_state` is the job's (kernels/cnn/state.h).
  absl::StatusOr<Written> Write(const TrainResult& result, absl::string_view saved_state, const Args& command,
                                int64_t started_unix_ms, int64_t ended_unix_ms) const;

 private:
  explicit TrainFolder(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// All that is needed to repeat a run, but the data itself. Join strings in `command` are left out.
nlohmann::ordered_json RunRecord(const TrainResult& result, const Args& command, const std::string& model_sha256,
                                 int64_t started_unix_ms, int64_t ended_unix_ms);

}  // namespace potluck
