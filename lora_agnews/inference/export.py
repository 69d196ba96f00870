"""Export a finished run as a PEFT adapter, a transformers model or ONNX. Every export is checked before it appears."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from lora_agnews.config.choices import ExportFormat
from lora_agnews.config.scripts import install_extra
from lora_agnews.data.source import Source, load_test_rows
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import write_atomically
from lora_agnews.inference.classifier import Model, Run, silence_transformers
from lora_agnews.inference.model_card import write_card
from lora_agnews.inference.onnx_file import load_onnx, quantize_onnx, write_onnx
from lora_agnews.model.adapter import load_with_peft
from lora_agnews.model.architecture import read_architecture_folder
from lora_agnews.model.build import load_base
from lora_agnews.terminal.console import note

MARK = "export.json"  # identifies a folder that this module wrote
CHECKED_ROWS, MAX_DIFFERENCE = 64, 1e-4
MIN_LABELS = 61  # of CHECKED_ROWS, that int8 weights must leave as they are: 95%
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


Logits = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Export:
    """What a user of the written files needs. `load` gives logits (B, 4) of input_ids and attention_mask (B, T)."""

    load: Callable[[], Logits]
    usage: str
    library: str


@dataclass(frozen=True)
class Agreement:
    """How close an export is to its run on CHECKED_ROWS: the largest difference of a logit, and the equal labels."""

    difference: float
    labels: int

    def __str__(self) -> str:
        return f"logits within {self.difference:.1e} of the run's on {CHECKED_ROWS} rows, {self.labels} labels equal"

    def check(self, quantized: bool) -> None:
        """Raises: RuntimeError, if logits differ by more than 1e-4 or, for int8 weights, more than 3 labels differ."""
        if quantized and self.labels < MIN_LABELS:
            found = f"{self.labels} of {CHECKED_ROWS}"
            raise RuntimeError(
                f"only {found} labels of the int8 model are the run's; nothing is kept. Leave out --quantize"
            )
        if not quantized and not self.difference <= MAX_DIFFERENCE:
            raise RuntimeError(f"the export's logits differ from the run's by {self.difference:.1e}; nothing is kept")


def export(run: Run, kind: str, folder: Path, force: bool, quantize: bool = False) -> Agreement:
    """Write the folder, complete or not at all. `quantize` is for ONNX: int8 weights.

    The merged model and ONNX give calibrated probabilities, if the run is calibrated; an adapter can't.
    Raises: UserError, if the folder exists and may not be replaced; RuntimeError, as `Agreement.check` or if a package
    is missing.
    """
    folder = folder.resolve()  # what a link points to
    _check_folder(folder, force)
    if quantize and kind != ExportFormat.ONNX:
        raise UserError(f"--quantize: is for --format onnx, not for {kind}")
    if kind == ExportFormat.ONNX and not all(map(find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        raise RuntimeError(f"--format onnx needs more packages: {install_extra('onnx')}")
    unfinished = folder.with_name(f".{folder.name}.{os.getpid()}")
    try:
        unfinished.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{folder}: can't be written ({error.strerror})") from error
    try:
        written = WRITERS[ExportFormat(kind)](run, unfinished)
        if quantize:
            quantize_onnx(unfinished)
        with silence_transformers():
            logits = written.load()
        agreement = compare(run, logits, calibrated=kind != ExportFormat.ADAPTER)
        agreement.check(quantize)
        facts = _facts(run, kind, agreement if quantize else None)
        write_card(run, unfinished, written.usage, written.library, facts)
        name, result = run.folder.resolve().name, asdict(run.result)
        about = {"format": kind, "run": name, "difference": agreement.difference, "result": result}
        about |= {"temperature": run.temperature, "quantized": quantize}
        write_atomically(unfinished / MARK, json.dumps(about, indent=2) + "\n")
        for path in unfinished.iterdir():
            path.chmod((unfinished / MARK).stat().st_mode)  # safetensors allows the owner only
        before = unfinished.with_name(f"{unfinished.name}.before")
        if folder.exists():
            folder.rename(before)
        try:
            unfinished.rename(folder)
        except OSError:
            if before.exists():
                before.rename(folder)
            raise
        shutil.rmtree(before, ignore_errors=True)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return agreement


def _facts(run: Run, kind: str, quantized: Agreement | None) -> dict[str, str]:
    """Return what the card says about calibration and int8 weights. An adapter can't be calibrated: there is a note."""
    facts = {}
    if run.temperature and kind == ExportFormat.ADAPTER:
        facts["probabilities"] = f"not calibrated; for the run's own, divide the logits by {run.temperature:.6g}"
        note(f"the adapter's probabilities are {facts['probabilities']}, or export the merged model")
    elif run.temperature:
        facts["probabilities"] = f"calibrated: the last layer is divided by the temperature {run.temperature:.6g}"
    if quantized:
        facts["weights"] = f"quantized to int8; {quantized.labels} of {CHECKED_ROWS} labels are the unquantized model's"
    return facts


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


