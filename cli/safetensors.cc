#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "cli/model_file.h"
#include "cli/output.h"
#include "cli/output_file.h"
#include "kernels/cnn/payload.h"

namespace potluck {
namespace {

static_assert(std::endian::native == std::endian::little, "the numbers in files are little-endian");

using Json = nlohmann::json;

constexpr uint64_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 16 << 20;
constexpr const char* kModelKey = "potluck.model";
constexpr size_t kWriteBytes = 16 << 20;

absl::Status Wrong(const std::string& path, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(path, ": ", what));
}

std::string DimsText(const std::vector<uint64_t>& dims) { return absl::StrCat("[", absl::StrJoin(dims, ", "), "]"); }

struct Tensor {
  std::vector<uint64_t> dims;
  uint64_t begin = 0, end = 0;  // Bytes from the end of the header.
};

// An open file whose header was checked: its tensors lie one after the other, without gaps, to its end.
struct SafetensorsFile {
  std::string path;
  std::ifstream stream;
  uint64_t data_begin = 0;
  std::map<std::string, Tensor> tensors;
  std::optional<std::string> model;  // Bytes of a ModelSpec.
};

// A list of whole numbers that are not negative.
std::optional<std::vector<uint64_t>> WholeNumbers(const Json& json) {
  if (!json.is_array()) return std::nullopt;
  std::vector<uint64_t> numbers;
  for (const Json& element : json) {
    if (!element.is_number_unsigned()) return std::nullopt;
    numbers.push_back(element.get<uint64_t>());
  }
  return numbers;
}

// The bytes that a tensor of floats takes; nullopt: more than can be.
std::optional<uint64_t> BytesOf(const std::vector<uint64_t>& dims) {
  uint64_t size = sizeof(float);
  for (const uint64_t dim : dims) {
    if (dim != 0 && size > (uint64_t{1} << 50) / dim) return std::nullopt;
    size *= dim;
  }
  return size;
}

absl::StatusOr<Tensor> ParseTensor(const std::string& path, const std::string& name, const Json& json,
                                   uint64_t data_bytes) {
  const auto wrong = [&](absl::string_view what) {
    return Wrong(path, absl::StrCat("tensor \"", Printable(name), "\": ", what));
  };
  if (!json.is_object()) return wrong("it is not described by a JSON object");
  const auto dtype = json.find("dtype");
  if (dtype == json.end() || !dtype->is_string()) return wrong("dtype is missing");
  if (*dtype != "F32") {
    return wrong(absl::StrCat("dtype is \"", Printable(dtype->get<std::string>()), "\"; allowed is F32"));
  }
  const std::optional<std::vector<uint64_t>> dims = WholeNumbers(json.value("shape", Json()));
  const std::optional<std::vector<uint64_t>> offsets = WholeNumbers(json.value("data_offsets", Json()));
  if (!dims) return wrong("shape is not a list of whole numbers");
  if (!offsets || offsets->size() != 2) return wrong("data_offsets is not a list of two whole numbers");
  const uint64_t begin = (*offsets)[0], end = (*offsets)[1];
  if (begin > end || end > data_bytes) {
    return wrong(absl::StrCat("data_offsets are ", begin, " and ", end, ", but the file has ", data_bytes,
                              " bytes behind its header", end > data_bytes ? ": it was cut short" : ""));
  }
  const std::optional<uint64_t> size = BytesOf(*dims);
  if (!size || *size != end - begin) {
    return wrong(absl::StrCat("its shape ", DimsText(*dims), " of 4-byte numbers does not make the ", end - begin,
                              " bytes of its data_offsets"));
  }
  return Tensor{*dims, begin, end};
}

// No byte belongs to two tensors or to none.
absl::Status CheckCover(const SafetensorsFile& file, uint64_t data_bytes) {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  for (const auto& [name, tensor] : file.tensors) ranges.emplace_back(tensor.begin, tensor.end);
  std::sort(ranges.begin(), ranges.end());
  uint64_t at = 0;
  for (const auto& [begin, end] : ranges) {
    if (begin != at) {
      return Wrong(file.path, absl::StrCat("the tensors ", begin < at ? "overlap" : "leave a gap", " at byte ",
                                           std::min(begin, at), " behind the header"));
    }
    at = end;
  }
  if (at == data_bytes) return absl::OkStatus();
  return Wrong(file.path, absl::StrCat("the tensors end at byte ", at, " behind the header, but the file has ",
                                       data_bytes, " there"));
}

absl::Status ParseHeader(const std::string& text, uint64_t data_bytes, SafetensorsFile& file) {
  const Json header = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) {
    return Wrong(file.path, "its header is not a JSON object: this is not a safetensors file, or it is damaged");
  }
  for (const auto& [name, value] : header.items()) {
    if (name == "__metadata__") {
      const Json model = value.is_object() ? value.value(kModelKey, Json()) : Json();
      if (model.is_null()) continue;
      std::string bytes;
      if (!model.is_string() || !absl::Base64Unescape(model.get<std::string>(), &bytes)) {
        return Wrong(file.path, absl::StrCat("the metadata's \"", kModelKey, "\" is not base64"));
      }
      file.model = std::move(bytes);
      continue;
    }
    absl::StatusOr<Tensor> tensor = ParseTensor(file.path, name, value, data_bytes);
    if (!tensor.ok()) return tensor.status();
    file.tensors.emplace(name, *std::move(tensor));
  }
  return CheckCover(file, data_bytes);
}

