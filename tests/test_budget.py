"""The rule of 1,000,000: exact numbers on the roberta-base shape, and what a violation says."""

from collections.abc import Callable

import pytest
import torch
from torch import nn

from lora_agnews.budget import HARD_LIMIT, Budget, count
from lora_agnews.errors import BudgetExceeded
from lora_agnews.model.architecture import Architecture
from lora_agnews.model.lora import LoraSpec, fitting_heads, predict_budget

QV = ["query", "value"]
ALL = ["query", "key", "value", "dense"]
MakeLora = Callable[..., LoraSpec]


def test_the_limit_is_one_million() -> None:
    assert HARD_LIMIT == 1_000_000


def test_the_reference_recipe_counts_632_068_by_group_part_and_layer(
    roberta_base: Architecture, lora: MakeLora
) -> None:
    budget = predict_budget(roberta_base, lora())
    assert budget.groups == {"lora": 36_864, "lora_head": 1_536, "head": 593_668}
    assert budget.trainable == 632_068
    assert budget.modules == {
        "lora query": 18_432,
        "lora value": 18_432,
        "lora classifier.dense": 1_536,
        "head classifier.dense": 590_592,
        "head classifier.out_proj": 3_076,
    }
    assert budget.layers == {**{str(layer): 3_072 for layer in range(12)}, "head": 595_204}
    assert budget.room == 367_932


@pytest.mark.parametrize(
    ("targets", "r", "head", "trainable", "max_r"),
    [
        (QV, 1, "full", 630_532, 11),
        (QV, 11, "full", 999_172, 11),
        (QV, 12, "full", 1_036_036, 11),
        ([*QV, "classifier.dense"], 12, "full", 1_054_468, 10),
        (["query", "key", "value"], 7, "full", 980_740, 7),
        ("all-linear", 2, "full", 925_444, 2),
        (QV, 1, "out_proj", 39_940, 27),
        (QV, 27, "out_proj", 998_404, 27),
        (ALL, 6, "out_proj", 998_404, 6),
        ("all-linear", 6, "out_proj", 998_404, 6),
        (QV, 1, "lora", 41_476, 25),
        ([*QV, "classifier.dense"], 2, "lora", 79_876, 25),
    ],
)
def test_known_counts_on_roberta_base(
    roberta_base: Architecture, lora: MakeLora, targets: list[str], r: int, head: str, trainable: int, max_r: int
) -> None:
    budget = predict_budget(roberta_base, lora(r=r, target_modules=targets, head=head))
    assert budget.trainable == trainable
    assert budget.max_r == max_r
    assert budget.fits == (trainable <= 1_000_000)


@pytest.mark.parametrize(
    ("targets", "needed", "largest"), [(QV, "1,036,036", 11), ([*QV, "classifier.dense"], "1,054,468", 10)]
)
def test_r_12_is_refused_with_the_count_and_the_largest_r(
    roberta_base: Architecture, lora: MakeLora, targets: list[str], needed: str, largest: int
) -> None:
    wanted = lora(r=12, target_modules=targets)
    budget = predict_budget(roberta_base, wanted)
    with pytest.raises(BudgetExceeded) as refusal:
        budget.check(fitting_heads(roberta_base, wanted, budget.limit))
    message = str(refusal.value)
    assert f"model.lora.r=12 needs {needed}" in message
    assert f"Use r <= {largest} or model.head=lora" in message


def test_roberta_large_is_refused_before_any_adapter(roberta_large: Architecture, lora: MakeLora) -> None:
    budget = predict_budget(roberta_large, lora())
    assert budget.groups["head"] == 1_053_700
    assert budget.max_r == 0
    with pytest.raises(BudgetExceeded, match=r"Use model\.head=lora or model\.head=out_proj\.$"):
        budget.check(fitting_heads(roberta_large, lora(), budget.limit))


def test_a_change_that_takes_another_head_and_another_rank_names_both(
    roberta_large: Architecture, lora: MakeLora
) -> None:
    wanted = lora(r=64)
    with pytest.raises(BudgetExceeded, match=r"Use model\.head=lora with r <= 9 or model\.head=out_proj with r <= 10"):
        predict_budget(roberta_large, wanted).check(fitting_heads(roberta_large, wanted, HARD_LIMIT))


def test_a_lower_limit_is_kept(roberta_base: Architecture, lora: MakeLora) -> None:
    budget = predict_budget(roberta_base, lora(), limit=600_000)
    assert not budget.fits
    assert budget.max_r == 0
    assert predict_budget(roberta_base, lora(), limit=632_068).fits


def test_without_one_common_rank_there_is_no_largest_one(roberta_base: Architecture, lora: MakeLora) -> None:
    mixed = predict_budget(roberta_base, lora(target_modules={"query": 40, "value": 8}))
    assert mixed.max_r is None
    with pytest.raises(BudgetExceeded, match="the model trains 1,478,404"):
        mixed.check()
    assert predict_budget(roberta_base, lora(target_modules={"query": 4, "value": 4})).max_r is None
    assert predict_budget(roberta_base, lora(target_modules=[])).max_r is None


def test_layers_that_are_all_called_dense_have_their_own_rows(roberta_base: Architecture, lora: MakeLora) -> None:
    ranks = {"intermediate.dense": 2, "output.dense": 3, "attention.output.dense": 1}
    modules = predict_budget(roberta_base, lora(target_modules=ranks, bias="lora_only")).modules
    assert modules["lora intermediate.dense"] == 12 * 2 * (768 + 3072)
    assert modules["lora output.dense"] == 12 * 3 * (768 + 3072)
    assert modules["lora attention.output.dense"] == 12 * 1 * (768 + 768)
    assert modules["bias intermediate.dense"] == 12 * 3072


def test_a_tied_parameter_counts_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False))
    model[1].weight = model[0].weight
    assert count(model).trainable == 16


def test_what_is_neither_adapter_nor_head_nor_bias_is_counted_as_other() -> None:
    model = nn.ModuleDict({"encoder": nn.Linear(3, 3), "classifier": nn.Linear(3, 4)})
    assert count(model, head=("classifier",)).groups == {"lora": 0, "head": 16, "bias": 3, "other": 9}


def test_no_rank_means_no_advice_on_the_rank() -> None:
    with torch.device("meta"):
        model = nn.Linear(1000, 1001)
    with pytest.raises(BudgetExceeded, match=r"the model trains 1,002,001 .* 2,001 too many\.$"):
        count(model).check()


def test_exactly_the_limit_fits() -> None:
    assert Budget(limit=10, total=20, trained={"classifier.weight": (2, 5)}).fits
    assert not Budget(limit=10, total=20, trained={"classifier.weight": (11,)}).fits
