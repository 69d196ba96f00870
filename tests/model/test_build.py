"""The model is built as configured, from the weights and the seed alone."""

import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from lora_agnews.errors import UserError
from lora_agnews.labels import LABELS
from lora_agnews.model.build import build_model, check_padding, load_base, load_tokenizer
from lora_agnews.model.encoder import find_encoder
from tests.models import MODULES, TINY, MakeLora, config_of, perturb, save_encoder, some_batch


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
    perturb(model)
    batch = some_batch()
    with torch.no_grad():
        assert not torch.equal(model(**batch).logits, model(**batch).logits)
        model.eval()
        assert torch.equal(model(**batch).logits, model(**batch).logits)


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


def test_the_tokenizer_refuses_texts_that_are_longer_than_the_model() -> None:
    assert load_tokenizer(TINY, 256).pad_token_id == 1
    with pytest.raises(UserError, match=r"data\.max_length=257: tiny has 256 positions"):
        load_tokenizer(TINY, 257)


def test_a_tokenizer_without_a_padding_token_or_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    encoder = save_encoder("electra", tmp_path)
    settings = tmp_path / "tokenizer_config.json"
    values = json.loads(settings.read_text())
    assert load_tokenizer(encoder, 64).pad_token_id == 1
    settings.write_text(json.dumps({key: value for key, value in values.items() if key != "pad_token"}))
    with pytest.raises(UserError, match=r"^model\.name=.*its tokenizer can't be used; it needs a padding token"):
        load_tokenizer(encoder, 64)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"^model\.name=.*its tokenizer can't be loaded"):
        load_tokenizer(encoder, 64)


@pytest.mark.parametrize("family", MODULES)
def test_no_tested_family_reads_the_padding_behind_a_text(family: str) -> None:
    check_padding(AutoModelForSequenceClassification.from_config(config_of(family, 16, 2)).eval(), family)


@pytest.mark.parametrize(
    ("kind", "sizes", "message"),
    [
        ("xlnet", {"d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 16}, "logits depend on the padding"),
        (
            "qwen2",
            {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2},
            "can't be called with input_ids and attention_mask .*padding token",
        ),
    ],
)
def test_a_model_that_reads_the_padding_behind_a_text_is_refused(
    kind: str, sizes: dict[str, Any], message: str
) -> None:
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(kind, vocab_size=50, **sizes)).eval()
    with pytest.raises(UserError, match=rf"^model\.name=it: .*{message}"):
        check_padding(model, "it")


def test_weights_that_lack_a_frozen_matrix_are_refused(tmp_path: Path) -> None:
    """It would be random, and other in the process that loads the adapter."""
    encoder = save_encoder("electra", tmp_path)
    load_base(encoder)  # without a head, which is new in every run
    path = tmp_path / "model.safetensors"
    kept = {name: value for name, value in load_file(path).items() if not name.endswith("layer.1.output.dense.weight")}
    save_file(kept, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"its weights lack electra\..*layer\.1\.output\.dense\.weight; use a complete"):
        load_base(find_encoder(str(tmp_path), None))
