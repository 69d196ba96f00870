"""Contracts of the adapted model, on the shipped encoder: what is trained, what stays, what is saved."""

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import peft
import pytest
import torch
from conftest import REFERENCE, ROOT
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification

from lora_agnews.budget import count, trainable_parameters
from lora_agnews.config import LABELS, UserError
from lora_agnews.model.adapter import save_adapter
from lora_agnews.model.build import Lora, build_model, load_tokenizer, predict_budget
from lora_agnews.model.encoder import locate

TINY = locate("tiny", None)
MakeLora = Callable[..., Lora]
HEADS = ("full", "lora", "out_proj")


def some_batch() -> dict[str, Tensor]:
    ids = torch.randint(5, 8000, (4, 12))
    mask = torch.ones_like(ids)
    mask[0, 6:], ids[0, 6:] = 0, 1
    return {"input_ids": ids, "attention_mask": mask}


def shake(model: nn.Module) -> None:
    """Moves every trained parameter away from its first value, LoRA's zeros included."""
    with torch.no_grad():
        for parameter in trainable_parameters(model).values():
            parameter.add_(torch.randn_like(parameter) * 0.05)


@pytest.mark.parametrize("head", HEADS)
def test_predicted_is_counted_is_what_gets_a_gradient(lora: MakeLora, head: str) -> None:
    wanted = lora(2, head=head)
    model = build_model(TINY, wanted, seed=0)
    assert count(model) == predict_budget(TINY, wanted)
    shake(model)
    model(**some_batch(), labels=torch.tensor([0, 1, 2, 3])).loss.backward()
    moved = sum(p.numel() for p in model.parameters() if p.grad is not None and p.grad.abs().sum() > 0)
    assert moved == count(model).trainable


def test_the_trained_names_are_the_adapters_and_the_head_exactly(lora: MakeLora) -> None:
    names = {name.removeprefix("base_model.model.") for name in trainable_parameters(build_model(TINY, lora(), 0))}
    adapters = {
        f"roberta.encoder.layer.{layer}.attention.self.{target}.lora_{part}.default.weight"
        for layer in range(4)
        for target in ("query", "value")
        for part in "AB"
    }
    head = {f"classifier.dense.{name}" for name in ("base_layer.weight", "base_layer.bias")}
    head |= {f"classifier.dense.lora_{part}.default.weight" for part in "AB"}
    head |= {"classifier.out_proj.weight", "classifier.out_proj.bias"}
    assert names == adapters | head


