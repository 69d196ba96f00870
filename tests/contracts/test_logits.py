"""Logits at step 0, in half precision, merged, saved and loaded are those that they should be, for every family."""

import copy
from pathlib import Path

import peft
import pytest
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification

from lora_agnews.budget import trainable_parameters
from lora_agnews.model.adapter import load_adapter, save_adapter
from lora_agnews.model.architecture import FAMILIES, ROBERTA, parse_architecture, read_architecture_folder
from lora_agnews.model.build import adapt, build_model, cast_frozen_layers, load_base, speed_up_encoder
from tests.commands import run_python
from tests.models import (
    MODULES,
    OPTIONS,
    OTHERS,
    TINY,
    Change,
    MakeLora,
    config_of,
    in_names_of,
    perturb,
    save_encoder,
    some_batch,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_last_layer_of_one_token_gives_the_same_logits_and_gradients(family: str, lora: MakeLora) -> None:
    config = config_of(family, 16, 2)
    shape = parse_architecture("it", config.to_dict())
    torch.manual_seed(0)
    chosen = in_names_of(family, lora(r=2, target_modules="all-linear", dropout=0.0, init="gaussian"))
    model = adapt(AutoModelForSequenceClassification.from_config(config), shape, chosen).eval()
    for part in trainable_parameters(model).values():
        nn.init.normal_(part, std=0.1)
    ids, mask = torch.randint(5, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[0, 4:] = 0
    found, last = [], model.get_submodule(f"base_model.model.{shape.last_attention_norm}")
    seen: list[torch.Size] = []
    last.register_forward_hook(lambda module, inputs, output: seen.append(output.shape))
    for _ in range(2):
        output = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([0, 1, 2]))
        model.zero_grad()
        output.loss.backward()
        found.append((output.logits, {name: part.grad for name, part in trainable_parameters(model).items()}))
        speed_up_encoder(model, shape)
    assert seen == [(3, 9, 16), (3, 1, 16)]
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_gets_a_mask_that_it_need_not_look_at(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The logits are bit-identical to those with transformers' own masks, which wait for the GPU in `all`."""
    config = config_of(family, 16, 2)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    faster, shape = copy.deepcopy(model), parse_architecture("it", config.to_dict())
    speed_up_encoder(faster, shape)
    norm = model.get_submodule(shape.last_attention_norm)
    norm.register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :1],))
    ids, mask = torch.randint(5, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[0, 4:] = 0
    with torch.no_grad():
        padded, full = model(input_ids=ids, attention_mask=mask).logits, model(input_ids=ids).logits
        for name in ("all", "__bool__", "item"):
            monkeypatch.setattr(torch.Tensor, name, lambda *_: pytest.fail("transformers looked at the mask"))
        assert faster(input_ids=ids, attention_mask=mask).logits.tolist() == padded.tolist()
        assert faster(input_ids=ids, attention_mask=None).logits.tolist() == full.tolist()


@pytest.mark.parametrize("change", OPTIONS, ids=str)
def test_at_step_zero_the_logits_are_the_base_models(lora: MakeLora, change: Change) -> None:
    model = build_model(TINY, lora(r=2, **change), seed=3).eval()
    torch.manual_seed(3)
    plain = load_base(TINY).eval()
    batch = some_batch()
    exact = change.get("init") in (None, "gaussian") and not change.get("use_dora")
    with torch.no_grad():
        found, expected = model(**batch).logits, plain(**batch).logits
    assert torch.equal(found, expected) if exact else torch.allclose(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "change", [{}, {"head": "lora", "bias": "lora_only"}, {"init": "pissa"}, {"use_dora": True}], ids=str
)
def test_frozen_layers_in_half_precision_give_the_bits_of_autocast(lora: MakeLora, change: Change, mode: str) -> None:
    """Logits, loss and every gradient, with dropout in train mode."""
    found = []
    for held in (False, True):
        model = build_model(TINY, lora(r=2, **change), seed=0)
        torch.manual_seed(1)
        perturb(model)
        if held:
            cast_frozen_layers(torch.bfloat16, model)
        model.train(mode == "train")
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(**some_batch(), labels=torch.tensor([0, 1, 2, 3]))
        output.loss.backward()
        gradients = {name: parameter.grad for name, parameter in trainable_parameters(model).items()}
        halves = sum(parameter.dtype == torch.bfloat16 for parameter in model.parameters())
        assert halves == (2 * 4 * (4 if change.get("bias") else 6) if held and not change.get("use_dora") else 0)
        found.append((output.logits, output.loss, gradients))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@pytest.mark.parametrize("family", OTHERS)
def test_frozen_layers_of_other_families_in_half_precision_give_the_bits_of_autocast(
    lora: MakeLora, family: str
) -> None:
    config, found = config_of(family, 16, 2), []
    chosen = in_names_of(family, lora(r=2, target_modules=["query"]))
    batch, mask = torch.randint(5, 50, (3, 9)), torch.ones(3, 9, dtype=torch.long)
    mask[0, 4:] = 0
    for held in (False, True):
        torch.manual_seed(0)
        base = AutoModelForSequenceClassification.from_config(config)
        model = adapt(base, parse_architecture("it", config.to_dict()), chosen)
        perturb(model)
        if held:
            cast_frozen_layers(torch.bfloat16, model)
            assert sum(parameter.dtype == torch.bfloat16 for parameter in model.parameters()) > 2
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16):
            output = model(input_ids=batch, attention_mask=mask, labels=torch.tensor([0, 1, 2]))
        output.loss.backward()
        gradients = {name: parameter.grad for name, parameter in trainable_parameters(model).items()}
        found.append((output.logits, output.loss, gradients))
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=0)


