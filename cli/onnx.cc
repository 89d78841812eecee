#include <cstdint>
#include <initializer_list>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cli/model_file.h"
#include "cli/output_file.h"

namespace potluck {
namespace {

// Field numbers and values of github.com/onnx/onnx/blob/main/onnx/onnx.proto.
constexpr int kIrVersion = 8, kOperatorSet = 17;
constexpr int kFloat = 1;                             // TensorProto.DataType
constexpr int kAttributeInt = 2, kAttributeInts = 7;  // AttributeProto.AttributeType
constexpr uint64_t kMaxBytes = (uint64_t{1} << 31) - 1;
constexpr size_t kWriteBytes = 16 << 20;

// A protobuf message. Zeros are written, as they are elements of lists.
class Message {
 public:
  Message& Int(uint32_t number, uint64_t value) {
    Varint(uint64_t{number} << 3);
    Varint(value);
    return *this;
  }
  Message& Bytes(uint32_t number, absl::string_view value) {
    Opening(number, value.size());
    bytes_.append(value.data(), value.size());
    return *this;
  }
  Message& Sub(uint32_t number, const Message& value) { return Bytes(number, value.bytes_); }
  // Key and length of what the caller writes behind this message.
  Message& Opening(uint32_t number, uint64_t size) {
    Varint(uint64_t{number} << 3 | 2);
    Varint(size);
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
    bytes_.push_back(static_cast<char>(value));
  }
  std::string bytes_;
};

Message IntAttribute(absl::string_view name, uint64_t value) {
  return Message().Bytes(1, name).Int(3, value).Int(20, kAttributeInt);
}

Message IntsAttribute(absl::string_view name, std::initializer_list<uint64_t> values) {
  Message message;
  message.Bytes(1, name);
  for (const uint64_t value : values) message.Int(8, value);
  return message.Int(20, kAttributeInts);
}

// The nodes of a graph, each fed with what the one before gave.
class Nodes {
 public:
  explicit Nodes(std::string input) : value_(std::move(input)) {}

  void Add(absl::string_view type, const std::string& name, const std::vector<std::string>& parameters,
           const std::vector<Message>& attributes, const std::string& output = "") {
    Message node;
    node.Bytes(1, value_);
    for (const std::string& parameter : parameters) node.Bytes(1, parameter);
    value_ = output.empty() ? absl::StrCat("value", ++values_) : output;
    node.Bytes(2, value_).Bytes(3, name).Bytes(4, type);
    for (const Message& attribute : attributes) node.Sub(5, attribute);
    graph_.Sub(1, node);
  }
  const Message& graph() const { return graph_; }

 private:
  std::string value_;
  int values_ = 0;
  Message graph_;
};

void AddLayer(const cnn::Layer& layer, size_t index, bool is_last, Nodes& nodes) {
  const std::string name = layer.name.empty() ? absl::StrCat("layer", index + 1) : layer.name;
  const std::vector<std::string> parameters = {name + ".weight", name + ".bias"};
  switch (layer.kind) {
    case cnn::LayerKind::kConv: {
      const uint64_t kernel = layer.kernel, stride = layer.stride, padding = layer.padding;
      nodes.Add("Conv", name, parameters,
                {IntsAttribute("kernel_shape", {kernel, kernel}), IntsAttribute("strides", {stride, stride}),
                 IntsAttribute("pads", {padding, padding, padding, padding})});
      break;
    }
    case cnn::LayerKind::kMaxPool: {
      const uint64_t kernel = layer.kernel, stride = layer.stride;
      nodes.Add("MaxPool", name, {},
                {IntsAttribute("kernel_shape", {kernel, kernel}), IntsAttribute("strides", {stride, stride})});
      break;
    }
    case cnn::LayerKind::kDropout:
      return;  // Does nothing but in training.
    case cnn::LayerKind::kFlatten:
      nodes.Add("Flatten", name, {}, {IntAttribute("axis", 1)});
      break;
    case cnn::LayerKind::kDense:
      nodes.Add("Gemm", name, parameters, {IntAttribute("transB", 1)}, is_last ? "logits" : "");
      break;
  }
  if (layer.relu) nodes.Add("Relu", name + ".relu", {}, {});
}

// A value of floats [N, dims...].
Message ValueInfo(absl::string_view name, std::initializer_list<uint64_t> dims) {
  Message shape;
  shape.Sub(1, Message().Bytes(2, "N"));
  for (const uint64_t dim : dims) shape.Sub(1, Message().Int(1, dim));
  return Message().Bytes(1, name).Sub(2, Message().Sub(1, Message().Int(1, kFloat).Sub(2, shape)));
}

// A TensorProto but for its last field's bytes, which follow.
Message TensorHead(const cnn::Parameter& parameter) {
  Message tensor;
  for (const uint64_t dim : parameter.dims) tensor.Int(1, dim);
  return tensor.Int(2, kFloat).Bytes(8, parameter.name).Opening(9, parameter.size * sizeof(float));
}

}  // namespace

absl::Status WriteOnnx(const cnn::Model& model, std::span<const float> parameters, const std::string& path) {
  Nodes nodes("images");
  for (size_t i = 0; i < model.spec.layers.size(); ++i) {
    AddLayer(model.spec.layers[i], i, i + 1 == model.spec.layers.size(), nodes);
  }
  const cnn::Shape& input = model.spec.input;
  Message graph = nodes.graph();
  graph.Bytes(2, model.spec.name.empty() ? absl::string_view("model") : model.spec.name)
      .Sub(11, ValueInfo("images", {input.channels, input.height, input.width}))
      .Sub(12, ValueInfo("logits", {model.classes}));

  // The parameters are written from where they are, so that only heads are made here.
  std::vector<std::string> heads;
  uint64_t graph_bytes = graph.bytes().size();
  for (const cnn::Parameter& parameter : model.parameters) {
    const Message tensor = TensorHead(parameter);
    const uint64_t raw = parameter.size * sizeof(float);
    heads.push_back(Message().Opening(5, tensor.bytes().size() + raw).bytes() + tensor.bytes());
    graph_bytes += heads.back().size() + raw;
  }
  Message head;
  head.Int(1, kIrVersion).Bytes(2, "potluck").Sub(8, Message().Bytes(1, "").Int(2, kOperatorSet));
  head.Opening(7, graph_bytes);
  if (head.bytes().size() + graph_bytes > kMaxBytes) {
    return absl::InvalidArgumentError(absl::StrCat("cannot write ", path, ": the model needs ", graph_bytes,
                                                   " bytes, allowed in an ONNX file are ", kMaxBytes));
  }

  absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Create(path);
  if (!file.ok()) return file.status();
  (*file)->Write(head.bytes()).IgnoreError();  // Finish tells it.
  (*file)->Write(graph.bytes()).IgnoreError();
  for (size_t i = 0; i < heads.size(); ++i) {
    const std::span<const float> values = parameters.subspan(model.parameters[i].offset, model.parameters[i].size);
    const absl::string_view raw(reinterpret_cast<const char*>(values.data()), values.size_bytes());
    (*file)->Write(heads[i]).IgnoreError();
    for (size_t at = 0; at < raw.size(); at += kWriteBytes) {
      if (absl::Status status = (*file)->Write(raw.substr(at, kWriteBytes)); !status.ok()) return status;
    }
  }
  return (*file)->Finish();
}

}  // namespace potluck
