"""Encoders of families without shortcuts: from the budget to every export, with the real commands."""

import json
from pathlib import Path

import peft
import pytest
import torch
from transformers import AutoModelForSequenceClassification

from lora_agnews.inference.classifier import Model, open_run
from tests.commands import command, train
from tests.models import MODULES, OTHERS, save_encoder, some_batch

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning"),  # peft 0.21
]


@pytest.mark.parametrize("family", ["electra", *OTHERS])
def test_a_family_is_trained_evaluated_exported_and_loaded_by_plain_peft(family: str, tmp_path: Path) -> None:
    encoder, run_dir = save_encoder(family, tmp_path / "encoder"), tmp_path / "run"
    targets = f"lora.target_modules=[{MODULES[family][0]},{MODULES[family][4]}]"
    overrides = ["experiment=quickstart", f"model.name={encoder.name}", targets, "model.head=lora"]
    predicted = json.loads(command("budget", *overrides, "--json").stdout)
    done = train(run_dir, *overrides)
    assert done.returncode == 0, done.stderr
    result = json.loads((run_dir / "result.json").read_text())
    assert result["budget"]["trainable"] == predicted["trainable"]
    evaluated = json.loads(command("evaluate", run_dir, "--json").stdout)
    assert evaluated["accuracy"]["value"] == pytest.approx(result["metrics"]["test/accuracy"], abs=1e-6)
    (tmp_path / "news.txt").write_text("Oil prices rise\nThe champions draw\n")
    assert command("predict", run_dir, tmp_path / "news.txt", "-o", tmp_path / "out.csv").exit_code == 0
    for kind in ("adapter", "merged", "onnx"):
        exported = command("export", run_dir, "-o", tmp_path / kind, "--format", kind)
        assert exported.exit_code == 0, exported.output
        assert json.loads((tmp_path / kind / "export.json").read_text())["difference"] <= 1e-4
    base = AutoModelForSequenceClassification.from_pretrained(encoder.folder, num_labels=4, dtype=torch.float32)
    plain = peft.PeftModel.from_pretrained(base, run_dir / "adapter").eval()
    ours = Model(open_run(run_dir), torch.device("cpu"), merged=False)
    batch = some_batch()
    with torch.no_grad():
        torch.testing.assert_close(plain(**batch).logits, ours.network(**batch).logits, atol=1e-6, rtol=0)
