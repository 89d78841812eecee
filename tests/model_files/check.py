"""Opens the networks that write_model_files wrote, as others would: the ONNX file in onnxruntime, the safetensors file
with its library and, where PyTorch is installed, in PyTorch. The logits must be Potluck's within 1e-4."""

import json
import pathlib
import sys

import numpy
import onnxruntime
import safetensors.numpy

TOLERANCE = 1e-4


def fail(what):
    print(f"FAILED: {what}")
    sys.exit(1)


def compare(what, logits, expected):
    difference = float(numpy.abs(logits - expected).max())
    if logits.shape != expected.shape or not difference <= TOLERANCE:
        fail(f"{what}: shapes {logits.shape} and {expected.shape}, largest difference {difference}")
    print(f"{what}: largest difference of a logit {difference:.2e}")


def check_onnx(folder, images, expected):
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    (given,), (taken,) = session.get_inputs(), session.get_outputs()
    if given.name != "images" or taken.name != "logits" or given.shape[1:] != list(images.shape[1:]):
        fail(f"{folder.name}: input {given.name} {given.shape}, output {taken.name} {taken.shape}")
    compare(f"{folder.name}, onnxruntime", session.run(["logits"], {"images": images})[0], expected)
    compare(f"{folder.name}, onnxruntime, one image", session.run(None, {"images": images[:1]})[0], expected[:1])


def check_safetensors(folder, model):
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    shapes = {name: list(tensor.shape) for name, tensor in tensors.items()}
    if shapes != model["parameters"]:
        fail(f"{folder.name}: the tensors are {shapes}, expected {model['parameters']}")
    print(f"{folder.name}, safetensors: {len(tensors)} tensors")


def torch_network(torch, model):
    """The same layers, named as in the file."""
    layers, channels, size = [], model["input"][0], model["input"]
    for layer in model["layers"]:
        kind = layer["kind"]
        if kind == "conv":
            made = torch.nn.Conv2d(channels, layer["units"], layer["kernel"], layer["stride"], layer["padding"])
            channels = layer["units"]
        elif kind == "max_pool":
            made = torch.nn.MaxPool2d(layer["kernel"], layer["stride"])
        elif kind == "dropout":
            made = torch.nn.Dropout(layer["rate"])
        elif kind == "flatten":
            made = torch.nn.Flatten()
        else:
            probe = torch.nn.Sequential(*[part for _, part in layers])(torch.zeros(1, *size))
            made = torch.nn.Linear(probe.shape[1], layer["units"])
        layers.append((layer["name"] or f"layer{len(layers)}", made))
        if layer["relu"]:
            layers.append((f"relu{len(layers)}", torch.nn.ReLU()))
    network = torch.nn.Sequential()
    for name, part in layers:
        network.add_module(name, part)
    return network.eval()


def check_torch(torch, folder, model, images, expected):
    from safetensors.torch import load_file

    with torch.no_grad():
        network = torch_network(torch, model)
        network.load_state_dict(load_file(folder / "model.safetensors"), strict=True)
        compare(f"{folder.name}, PyTorch", network(torch.from_numpy(images)).numpy(), expected)


def main():
    try:
        import torch
    except ImportError:
        torch = None
        print("PyTorch is not installed: the safetensors files are opened with their own library only")
    folders = sorted(path.parent for path in pathlib.Path(sys.argv[1]).glob("*/model.json"))
    if not folders:
        fail("there is no network to check")
    for folder in folders:
        model = json.loads((folder / "model.json").read_text())
        images = numpy.fromfile(folder / "images.bin", numpy.uint8).reshape(-1, *model["input"])
        images = images.astype(numpy.float32) / 255
        expected = numpy.fromfile(folder / "logits.bin", numpy.float32).reshape(-1, model["classes"])
        check_onnx(folder, images, expected)
        check_safetensors(folder, model)
        if torch is not None:
            check_torch(torch, folder, model, images, expected)


main()
