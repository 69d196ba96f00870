"""The model is built as configured, from the weights and the seed alone."""

import peft
import pytest
import torch
from torch import Tensor

from lora_agnews.errors import UserError
from lora_agnews.labels import LABELS
from lora_agnews.model.build import build_model, load_tokenizer
from tests.models import TINY, MakeLora, perturb, some_batch


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
