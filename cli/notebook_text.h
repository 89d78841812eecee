// What `potluck notebook` writes: a cell of Python that joins a coordinator, alone or in a notebook that explains it.
//
// The cell is notebook_cell.py with what it needs to know filled in, and without the lines that are marked (`#: WORD`)
// for other cases. Pure functions, thread-safe.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "proto/join_string.h"
#include "worker/platform.h"

namespace potluck {

struct NotebookOptions {
  // The token goes into the cell only with `embed_token`. Without an address: for any coordinator, with the key that is in
  // the join string that the cell is given; only `platform` and `exit_when_idle` are looked at then.
  JoinString join;
  const Platform* platform = nullptr;  // Null: written for any.
  bool embed_token = false;
  std::optional<int> exit_when_idle;  // Seconds.
};

// The template as it lies in the repository.
absl::string_view NotebookCellTemplate();

// InvalidArgument if no such cell could be trusted: neither a key nor a bundle's digest is in the join string.
absl::StatusOr<std::string> NotebookCell(const NotebookOptions& options);

// A whole notebook (nbformat 4.5) with that cell, JSON text.
absl::StatusOr<std::string> Notebook(const NotebookOptions& options);

}  // namespace potluck
