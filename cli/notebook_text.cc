#include "cli/notebook_text.h"

#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "cli/notebook_template.h"
#include "coordinator/bundle.h"

namespace potluck {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kColumns = 120;
constexpr absl::string_view kMark = "  #: ";
constexpr absl::string_view kRuleForAny =
    "Hosted notebooks have rules about such workers; Colab and Kaggle restrict them. Read yours first.";

std::string Base64Url(absl::string_view bytes) {
  std::string text;
  absl::WebSafeBase64Escape(bytes, &text);
  return text;
}

// `text` in lines of comment.
std::string Comment(absl::string_view text) {
  std::string lines = "#";
  size_t column = 1;
  for (const absl::string_view word : absl::StrSplit(text, ' ', absl::SkipEmpty())) {
    if (column + 1 + word.size() > kColumns) {
      absl::StrAppend(&lines, "\n#");
      column = 1;
    }
    absl::StrAppend(&lines, " ", word);
    column += 1 + word.size();
  }
  return lines;
}

std::string RuleOf(const Platform* platform) {
  return platform == nullptr || platform->rule.empty() ? std::string(kRuleForAny) : platform->rule;
}

bool IsForAny(const NotebookOptions& options) { return options.join.addresses.empty(); }

// "https://..., November 2026", or nothing.
std::string SourceOf(const Platform* platform) {
  if (platform == nullptr || platform->source.empty()) return "";
  return absl::StrCat(platform->source, ", ", platform->dated);
}

bool IsWanted(absl::string_view mark, const NotebookOptions& options) {
  const bool any = IsForAny(options), keyed = !any && !options.join.pin.empty();
  if (mark == "any") return any;
  if (mark == "known") return !any;
  if (mark == "keyed") return keyed;
  if (mark == "pinned") return any || keyed;
  if (mark == "unpinned") return !any && !keyed;
  // Another platform's store of secrets; the rest is for all.
  return options.platform == nullptr || mark == options.platform->name;
}

// The template's lines for this case, without their marks.
std::string WantedLines(const NotebookOptions& options) {
  std::vector<absl::string_view> lines;
  for (const absl::string_view line : absl::StrSplit(NotebookCellTemplate(), '\n')) {
    const size_t mark = line.rfind(kMark);
    if (mark == absl::string_view::npos) {
      lines.push_back(line);
    } else if (IsWanted(line.substr(mark + kMark.size()), options)) {
      lines.push_back(line.substr(0, mark));
    }
  }
  return absl::StrJoin(lines, "\n");
}

std::string Flags(const NotebookOptions& options) {
  if (!options.exit_when_idle) return "[]";
  return absl::StrCat("[\"--exit-when-idle\", \"", *options.exit_when_idle, "\"]");
}

std::string WhichCoordinator(const NotebookOptions& options) {
  if (IsForAny(options)) return "that your join string names";
  return absl::StrCat("at ", absl::StrJoin(options.join.addresses, ", "));
}

std::string Explanation(const NotebookOptions& options) {
  const Platform* platform = options.platform;
  std::string text = absl::StrCat(
      "# A worker for a Potluck coordinator\n\nThe cell below lends this machine's GPU, or its CPU where there is none, to the "
      "coordinator ",
      WhichCoordinator(options),
      ". It downloads the program from that coordinator and runs it here, so run it only if you trust whoever runs the "
      "coordinator. *Interrupt* it once to leave: what is being computed is handed in first.\n\n");
  absl::StrAppend(&text, "**The rule here.** ", RuleOf(platform));
  if (const std::string source = SourceOf(platform); !source.empty()) absl::StrAppend(&text, " (", source, ".)");
  absl::StrAppend(
      &text,
      " Where a platform restricts workers, set `RULES_CONFIRMED = True` in the cell once you have read its "
      "rule and keep it.\n\n**One worker an account.** Do not open several accounts or several such notebooks "
      "to get around a platform's limits.");
  if (platform != nullptr && !platform->limits.empty()) {
    absl::StrAppend(&text, "\n\n**Limits.** ", platform->limits, " The worker leaves before the end that it knows of.");
  }
  absl::StrAppend(&text, "\n\n**The join string** is a secret. ");
  if (options.embed_token) {
    return absl::StrCat(text, "It stands in the cell: do not pass this notebook on.");
  }
  return absl::StrCat(
      text,
      "It is not in this notebook: the cell takes it from this platform's secret named `POTLUCK_JOIN`, or "
      "from the environment variable of that name, or asks for it.");
}

Json Metadata(const NotebookOptions& options) {
  Json metadata = {{"kernelspec", {{"display_name", "Python 3"}, {"language", "python"}, {"name", "python3"}}},
                   {"language_info", {{"name", "python"}}}};
  const std::string platform = options.platform == nullptr ? "" : options.platform->name;
  if (platform == "colab") metadata["accelerator"] = "GPU";
  if (platform == "kaggle") metadata["kaggle"] = {{"accelerator", "gpu"}, {"isInternetEnabled", true}};
  return metadata;
}

}  // namespace

absl::string_view NotebookCellTemplate() { return kNotebookCell; }

absl::StatusOr<std::string> NotebookCell(const NotebookOptions& options) {
  std::string embedded;
  if (options.embed_token && !IsForAny(options)) {
    absl::StatusOr<std::string> text = FormatJoinString(options.join);
    if (!text.ok()) return text.status();
    embedded = *std::move(text);
  }
  if (!IsForAny(options) && options.join.pin.empty() && options.join.bundle.empty()) {
    return absl::InvalidArgumentError(
        "the join string holds neither the coordinator's key nor the digest of its worker bundle, so no cell could "
        "tell "
        "its program from another's: start the coordinator with a bundle (`serve --bundle DIR`) and take its new join "
        "string");
  }
  const std::string source = SourceOf(options.platform);
  const std::string confirmed =
      source.empty() ? "True: I have read the rule above and keep it" : absl::StrCat("True: I keep it (", source, ")");
  return absl::StrReplaceAll(WantedLines(options),
                             {{"@COORDINATOR@", WhichCoordinator(options)},
                              {"# @RULE@", Comment(RuleOf(options.platform))},
                              {"@SOURCE@", confirmed},
                              {"@PIN@", Base64Url(options.join.pin)},
                              {"@JOIN@", embedded},
                              {"[\"@FLAGS@\"]", Flags(options)},
                              {"@CELL@", Base64Url(Sha256(CellProgram()))}});
}

absl::StatusOr<std::string> Notebook(const NotebookOptions& options) {
  absl::StatusOr<std::string> cell = NotebookCell(options);
  if (!cell.ok()) return cell.status();
  const std::string code(absl::StripSuffix(*cell, "\n"));
  const Json notebook = {
      {"cells",
       {{{"cell_type", "markdown"}, {"id", "about"}, {"metadata", Json::object()}, {"source", Explanation(options)}},
        {{"cell_type", "code"},
         {"execution_count", nullptr},
         {"id", "worker"},
         {"metadata", Json::object()},
         {"outputs", Json::array()},
         {"source", code}}}},
      {"metadata", Metadata(options)},
      {"nbformat", 4},
      {"nbformat_minor", 5}};
  return notebook.dump(1) + "\n";
}

}  // namespace potluck
