"""Write a classifier as model.onnx, quantize it, and load it with onnxruntime. The only module that uses ONNX."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

FILE = "model.onnx"
INPUTS = ("input_ids", "attention_mask")


class _Logits(nn.Module):
    """A classifier that returns only the logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def write_onnx(network: nn.Module, folder: Path) -> None:
    """Write model.onnx, with any number of rows and tokens, and config.json."""
    size = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.13's exporter warns about itself; the logits are compared later
        torch.onnx.export(
            _Logits(network).eval(),
            tuple(torch.ones(2, 8, dtype=torch.int64) for _ in INPUTS),
            folder / FILE,
            input_names=INPUTS,
            output_names=["logits"],
            dynamic_shapes=(size, size),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    network.config.save_pretrained(folder)  # type: ignore[union-attr, operator]


def quantize_onnx(folder: Path) -> None:
    """Replace the float32 weights of model.onnx by int8, which onnxruntime multiplies with activations in uint8."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = (folder / FILE).rename(folder / "float32.onnx")
    logging.disable(logging.WARNING)  # it recommends a step that is for other models
    try:
        quantize_dynamic(whole, folder / FILE, weight_type=QuantType.QInt8)
    finally:
        logging.disable(logging.NOTSET)
    whole.unlink()


def load_onnx(folder: Path, threads: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    """Return model.onnx on the CPU as a function of input_ids and attention_mask (B, T) int64: logits (B, 4).

    0 threads: as many as there are cores.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / FILE, options, providers=["CPUExecutionProvider"])

    def logits(*batch: Tensor) -> Tensor:
        (found,) = session.run(["logits"], {name: each.numpy() for name, each in zip(INPUTS, batch, strict=True)})
        return torch.from_numpy(found)

    return logits