absl::StatusOr<SafetensorsFile> Open(const std::string& path) {
  SafetensorsFile file;
  file.path = path;
  errno = 0;
  file.stream.open(path, std::ios::binary | std::ios::ate);
  const std::streamoff end = file.stream.is_open() ? std::streamoff{file.stream.tellg()} : -1;
  // A folder opens, and is as large as can be.
  if (end < 0 || end == std::numeric_limits<std::streamoff>::max()) {
    return absl::InvalidArgumentError(
        absl::StrCat("cannot read ", path, ": ", end < 0 && errno != 0 ? std::strerror(errno) : "not a plain file"));
  }
  const auto size = static_cast<uint64_t>(end);
  uint64_t length = 0;
  file.stream.seekg(0);
  if (size >= kLengthBytes) file.stream.read(reinterpret_cast<char*>(&length), kLengthBytes);
  if (size < kLengthBytes || length > kMaxHeaderBytes || length > size - kLengthBytes) {
    return Wrong(path, absl::StrCat("it has ", size, " bytes, and its first 8 announce a header of ", length,
                                    ": this is not a safetensors file, or it was cut short"));
  }
  std::string text(length, '\0');
  file.stream.read(text.data(), static_cast<std::streamsize>(length));
  if (!file.stream) return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  file.data_begin = kLengthBytes + length;
  if (absl::Status status = ParseHeader(text, size - file.data_begin, file); !status.ok()) return status;
  return file;
}

absl::Status ReadTensor(SafetensorsFile& file, const cnn::Parameter& parameter, std::span<float> values) {
  const auto it = file.tensors.find(parameter.name);
  if (it == file.tensors.end()) {
    return Wrong(file.path, absl::StrCat("it has no tensor \"", parameter.name, "\", which the model has"));
  }
  if (it->second.dims != parameter.dims) {
    return Wrong(file.path, absl::StrCat("tensor \"", parameter.name, "\" has the shape ", DimsText(it->second.dims),
                                         ", in the model it is ", DimsText(parameter.dims)));
  }
  file.stream.seekg(static_cast<std::streamoff>(file.data_begin + it->second.begin));
  file.stream.read(reinterpret_cast<char*>(values.data()), static_cast<std::streamsize>(values.size_bytes()));
  if (!file.stream) return absl::InvalidArgumentError(absl::StrCat("cannot read ", file.path));
  const auto odd = std::find_if(values.begin(), values.end(), [](float value) { return !std::isfinite(value); });
  if (odd == values.end()) return absl::OkStatus();
  return Wrong(file.path, absl::StrCat("tensor \"", parameter.name, "\": number ", odd - values.begin(), " is ", *odd,
                                       "; allowed are finite numbers"));
}

