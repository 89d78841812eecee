// The worker bundle: the wheel that the coordinator hands out, so that whoever joins from a notebook runs the
// coordinator's own version.
//
//   GET /bundle            JSON: {"version", "file", "sha256", "size"}
//   GET /bundle/<sha256>   the wheel; a part of it (`Range: bytes=N-`) is enough to go on with a download
//   GET /bundle/cell.py    what a notebook's cell runs once it trusts the coordinator (cell.py)
//
// All need `Authorization: Bearer TOKEN` with any token that may come in now; a refusal is one sentence of plain text.
// Every answer carries the header `Potluck` with the coordinator's version, by which a client knows that no portal or
// proxy answered in its place.
//
// The wheel is read and digested once and stays in memory, once for all who download it. Plain functions and values;
// thread-safe.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "coordinator/tokens.h"
#include "coordinator/web.h"

namespace potluck {

struct Bundle {
  std::string version;  // "0.1.0".
  std::string file;     // The wheel's name, without its folder.
  std::string digest;   // 32 bytes: the SHA-256 of `bytes`.
  std::shared_ptr<const std::string> bytes;
};

// The wheel of `version` in `directory`, which must be the only wheel there. Errors say what is there instead.
absl::StatusOr<Bundle> LoadBundle(const std::string& directory, absl::string_view version);

// The wheel of `version` in the first of `directories` that has one; other versions are passed over. NotFound: there is
// none.
absl::StatusOr<Bundle> FindBundle(const std::vector<std::string>& directories, absl::string_view version);

// The Python program cell.py, which belongs to this build.
const std::string& CellProgram();

bool IsBundlePath(absl::string_view path);
// For requests with such a path. `bundle` may be null: there is none.
WebResponse AnswerBundle(const WebRequest& request, const Bundle* bundle, const Tokens& tokens, absl::Time now);

}  // namespace potluck
