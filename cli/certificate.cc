#include "cli/certificate.h"

#include <cstdlib>
#include <limits>
#include <optional>
#include <set>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sha256.h"
#include "cli/nqueens_result.h"
#include "cli/output.h"

namespace potluck {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr uint64_t kMaxIndex = std::numeric_limits<int64_t>::max();
constexpr char kVersionField[] = "potluck_certificate";
constexpr size_t kShownOfAValue = 60;

std::string ToText(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

// One line's fields. The first thing that is wrong is kept, and every field read after it is zero or empty.
class Fields {
 public:
  explicit Fields(absl::string_view line) {
    std::set<std::string> seen;
    std::string twice;
    const auto note_keys = [&](int depth, Json::parse_event_t event, Json& value) {
      if (event == Json::parse_event_t::key && depth == 1 && !seen.insert(value.get<std::string>()).second) {
        twice = value.get<std::string>();
      }
      return true;
    };
    json_ = Json::parse(line.begin(), line.end(), note_keys, /*allow_exceptions=*/false);
    if (!json_.is_object()) {
      Fail("it is not a JSON object");
    } else if (!twice.empty()) {
      Fail(absl::StrCat(Printable(twice), " stands there twice"));
    }
  }

  bool Has(const char* name) const { return json_.is_object() && json_.contains(name); }

  uint64_t Number(const char* name, uint64_t low, uint64_t high) {
    const Json* field = Find(name);
    if (field == nullptr) return 0;
    if (field->is_number_unsigned()) {
      const uint64_t value = field->get<uint64_t>();
      if (value >= low && value <= high) return value;
    }
    NotAllowed(name, *field, absl::StrCat("a whole number from ", low, " to ", high));
    return 0;
  }
  // A number that can only be this one; `why` in words.
  void Same(const char* name, uint64_t value, absl::string_view why) {
    const Json* field = Find(name);
    if (field == nullptr || (field->is_number_unsigned() && field->get<uint64_t>() == value)) return;
    NotAllowed(name, *field, absl::StrCat(value, ", ", why));
  }
  static constexpr size_t kMostBytes = 1024;  // Of a text: a certificate may come from anybody.

  std::string String(const char* name) {
    const Json* field = Find(name);
    if (field == nullptr) return "";
    if (field->is_string()) {
      std::string text = field->get<std::string>();
      if (text.size() <= kMostBytes) return text;
      Fail(absl::StrCat(name, " is ", text.size(), " bytes long; allowed is at most ", kMostBytes));
      return "";
    }
    NotAllowed(name, *field, "a text in quotes");
    return "";
  }
  std::string StringOrNull(const char* name) {
    const Json* field = Find(name);
    return field == nullptr || field->is_null() ? "" : String(name);
  }
  Count128 Count(const char* name) {
    const std::string digits = String(name);
    const std::optional<Count128> count = Count128::Parse(digits);
    if (count && (digits == "0" || digits[0] != '0')) return *count;
    if (ok()) NotAllowed(name, json_[name], "decimal digits in quotes, a number below 2^128");
    return {};
  }
  uint64_t Checksum(const char* name) {
    const std::string digits = String(name);
    if (IsHex(digits) && digits.size() == 16) return std::strtoull(digits.c_str(), nullptr, 16);
    if (ok()) NotAllowed(name, json_[name], "16 hexadecimal digits in quotes, lower case");
    return 0;
  }
  std::string Hex(const char* name, size_t most_digits) {
    const std::string digits = String(name);
    if (IsHex(digits) && digits.size() % 2 == 0 && digits.size() <= most_digits) return digits;
    if (ok()) NotAllowed(name, json_[name], "hexadecimal digits in quotes, lower case");
    return "";
  }
  void NotAllowed(const char* name, const Json& value, const std::string& allowed) {
    std::string shown = value.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (shown.size() > kShownOfAValue) shown = absl::StrCat(shown.substr(0, kShownOfAValue), "...");
    Fail(absl::StrCat(name, " is ", Printable(shown), "; allowed is ", allowed));
  }
  void Fail(const std::string& sentence) {
    if (status_.ok()) status_ = absl::InvalidArgumentError(sentence);
  }

  bool ok() const { return status_.ok(); }
  const absl::Status& status() const { return status_; }

 private:
  static bool IsHex(const std::string& digits) {
    return !digits.empty() && digits.find_first_not_of("0123456789abcdef") == std::string::npos;
  }
  const Json* Find(const char* name) {
    if (!ok()) return nullptr;
    const auto it = json_.find(name);
    if (it != json_.end()) return &*it;
    Fail(absl::StrCat(name, " is missing"));
    return nullptr;
  }

  Json json_;
  absl::Status status_;
};

void AddCounts(const nqueens::Counts& counts, OrderedJson& json) {
  json["solutions"] = counts.solutions.ToString();
  json["nodes"] = counts.nodes.ToString();
  json["visited"] = counts.visited.ToString();
  json["checksum"] = absl::StrFormat("%016x", counts.checksum);
}

nqueens::Counts ReadCounts(Fields& fields) {
  nqueens::Counts counts;
  counts.solutions = fields.Count("solutions");
  counts.nodes = fields.Count("nodes");
  counts.visited = fields.Count("visited");
  counts.checksum = fields.Checksum("checksum");
  return counts;
}

}  // namespace

std::string ToLine(const CertificateHeader& header) {
  OrderedJson json;
  json[kVersionField] = kCertificateVersion;
  json["workload"] = "nqueens";
  json["n"] = header.spec.n;
  json["algorithm"] = nqueens::AlgorithmName(header.spec.algorithm);
  json["depth"] = header.spec.depth;
  json["spec"] = absl::BytesToHexString(Encode(header.spec));
  json["index_space"] = header.index_space;
  json["version"] = header.version;
  json["created"] = header.created;
  return ToText(json);
}

std::string ToLine(const CertificateSlice& slice) {
  OrderedJson json;
  json["begin"] = slice.interval.begin;
  json["end"] = slice.interval.end;
  AddCounts(slice.counts, json);
  json["worker"] = slice.worker;
  json["version"] = slice.version;
  json["devices"] = slice.devices;
  json["verified_by"] = nullptr;
  if (!slice.verified_by.empty()) json["verified_by"] = slice.verified_by;
  return ToText(json);
}

std::string ToLine(const CertificateTotals& totals) {
  OrderedJson json;
  json["slices"] = totals.slices;
  AddCounts(totals.counts, json);
  json["sha256"] = totals.sha256;
  return ToText(json);
}

absl::StatusOr<CertificateHeader> ParseHeaderLine(absl::string_view line) {
  Fields fields(line);
  if (fields.ok() && !fields.Has(kVersionField)) {
    fields.Fail(absl::StrCat(kVersionField, " is missing: this is not a certificate"));
  }
  fields.Same(kVersionField, kCertificateVersion, "the version of the format that this build reads");
  if (const std::string workload = fields.String("workload"); fields.ok() && workload != "nqueens") {
    fields.NotAllowed("workload", workload, "\"nqueens\"");
  }
  const std::string spec_bytes = absl::HexStringToBytes(fields.Hex("spec", 200));
  const Result<nqueens::Spec> spec = nqueens::DecodeSpec(spec_bytes);
  if (!spec.ok()) fields.Fail(absl::StrCat("spec: ", spec.status().message()));
  CertificateHeader header;
  if (spec.ok()) header.spec = *spec;
  fields.Same("n", header.spec.n, "as spec says");
  fields.Same("depth", header.spec.depth, "as spec says");
  const std::string name(nqueens::AlgorithmName(header.spec.algorithm));
  if (const std::string algorithm = fields.String("algorithm"); fields.ok() && algorithm != name) {
    fields.NotAllowed("algorithm", algorithm, absl::StrCat("\"", name, "\", as spec says"));
  }
  header.index_space = fields.Number("index_space", 1, kMaxIndex);
  header.version = fields.String("version");
  header.created = fields.String("created");
  if (!fields.ok()) return fields.status();
  return header;
}

absl::StatusOr<std::variant<CertificateSlice, CertificateTotals>> ParseLine(absl::string_view line) {
  Fields fields(line);
  if (fields.Has("sha256")) {
    CertificateTotals totals;
    totals.slices = fields.Number("slices", 1, kMaxIndex);
    totals.counts = ReadCounts(fields);
    totals.sha256 = fields.Hex("sha256", 2 * kSha256Bytes);
    if (!fields.ok()) return fields.status();
    return totals;
  }
  CertificateSlice slice;
  slice.interval.begin = fields.Number("begin", 0, kMaxIndex - 1);
  slice.interval.end = fields.Number("end", slice.interval.begin + 1, kMaxIndex);
  slice.counts = ReadCounts(fields);
  slice.worker = fields.String("worker");
  slice.version = fields.String("version");
  slice.devices = fields.Has("devices") ? fields.String("devices") : "";
  slice.verified_by = fields.StringOrNull("verified_by");
  if (!fields.ok()) return fields.status();
  return slice;
}

}  // namespace potluck
