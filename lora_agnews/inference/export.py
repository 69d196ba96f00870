"""Export a finished run as a PEFT adapter, a transformers model or ONNX. Every export is checked before it appears."""

import json
import logging
import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import asdict
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from lora_agnews.config.choices import ExportFormat
from lora_agnews.data.source import Source, load_test_rows
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import write_atomically
from lora_agnews.inference.classifier import Model, Run, silence_transformers
from lora_agnews.inference.model_card import write_card
from lora_agnews.model.adapter import load_with_peft
from lora_agnews.model.build import load_base

MARK = "export.json"  # identifies a folder that this module wrote
CHECKED_ROWS, MAX_DIFFERENCE = 64, 1e-4
PIPELINE = """\
```python
import transformers

classify = transformers.pipeline("text-classification", "this folder", truncation=True, max_length={max_length})
classify(["Oil prices rise"])
```
"""
ONNX = """\
```python
import onnxruntime, transformers

tokenizer = transformers.AutoTokenizer.from_pretrained("this folder")
session = onnxruntime.InferenceSession("this folder/model.onnx")
batch = tokenizer(["Oil prices rise"], padding=True, truncation=True, max_length={max_length}, return_tensors="np")
(logits,) = session.run(["logits"], {{name: batch[name] for name in ("input_ids", "attention_mask")}})
```
"""


def export(run: Run, kind: str, folder: Path, force: bool) -> float:
    """Write the folder, complete or not at all. Return the largest difference of its logits from those of the run.

    Raises: UserError, if the folder exists and may not be replaced; RuntimeError, if the logits differ by more than
    1e-4 or a package is missing.
    """
    folder = folder.resolve()  # what a link points to
    _check_folder(folder, force)
    if kind == ExportFormat.ONNX and not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        raise RuntimeError('--format onnx needs more packages: pip install -e ".[onnx]"')
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror})") from error
    try:
        largest = WRITERS[ExportFormat(kind)](run, unfinished)
        if not largest <= MAX_DIFFERENCE:
            raise RuntimeError(f"the export's logits differ from the run's by {largest:.1e}; nothing is kept")
        name, result = run.folder.resolve().name, asdict(run.result)
        about = {"format": kind, "run": name, "difference": largest, "result": result}
        write_atomically(unfinished / MARK, json.dumps(about, indent=2) + "\n")
        for path in unfinished.iterdir():
            path.chmod((unfinished / MARK).stat().st_mode)  # safetensors allows the owner only
        before = unfinished.with_name(f"{unfinished.name}.before")
        if folder.exists():
            folder.rename(before)
        try:
            unfinished.rename(folder)
        except OSError:
            before.rename(folder)
            raise
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return largest


def _check_folder(folder: Path, force: bool) -> None:
    """Raises: UserError, if no export may be written there."""
    if not folder.exists():
        return
    if not folder.is_dir():
        raise UserError(f"{folder}: is a file")
    if any(folder.iterdir()) and not (folder / MARK).is_file():
        raise UserError(f"{folder}: holds other files than an export and is left alone; choose another")
    if any(folder.iterdir()) and not force:
        raise UserError(f"{folder}: holds an export already; to replace it: --force")


def _adapter(run: Run, folder: Path) -> float:
    """Copy RUN_DIR/adapter and compare it as plain PEFT loads it."""
    shutil.copytree(run.folder / "adapter", folder, dirs_exist_ok=True)
    usage = (folder / "README.md").read_text().partition("\n\n")[2] + "\n"
    write_card(run, folder, usage, library="peft")
    with silence_transformers():
        saved = load_with_peft(folder, load_base(run.encoder))
    return difference(run, lambda ids, mask: saved(input_ids=ids, attention_mask=mask).logits)


def _merged(run: Run, folder: Path) -> float:
    model = Model(run, torch.device("cpu"))
    with silence_transformers():
        model.network.save_pretrained(folder)  # type: ignore[operator]
    _save_tokenizer(model, folder)
    write_card(run, folder, PIPELINE.format(max_length=run.config.data.max_length), library="transformers")
    with silence_transformers():
        saved = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    return difference(run, lambda ids, mask: saved(input_ids=ids, attention_mask=mask).logits)


def _onnx(run: Run, folder: Path) -> float:
    import onnxruntime

    model = Model(run, torch.device("cpu"))
    path, names = folder / "model.onnx", ("input_ids", "attention_mask")
    size = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch 2.13's exporter warns about itself; the logits are compared below
        torch.onnx.export(
            _Logits(model.network).eval(),
            tuple(torch.ones(2, 8, dtype=torch.int64) for _ in names),
            path,
            input_names=names,
            output_names=["logits"],
            dynamic_shapes=(size, size),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    model.network.config.save_pretrained(folder)  # type: ignore[union-attr, operator]
    _save_tokenizer(model, folder)
    write_card(run, folder, ONNX.format(max_length=run.config.data.max_length), library="onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def logits(*batch: Tensor) -> Tensor:
        (found,) = session.run(["logits"], {name: each.numpy() for name, each in zip(names, batch, strict=True)})
        return torch.from_numpy(found)

    return difference(run, logits)


WRITERS: dict[ExportFormat, Callable[[Run, Path], float]] = {
    ExportFormat.ADAPTER: _adapter,
    ExportFormat.MERGED: _merged,
    ExportFormat.ONNX: _onnx,
}


class _Logits(nn.Module):
    """A classifier that returns only the logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        logits: Tensor = self.network(input_ids=input_ids, attention_mask=attention_mask).logits
        return logits


def difference(run: Run, logits: Callable[[Tensor, Tensor], Tensor]) -> float:
    """Return the largest difference from the trained model, unmerged, on shipped rows of several lengths."""
    rows = load_test_rows(Source("sample"))
    assert rows is not None
    trained, found = Model(run, torch.device("cpu"), merged=False), list[Tensor]()
    length = run.config.data.max_length
    for start, end in pairwise((0, 1, 3, 16, CHECKED_ROWS)):
        texts = rows.texts[start:end]
        batch = trained.tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        inputs = batch["input_ids"], batch["attention_mask"]
        with torch.inference_mode():
            expected = trained.network(input_ids=inputs[0], attention_mask=inputs[1]).logits
            found.append((logits(*inputs) - expected).abs().max())
    return float(torch.stack(found).max())


def _save_tokenizer(model: Model, folder: Path) -> None:
    model.tokenizer.model_max_length = model.run.config.data.max_length
    model.tokenizer.save_pretrained(folder)