@pytest.mark.parametrize("family", OTHERS)
def test_other_families_give_the_logits_of_plain_transformers(lora: MakeLora, tmp_path: Path, family: str) -> None:
    """Bit for bit, with a mask and, as for a batch in which no row is padded, without one."""
    encoder = save_encoder(family, tmp_path)
    model = build_model(encoder, in_names_of(family, lora(target_modules="all-linear")), seed=3)
    speed_up_encoder(model, read_architecture_folder(encoder.name, encoder.folder))
    torch.manual_seed(3)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=4).eval()
    batch = some_batch()
    with torch.no_grad():
        assert torch.equal(model.eval()(**batch).logits, plain(**batch).logits)
        ids = batch["input_ids"]
        assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)


LOAD = """
import sys, torch, peft
from pathlib import Path
from transformers import AutoModelForSequenceClassification
from lora_agnews.model.adapter import load_adapter
from lora_agnews.model.encoder import find_encoder

for folder in map(Path, sys.argv[2:]):
    torch.manual_seed(99)
    base = AutoModelForSequenceClassification.from_pretrained(sys.argv[1], num_labels=4, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, folder / "adapter").eval()
    expected = torch.load(folder / "expected.pt")
    with torch.no_grad():
        logits = model(**expected["batch"]).logits
        ours = load_adapter(folder / "adapter", find_encoder("tiny", None))(**expected["batch"]).logits
        merged = model.merge_and_unload()(**expected["batch"]).logits
    assert torch.equal(ours, expected["logits"]), f"{folder}: ours"
    assert torch.equal(logits, expected["logits"]) or not expected["exact"], f"{folder}: plain PEFT"
    torch.testing.assert_close(logits, expected["logits"], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(merged, expected["logits"], atol=1e-5, rtol=1e-5)
"""


def test_saved_adapters_give_the_same_logits_in_a_new_process(lora: MakeLora, tmp_path: Path) -> None:
    """With another seed, in plain PEFT and by our loader: bit for bit where PEFT can, else to float rounding."""
    folders = []
    for number, change in enumerate(OPTIONS):
        model = build_model(TINY, lora(r=2, **change), seed=7)
        perturb(model)
        folders.append(tmp_path / str(number))
        save_adapter(model, TINY, folders[-1] / "adapter")
        batch, exact = some_batch(), change.get("init") not in ("pissa", "olora")
        with torch.no_grad():
            expected = {"batch": batch, "logits": model.eval()(**batch).logits, "exact": exact}
        torch.save(expected, folders[-1] / "expected.pt")
        readme = (folders[-1] / "adapter" / "README.md").read_text()
        assert ("load_adapter" in readme) != exact
    done = run_python("-W", "ignore", "-c", LOAD, str(TINY.folder), *map(str, folders))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("head", ["full", "lora"])
@pytest.mark.parametrize("family", [family for family in MODULES if FAMILIES.get(family) is not ROBERTA])
def test_other_families_are_saved_and_loaded_with_their_heads(
    lora: MakeLora, tmp_path: Path, family: str, head: str
) -> None:
    encoder = save_encoder(family, tmp_path / "base")
    model = build_model(encoder, in_names_of(family, lora(target_modules=["query", "inner"], head=head)), seed=0)
    perturb(model)
    save_adapter(model, encoder, tmp_path / "adapter")
    batch = some_batch()
    plain = peft.PeftModel.from_pretrained(load_base(encoder), tmp_path / "adapter").eval()
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        assert torch.equal(plain(**batch).logits, expected)
        ours = load_adapter(tmp_path / "adapter", encoder)
        assert torch.equal(ours(**batch).logits, expected)
        merged = ours.merge_and_unload()  # type: ignore[operator]
        torch.testing.assert_close(merged(**batch).logits, expected, atol=1e-5, rtol=1e-5)


def test_the_merged_model_has_no_adapters_and_the_same_logits(lora: MakeLora) -> None:
    model = build_model(TINY, lora(r=4, target_modules=["query", "key", "value", "dense"]), seed=0)
    perturb(model)
    batch = some_batch()
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        merged = copy.deepcopy(model).merge_and_unload()  # type: ignore[operator]
        assert not any(isinstance(module, peft.tuners.lora.LoraLayer) for module in merged.modules())
        torch.testing.assert_close(merged(**batch).logits, expected, atol=1e-5, rtol=1e-5)
