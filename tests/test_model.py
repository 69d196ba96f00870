"""Contracts of the adapted model, on the shipped encoder: what is trained, what stays, what is saved."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel

from lora_agnews.budget import count, trainable_parameters
from lora_agnews.errors import UserError
from lora_agnews.labels import LABELS
from lora_agnews.model.adapter import load_adapter, save_adapter
from lora_agnews.model.architecture import read_architecture
from lora_agnews.model.build import build_model, cast_frozen_layers, load_base, load_tokenizer
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec, predict_budget
from tests.commands import run_python

TINY = find_encoder("tiny", None)
MakeLora = Callable[..., LoraSpec]
Change = dict[str, Any]
OPTIONS: list[Change] = [
    {},
    {"head": "lora"},
    {"head": "out_proj"},
    {"target_modules": ["query", "value"]},
    {"target_modules": "all-linear"},
    {"target_modules": ["query", "key", "value", "dense"], "head": "lora"},
    {"target_modules": {"query": 4, "value": 3}},
    {"target_modules": []},
    {"target_modules": [], "head": "out_proj"},
    {"target_modules": ["classifier.dense"]},
    {"layers": "-2:"},
    {"bias": "all"},
    {"bias": "lora_only", "head": "lora"},
    {"use_rslora": True},
    {"use_dora": True},
    {"init": "gaussian"},
    {"init": "orthogonal"},
    {"init": "pissa"},
    {"init": "olora", "head": "lora"},
    {"init": "pissa", "use_rslora": True, "use_dora": True, "target_modules": {"query": 4, "dense": 2}, "bias": "all"},
]


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


@pytest.mark.parametrize("change", OPTIONS, ids=str)
def test_a_step_moves_what_was_predicted_and_nothing_else(lora: MakeLora, change: Change) -> None:
    """In train mode, with dropout and weight decay: the base stays bit-equal, everything that is trained moves."""
    wanted = lora(r=2, **change)
    model = build_model(TINY, wanted, seed=0)
    assert model.training
    assert count(model) == predict_budget(read_architecture("tiny"), wanted)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    trained = trainable_parameters(model)
    optimizer = torch.optim.Adam(trained.values(), lr=0.1, weight_decay=0.1)
    for _ in range(2):
        model(**some_batch(), labels=torch.tensor([0, 1, 2, 3])).loss.backward()
        optimizer.step()
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) != (name in trained), name


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


@pytest.mark.parametrize("rslora", [False, True])
def test_the_scale_is_alpha_over_r_or_its_root(lora: MakeLora, rslora: bool) -> None:
    ranks = {"query": 4, "value": 9, "dense": 1}
    model = build_model(TINY, lora(alpha=6, target_modules=ranks, use_rslora=rslora), seed=0)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, peft.tuners.lora.LoraLayer)}
    assert layers
    for name, layer in layers.items():
        r = ranks[name.split(".")[-1]]
        assert layer.r["default"] == r
        assert layer.scaling["default"] == pytest.approx(6 / (r**0.5 if rslora else r))


def test_each_init_begins_with_other_weights(lora: MakeLora) -> None:
    firsts = {}
    for init in ("default", "gaussian", "pissa", "olora", "orthogonal"):
        state = build_model(TINY, lora(r=4, init=init), seed=0).state_dict()
        query = "base_model.model.roberta.encoder.layer.0.attention.self.query"
        firsts[init] = float(state[f"{query}.lora_A.default.weight"].square().sum())
        assert bool(state[f"{query}.lora_B.default.weight"].any()) == (init not in ("default", "gaussian"))
    assert len({round(size, 6) for size in firsts.values()}) == 5


def test_the_first_weights_are_a_function_of_the_seed(lora: MakeLora) -> None:
    first, again, other = (build_model(TINY, lora(), seed).eval() for seed in (0, 0, 1))
    batch = some_batch()
    with torch.no_grad():
        logits = [model(**batch).logits for model in (first, again, other)]
    assert torch.equal(logits[0], logits[1])
    assert not torch.equal(logits[0], logits[2])


def test_dropout_is_on_in_training_and_off_in_evaluation(lora: MakeLora) -> None:
    model = build_model(TINY, lora(r=4), seed=0)
    shake(model)
    batch = some_batch()
    with torch.no_grad():
        assert not torch.equal(model(**batch).logits, model(**batch).logits)
        model.eval()
        assert torch.equal(model(**batch).logits, model(**batch).logits)


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize(
    "change", [{}, {"head": "lora", "bias": "lora_only"}, {"init": "pissa"}, {"use_dora": True}], ids=str
)
def test_frozen_layers_in_half_give_the_bits_of_plain_autocast(lora: MakeLora, change: Change, mode: str) -> None:
    """Logits, loss and every gradient, with dropout in train mode."""
    found = []
    for held in (False, True):
        model = build_model(TINY, lora(r=2, **change), seed=0)
        torch.manual_seed(1)
        shake(model)
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


def test_padding_does_not_change_a_rows_logits(lora: MakeLora) -> None:
    model = build_model(TINY, lora(r=4), seed=0).eval()
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


def test_labels_have_their_names(lora: MakeLora) -> None:
    config = build_model(TINY, lora(), seed=0).config
    assert config.id2label == dict(enumerate(LABELS))
    assert config.num_labels == 4


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
        shake(model)
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


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21 with transformers 5.23
def test_a_head_without_an_adapter_is_saved_the_way_peft_does(lora: MakeLora, tmp_path: Path) -> None:
    save_adapter(build_model(TINY, lora(target_modules=["query"]), 0), TINY, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert (config["task_type"], config["modules_to_save"]) == ("SEQ_CLS", ["classifier"])
    assert config["base_model_name_or_path"] == "tiny"
    loaded = peft.PeftModel.from_pretrained(load_base(TINY), tmp_path)
    loaded.save_pretrained(tmp_path / "again", save_embedding_layers=False)
    first, again = (load_file(folder / "adapter_model.safetensors") for folder in (tmp_path, tmp_path / "again"))
    assert set(first) == set(again)
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")
@pytest.mark.parametrize("head", ["full", "lora"])
@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet"])
def test_other_families_train_their_head_and_come_back(lora: MakeLora, tmp_path: Path, family: str, head: str) -> None:
    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "hidden_size": 16, "intermediate_size": 32}
    if family == "distilbert":
        sizes = {"n_layers": 2, "n_heads": 2, "dim": 16, "hidden_dim": 32}
    config = AutoConfig.for_model(family, vocab_size=8000, **sizes)
    AutoModel.from_config(config).save_pretrained(tmp_path / "base")
    encoder = find_encoder(str(tmp_path / "base"), None)
    target = {"bert": "query", "distilbert": "q_lin", "mpnet": "q"}[family]
    model = build_model(encoder, lora(target_modules=[target], head=head), seed=0)
    shake(model)
    save_adapter(model, encoder, tmp_path / "adapter")
    batch = some_batch()
    plain = peft.PeftModel.from_pretrained(load_base(encoder), tmp_path / "adapter").eval()
    with torch.no_grad():
        expected = model.eval()(**batch).logits
        assert torch.equal(plain(**batch).logits, expected)
        assert torch.equal(load_adapter(tmp_path / "adapter", encoder)(**batch).logits, expected)


def test_the_merged_model_has_no_adapters_and_the_same_logits(lora: MakeLora) -> None:
    model = build_model(TINY, lora(r=4, target_modules=["query", "key", "value", "dense"]), seed=0)
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