def _adapter(run: Run, folder: Path) -> Export:
    """Copy RUN_DIR/adapter, which is loaded as plain PEFT does."""
    shutil.copytree(run.folder / "adapter", folder, dirs_exist_ok=True)
    usage = (folder / "README.md").read_text(encoding="utf-8").partition("\n\n")[2] + "\n"
    return Export(lambda: _as_function(load_with_peft(folder, load_base(run.encoder))), usage, "peft")


def _merged(run: Run, folder: Path) -> Export:
    model = _calibrated_model(run)
    with silence_transformers():
        model.network.save_pretrained(folder)  # type: ignore[operator]
    _save_tokenizer(model, folder)
    usage = PIPELINE.format(max_length=run.config.data.max_length)
    load = AutoModelForSequenceClassification.from_pretrained
    return Export(lambda: _as_function(load(folder).eval()), usage, "transformers")


def _onnx(run: Run, folder: Path) -> Export:
    model = _calibrated_model(run)
    write_onnx(model.network, folder)
    _save_tokenizer(model, folder)
    usage = ONNX.format(max_length=run.config.data.max_length)
    return Export(lambda: load_onnx(folder), usage, "onnx")


def _as_function(network: nn.Module) -> Logits:
    return lambda ids, mask: network(input_ids=ids, attention_mask=mask).logits


def _calibrated_model(run: Run) -> Model:
    """Load the merged model, with the temperature in its last layer, so that its softmax is calibrated."""
    model = Model(run, torch.device("cpu"))
    if run.temperature:
        head = read_architecture_folder(run.encoder.name, run.encoder.folder).head
        with torch.no_grad():
            for parameter in model.network.get_submodule(head[-1]).parameters():
                parameter.div_(run.temperature)
    return model


WRITERS: dict[ExportFormat, Callable[[Run, Path], Export]] = {
    ExportFormat.ADAPTER: _adapter,
    ExportFormat.MERGED: _merged,
    ExportFormat.ONNX: _onnx,
}


def compare(run: Run, logits: Logits, calibrated: bool) -> Agreement:
    """Compare logits with those of the trained model, unmerged, on shipped rows of several lengths."""
    rows = load_test_rows(Source("sample"))
    assert rows is not None
    trained, largest, equal = Model(run, torch.device("cpu"), merged=False), list[Tensor](), 0
    length = run.config.data.max_length
    temperature = run.temperature if calibrated and run.temperature else 1.0
    for start, end in pairwise((0, 1, 3, 16, CHECKED_ROWS)):
        texts = rows.texts[start:end]
        batch = trained.tokenizer(texts, padding=True, truncation=True, max_length=length, return_tensors="pt")
        inputs = batch["input_ids"], batch["attention_mask"]
        with torch.inference_mode():
            expected = trained.network(input_ids=inputs[0], attention_mask=inputs[1]).logits / temperature
            found = logits(*inputs)
        largest.append((found - expected).abs().max())
        equal += int((found.argmax(1) == expected.argmax(1)).sum())
    return Agreement(float(torch.stack(largest).max()), equal)


def _save_tokenizer(model: Model, folder: Path) -> None:
    model.tokenizer.model_max_length = model.run.config.data.max_length
    model.tokenizer.save_pretrained(folder)