@pytest.mark.parametrize("head", HEADS)
def test_base_weights_do_not_change_after_a_step(lora: MakeLora, head: str) -> None:
    model = build_model(TINY, lora(2, head=head), seed=0)
    assert model.training
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained = trainable_parameters(model)
    optimizer = torch.optim.Adam(trained.values(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        model(**some_batch(), labels=torch.tensor([0, 1, 2, 3])).loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != (name in trained), name


def test_at_step_zero_the_logits_are_the_base_models(lora: MakeLora) -> None:
    model = build_model(TINY, lora(8), seed=3).eval()
    plain = AutoModelForSequenceClassification.from_pretrained(TINY.folder, num_labels=4, dtype=torch.float32).eval()
    plain.classifier.load_state_dict(
        {
            name.replace("base_layer.", ""): value
            for name, value in model.get_base_model().classifier.state_dict().items()  # type: ignore[operator]
            if "lora_" not in name
        }
    )
    batch = some_batch()
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, plain(**batch).logits)


def test_the_first_weights_are_a_function_of_the_seed(lora: MakeLora) -> None:
    first, again, other = (build_model(TINY, lora(), seed).eval() for seed in (0, 0, 1))
    batch = some_batch()
    with torch.no_grad():
        logits = [model(**batch).logits for model in (first, again, other)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_dropout_is_on_in_training_and_off_in_evaluation(lora: MakeLora) -> None:
    model = build_model(TINY, lora(4), seed=0)
    shake(model)
    batch = some_batch()
    with torch.no_grad():
        assert not torch.equal(model(**batch).logits, model(**batch).logits)
        model.eval()
        assert torch.equal(model(**batch).logits, model(**batch).logits)


def test_padding_does_not_change_a_rows_logits(lora: MakeLora) -> None:
    model = build_model(TINY, lora(4), seed=0).eval()
    batch = some_batch()
    alone = {key: value[:1, :6] for key, value in batch.items()}
    with torch.no_grad():
        torch.testing.assert_close(model(**batch).logits[:1], model(**alone).logits, atol=1e-5, rtol=1e-5)


def test_the_embeddings_are_outside_the_backward_pass(lora: MakeLora) -> None:
    model = build_model(TINY, lora(), seed=0)
    outputs: list[Tensor] = []
    embeddings = model.get_base_model().roberta.embeddings  # type: ignore[operator]
    embeddings.register_forward_hook(lambda *call: outputs.append(call[-1]))
    model(**some_batch())
    assert not outputs[0].requires_grad


def test_a_target_that_adapts_nothing_is_an_error_that_lists_what_exists(lora: MakeLora) -> None:
    with pytest.raises(UserError, match=r"quary matches no Linear layer.*classifier\.dense.*key.*query.*value"):
        predict_budget(TINY, lora(targets=["quary", "value"]))


def test_labels_have_their_names(lora: MakeLora) -> None:
    config = build_model(TINY, lora(), seed=0).config
    assert config.id2label == dict(enumerate(LABELS))
    assert config.num_labels == 4


LOAD_IN_PLAIN_PEFT = """
import sys, torch, peft
from transformers import AutoModelForSequenceClassification
for folder in sys.argv[2:]:
    torch.manual_seed(99)
    base = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], num_labels=4, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, folder + "/adapter").eval()
    expected = torch.load(folder + "/expected.pt")
    with torch.no_grad():
        torch.testing.assert_close(model(**expected["batch"]).logits, expected["logits"], atol=1e-5, rtol=1e-5)
"""


def test_the_saved_adapters_load_in_plain_peft_in_a_new_process(lora: MakeLora, tmp_path: Path) -> None:
    folders = []
    for head in HEADS:
        for name, targets in (("reference", REFERENCE), ("all", ["query", "key", "value", "dense"])):
            model = build_model(TINY, lora(2, targets, head), seed=7)
            shake(model)
            folders.append(tmp_path / f"{head}-{name}")
            save_adapter(model, TINY, folders[-1] / "adapter")
            batch = some_batch()
            with torch.no_grad():
                torch.save({"batch": batch, "logits": model.eval()(**batch).logits}, folders[-1] / "expected.pt")
            written = json.loads((folders[-1] / "adapter" / "adapter_config.json").read_text())
            assert written["base_model_name_or_path"] == "tiny"
            assert written["modules_to_save"] == ["classifier"]
    command = [sys.executable, "-c", LOAD_IN_PLAIN_PEFT, str(TINY.folder), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_merged_model_gives_the_same_logits(lora: MakeLora) -> None:
    model = build_model(TINY, lora(4, ["query", "key", "value", "dense"]), seed=0)
    shake(model)
    batch = some_batch()
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        merged = copy.deepcopy(model).merge_and_unload()  # type: ignore[operator]
        assert not any(isinstance(module, peft.tuners.lora.LoraLayer) for module in merged.modules())
        torch.testing.assert_close(merged(**batch).logits, expected, atol=1e-5, rtol=1e-5)


def test_the_tokenizer_knows_when_a_text_is_longer_than_the_model() -> None:
    assert load_tokenizer(TINY, 256).pad_token_id == 1
    with pytest.raises(UserError, match=r"data\.max_length=257: tiny has 256 positions"):
        load_tokenizer(TINY, 257)
