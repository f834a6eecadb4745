"""A trained network as an ONNX graph: full precision, half-size weights, or int8."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from facelex.errors import FacelexError, require
from facelex.models.blocks import BlurredMaxPool, ConvolvedMaxPool
from facelex.models.dual_encoder import DualEncoder

OPSET = 18
_SMALL = 64
"""Tensors with fewer numbers stay float32: halving a bias saves nothing and costs a node."""
_QUANTIZED = ("Conv", "Gemm", "MatMul", "Add", "Relu", "MaxPool", "GlobalAveragePool")


class _ImageSide(nn.Module):
    """What the file computes: logits and, where words can be asked for, image features."""

    def __init__(self, model: DualEncoder, with_features: bool):
        super().__init__()
        self.model = model
        self.with_features = with_features

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        features = self.model.image_encoder(self.model.normalize_pixels(images))
        logits = self.model.classifier(features)
        if not self.with_features or self.model.image_projection is None:
            return (logits,)
        return logits, self.model.image_projection(features)


def create_graph(model: DualEncoder, image_size: int, *, with_features: bool) -> Any:
    """Trace the image side of ``model`` as an ``onnx.ModelProto`` with a free batch axis.

    The exporter folds batch normalisation into the convolutions. What it notes about the source (node names,
    stack traces) is taken out again.

    Args:
        model: On the CPU, in evaluation mode.
        image_size: Side of the images in pixels.
        with_features: Whether there is a second output ``image_features``.

    Raises:
        FacelexError: If the exporter cannot express the network.
        MissingExtraError: If ``onnx`` or ``onnxscript`` is missing.
    """
    require("onnx", "train", "Exporting")
    require("onnxscript", "train", "Exporting")
    outputs = ["logits", "image_features"] if with_features else ["logits"]
    side = _ImageSide(copy.deepcopy(model), with_features).eval()
    _convolve_blurs(side)
    try:
        program = torch.onnx.export(
            side,
            (torch.rand(2, 1, image_size, image_size),),
            dynamo=True,
            opset_version=OPSET,
            input_names=["images"],
            output_names=outputs,
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().splitlines()[0]
        raise FacelexError(f"This network cannot be written as ONNX: {reason}") from error
    assert program is not None
    graph = program.model_proto
    _forget_origin(graph)
    return graph


def _convolve_blurs(module: nn.Module) -> None:
    """Put in what a runtime is fast at, wherever maps are blurred."""
    for name, child in module.named_children():
        if isinstance(child, BlurredMaxPool):
            setattr(module, name, ConvolvedMaxPool())
        else:
            _convolve_blurs(child)


def halve_weights(graph: Any) -> Any:
    """Store large weights as float16, cast back when a session opens.

    Runtimes fold the casts away while loading, so speed and arithmetic are those of float32; only the stored
    values are rounded, to 11 bits.

    Raises:
        FacelexError: If a weight is beyond float16's 65,504.
    """
    import onnx

    halved = onnx.ModelProto()
    halved.CopyFrom(graph)
    casts = []
    for tensor in halved.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype != np.float32 or values.size < _SMALL:
            continue
        if np.abs(values).max() > np.finfo(np.float16).max:
            raise FacelexError("A weight is too large for float16. Export with --precision fp32.")
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        casts.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *halved.graph.node]
    del halved.graph.node[:]
    halved.graph.node.extend(nodes)
    _forget_shapes(halved)
    onnx.checker.check_model(halved)
    return halved


def quantize(graph: Any, images: NDArray[np.float32], batch_size: int = 64) -> Any:
    """Quantise weights (int8, a scale per channel) and activations (uint8) statically.

    Weights take 7 of the 8 bits (``reduce_range``): with 8, processors without VNNI instructions saturate in
    the middle of a sum, and the same file would answer differently there.

    Args:
        graph: As :func:`create_graph` returns it.
        images: Training images that show the ranges of activations, ``(n, 1, S, S)`` in [0, 1].
        batch_size: Images at once.
    """
    import onnx
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self, batches: Iterator[NDArray[np.float32]]):
            self.batches = batches

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(self.batches, None)
            return None if batch is None else {"images": batch}

    prepared = onnx.shape_inference.infer_shapes(graph)
    onnx.helper.set_model_props(prepared, {"onnx.quant.pre_process": "onnxruntime.quant"})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            prepared,
            path,
            Reader(images[i : i + batch_size] for i in range(0, len(images), batch_size)),
            quant_format=quantization.QuantFormat.QDQ,
            op_types_to_quantize=list(_QUANTIZED),
            per_channel=True,
            reduce_range=True,
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            calibrate_method=quantization.CalibrationMethod.MinMax,
        )
        quantized = onnx.load(str(path))
    _forget_origin(quantized)
    return quantized


class GraphSession:
    """A graph ready to run on the CPU."""

    def __init__(self, graph: Any, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.names = [output.name for output in self.session.get_outputs()]

    def run(self, images: NDArray[np.float32], batch_size: int = 256) -> list[NDArray[np.float32]]:
        """Return logits ``(n, K)`` and, where there is such an output, features ``(n, E)``."""
        rows: Sequence[list[NDArray[np.float32]]] = [
            self.session.run(self.names, {"images": np.ascontiguousarray(images[i : i + batch_size])})
            for i in range(0, len(images), batch_size)
        ]
        return [np.concatenate(parts) for parts in zip(*rows)]


def _forget_origin(graph: Any) -> None:
    """Take out notes on where nodes came from: source files and module paths are nobody's business."""
    del graph.metadata_props[:]
    graph.doc_string = ""
    parts = graph.graph
    for value in [*parts.node, *parts.input, *parts.output, *parts.value_info, *parts.initializer]:
        del value.metadata_props[:]
        value.doc_string = ""
    del parts.metadata_props[:]
    parts.doc_string, parts.name = "", "facelex"
    _forget_shapes(graph)


def _forget_shapes(graph: Any) -> None:
    """Runtimes infer the shapes of inner values themselves."""
    del graph.graph.value_info[:]