absl::StatusOr<std::vector<float>> ReadTensors(SafetensorsFile& file, const cnn::Model& model) {
  std::vector<float> parameters(model.parameter_count);
  for (const cnn::Parameter& parameter : model.parameters) {
    const std::span<float> values = std::span(parameters).subspan(parameter.offset, parameter.size);
    if (absl::Status status = ReadTensor(file, parameter, values); !status.ok()) return status;
  }
  for (const auto& [name, tensor] : file.tensors) {
    const auto has_name = [&name = name](const cnn::Parameter& parameter) { return parameter.name == name; };
    if (std::none_of(model.parameters.begin(), model.parameters.end(), has_name)) {
      return Wrong(file.path, absl::StrCat("it has a tensor \"", Printable(name), "\", which the model has not"));
    }
  }
  return parameters;
}

std::string Header(const cnn::Model& model) {
  Json header;  // Its keys are sorted.
  header["__metadata__"] = {{"format", "pt"}, {kModelKey, absl::Base64Escape(cnn::Encode(model.spec))}};
  for (const cnn::Parameter& parameter : model.parameters) {
    const uint64_t begin = parameter.offset * sizeof(float);
    header[parameter.name] = {
        {"dtype", "F32"}, {"shape", parameter.dims}, {"data_offsets", {begin, begin + parameter.size * sizeof(float)}}};
  }
  std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  text.append((kLengthBytes - text.size() % kLengthBytes) % kLengthBytes, ' ');  // The numbers begin aligned.
  return text;
}

}  // namespace

absl::Status WriteSafetensors(const cnn::Model& model, std::span<const float> parameters, const std::string& path) {
  absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create(path);
  if (!file.ok()) return file.status();
  const std::string header = Header(model);
  const uint64_t length = header.size();
  (*file)->Write({reinterpret_cast<const char*>(&length), kLengthBytes}).IgnoreError();  // Finish tells it.
  (*file)->Write(header).IgnoreError();
  const absl::string_view numbers(reinterpret_cast<const char*>(parameters.data()), parameters.size_bytes());
  for (size_t at = 0; at < numbers.size(); at += kWriteBytes) {
    if (absl::Status status = (*file)->Write(numbers.substr(at, kWriteBytes)); !status.ok()) return status;
  }
  return (*file)->Finish();
}

absl::StatusOr<ModelFile> ReadModelFile(const std::string& path) {
  absl::StatusOr<SafetensorsFile> file = Open(path);
  if (!file.ok()) return file.status();
  if (!file->model) {
    return Wrong(path, absl::StrCat("its metadata has no \"", kModelKey,
                                    "\", so that it does not say what network it is: allowed are files that `potluck "
                                    "train` wrote"));
  }
  const Result<cnn::ModelSpec> spec = cnn::DecodeModelSpec(*file->model);
  if (!spec.ok()) return Wrong(path, absl::StrCat("the metadata's \"", kModelKey, "\": ", spec.status().message()));
  Result<cnn::Model> model = cnn::MakeModel(*spec);
  if (!model.ok()) return Wrong(path, absl::StrCat("the metadata's \"", kModelKey, "\": ", model.status().message()));
  absl::StatusOr<std::vector<float>> parameters = ReadTensors(*file, *model);
  if (!parameters.ok()) return parameters.status();
  return ModelFile{std::move(model).value(), *std::move(parameters)};
}

absl::StatusOr<std::vector<float>> ReadParameters(const std::string& path, const cnn::Model& model) {
  absl::StatusOr<SafetensorsFile> file = Open(path);
  if (!file.ok()) return file.status();
  return ReadTensors(*file, model);
}

}  // namespace potluck
