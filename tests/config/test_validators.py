"""Values of several types that are allowed or refused."""

import pytest

from lora_agnews.config.validators import are_class_weights, are_layers, are_targets


@pytest.mark.parametrize("value", ["all-linear", [], ["query"], {"query": 4}])
def test_targets(value: object) -> None:
    assert are_targets(value)


@pytest.mark.parametrize("value", ["query", ["all-linear"], [1], {}, {"query": 0}, {"query": True}, {"": 1}, None])
def test_no_targets(value: object) -> None:
    assert not are_targets(value)


def test_layers() -> None:
    assert all(map(are_layers, ["all", "-4:", ":2", [0, -1]]))
    assert not any(map(are_layers, ["4", "a:b", [], [True], ["1"], None]))


def test_class_weights() -> None:
    assert all(map(are_class_weights, [None, "balanced", [1, 1, 0.5, 2]]))
    assert not any(map(are_class_weights, ["other", [1, 1, 1], [1, 1, 1, 0], [1, 1, 1, True], 1]))
