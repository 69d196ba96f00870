"""States are computed once, in parts that survive a kill and are checked when they are read."""

import errno
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lora_agnews.data import states as module
from lora_agnews.data.states import States, cached_layers, sorted_batches

WIDTH = 8
VECTORS = np.array([3, 1, 4, 1, 5])  # of each row, three parts of two rows
Made = list[list[int]]


def value_of(row: int) -> np.ndarray:
    return np.full((VECTORS[row], WIDTH), row + 0.5, dtype=np.float16)


@pytest.fixture
def made() -> Made:
    """The rows that were computed, part by part."""
    return []


@pytest.fixture
def make_states(tmp_path: Path, made: Made, monkeypatch: pytest.MonkeyPatch) -> Callable[[], States]:
    monkeypatch.setattr(module, "ROWS_PER_PART", 2)

    def compute(rows: np.ndarray) -> list[np.ndarray]:
        made.append(rows.tolist())
        return [value_of(row) for row in rows]

    return lambda: States(tmp_path / "layer-2", VECTORS, WIDTH, compute)


def check(states: States) -> None:
    for row in (4, 0, 2, 3, 1):
        assert np.array_equal(states[row], value_of(row))


def test_states_are_computed_once_and_then_read(make_states: Callable[[], States], made: Made, tmp_path: Path) -> None:
    states, seen = make_states(), list[float]()
    assert (states.missing, states.missing_rows, states.missing_bytes) == ([0, 1, 2], 5, 14 * WIDTH * 2)
    assert cached_layers(tmp_path, 5) == []
    states.complete({"layer": 2}, seen.append)
    check(states)
    again = make_states()
    again.complete({}, seen.append)
    check(again)
    assert isinstance(again.opened[0], np.memmap)
    assert (made, seen) == ([[0, 1], [2, 3], [4]], [2, 2, 1])
    assert cached_layers(tmp_path, 5) == [2]


def test_a_computation_that_was_killed_continues_with_the_next_part(
    make_states: Callable[[], States], made: Made, tmp_path: Path
) -> None:
    states = make_states()
    states.compute = lambda rows: [value_of(row) for row in rows] if rows[0] == 0 else pytest.fail("killed")
    with pytest.raises(pytest.fail.Exception):
        states.complete({}, lambda rows: None)
    (tmp_path / "layer-2" / ".making-abc").write_text("half a part")
    make_states().complete({}, lambda rows: None)
    assert made == [[2, 3], [4]]
    assert not list((tmp_path / "layer-2").glob(".making-*"))
    check(make_states())


@pytest.mark.parametrize("damage", ["flip", "cut", "remove"])
def test_a_damaged_part_is_computed_again_with_a_note(
    make_states: Callable[[], States], made: Made, tmp_path: Path, damage: str, capfd: pytest.CaptureFixture[str]
) -> None:
    make_states().complete({}, lambda rows: None)
    made.clear()
    (part,) = (tmp_path / "layer-2").glob("part-00001-*.npy")
    content = bytearray(part.read_bytes())
    content[-5] ^= 1
    if damage == "remove":
        part.unlink()
    else:
        part.write_bytes(content if damage == "flip" else content[:-9])
    states = make_states()
    check(states)
    check(states)
    assert made == [[2, 3]], "the other parts are not touched"
    assert capfd.readouterr().err.count("is damaged: computing its 2 rows again") == 1


def test_too_many_open_files_are_no_damage(
    make_states: Callable[[], States], made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_states().complete({}, lambda rows: None)
    made.clear()

    def refuse(path: Path, **_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files", path)

    monkeypatch.setattr(module.np, "load", refuse)
    with pytest.raises(RuntimeError, match="ulimit -n"):
        make_states()[0]
    assert made == []


def test_of_two_that_need_the_same_states_one_computes_and_the_other_waits(
    make_states: Callable[[], States], made: Made
) -> None:
    threads = [threading.Thread(target=make_states().complete, args=({}, lambda rows: None)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made) == [[0, 1], [2, 3], [4]]


def test_batches_have_similar_lengths_and_a_limit_with_padding() -> None:
    batches = [batch.tolist() for batch in sorted_batches(np.array([5, 1, 4, 2, 9]), most=8)]
    assert batches == [[1, 3], [2], [0], [4]]
