"""Tokens are those of the tokenizer, made once, and read again from an intact cache only."""

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerBase

from lora_agnews.data import tokens as tokens_module
from lora_agnews.data.tokens import load_tokens, tokenise
from lora_agnews.model.encoder import find_encoder
from tests.commands import run_python
from tests.files_of_rows import (
    TEXTS,
)
from tools.pretrain_tiny import train_tokenizer


def test_tokens_are_those_of_the_tokenizer_row_by_row(tokenizer: PreTrainedTokenizerBase) -> None:
    texts = [*TEXTS, "oil " * 300, "x"] * 150  # more than the tokenizer gets in one call
    tokens = tokenise(texts, tokenizer, max_length=16)
    assert (tokens.flat.dtype, tokens.offsets.dtype, len(tokens)) == (np.int32, np.int64, len(texts))
    assert tokens.offsets[-1] == len(tokens.flat) == tokens.lengths.sum()
    expected = {text: tokenizer(text, truncation=True, max_length=16)["input_ids"] for text in texts}
    for i, text in enumerate(texts):
        assert tokens.flat[tokens.offsets[i] : tokens.offsets[i + 1]].tolist() == expected[text]


LOAD_TOGETHER = """
import sys, time
from pathlib import Path
from transformers import AutoTokenizer
from lora_agnews.data import tokens as module
from lora_agnews.data.tokens import load_tokens
made, original = [], module.tokenise
module.tokenise = lambda *arguments: (made.append(1), time.sleep(1), original(*arguments))[2]
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = [f"row {i} of all" for i in range(3000)]
tokens = load_tokens(texts, tokenizer, 16, Path(sys.argv[2]))
print(len(made), len(tokens), tokens.flat.sum())
"""


def test_tokens_are_computed_once_and_then_read_from_the_cache(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_tokens(TEXTS, tokenizer, 16, tmp_path)
    monkeypatch.setattr(tokens_module, "tokenise", None)
    found = load_tokens(TEXTS, tokenizer, 16, tmp_path)
    assert isinstance(found.flat, np.memmap)
    assert not found.flat.flags.writeable
    assert np.array_equal(found.flat, made.flat)
    assert np.array_equal(found.offsets, made.offsets)
    assert len(list((tmp_path / "tokens").glob("[!.]*"))) == 1


def test_other_texts_lengths_and_tokenizers_are_other_entries(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    other, left = train_tokenizer(["oil"], vocab_size=300), copy.deepcopy(tokenizer)
    left.truncation_side = "left"
    for texts, by, length in (
        (TEXTS, tokenizer, 16),
        (TEXTS, tokenizer, 8),
        ([TEXTS[0] + TEXTS[1][0], TEXTS[1][1:], *TEXTS[2:]], tokenizer, 16),
        (TEXTS[::-1], tokenizer, 16),
        (TEXTS, other, 16),
        (["oil " * 20, "the cup"], left, 8),
        (["oil " * 20 + "is up", "the cup"], left, 8),
        (["oil " * 20 + "is up", "the cup"], tokenizer, 8),
    ):
        expected = tokenise(texts, by, length)
        assert np.array_equal(load_tokens(texts, by, length, tmp_path).flat, expected.flat)
        assert np.array_equal(load_tokens(texts, by, length, tmp_path).flat, expected.flat)
    assert len(list((tmp_path / "tokens").glob("[!.]*"))) == 8


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["flat.npy", "offsets.npy", "blake2b"])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_entry_is_computed_again_with_one_note(
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    damage: Callable[[Path], Any],
    name: str,
) -> None:
    made = load_tokens(TEXTS, tokenizer, 16, tmp_path)
    (entry,) = (tmp_path / "tokens").glob("[!.]*")
    capfd.readouterr()
    damage(entry / name)
    assert np.array_equal(load_tokens(TEXTS, tokenizer, 16, tmp_path).flat, made.flat)
    assert capfd.readouterr().err.count("is damaged") == 1
    assert np.array_equal(load_tokens(TEXTS, tokenizer, 16, tmp_path).flat, made.flat)
    assert "damaged" not in capfd.readouterr().err


def test_a_cache_that_cannot_be_written_gives_a_note_and_the_tokens(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert len(load_tokens(TEXTS, tokenizer, 16, tmp_path / "file")) == len(TEXTS)
    assert "can't be kept there (Not a directory)" in capfd.readouterr().err


def test_of_several_processes_one_tokenises_and_the_others_wait(tmp_path: Path) -> None:
    arguments = ["-c", LOAD_TOGETHER, str(find_encoder("tiny", None).folder), str(tmp_path)]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: run_python(*arguments), range(3)))
    assert [each.returncode for each in done] == [0] * 3, done
    made, *found = zip(*(each.stdout.split() for each in done), strict=True)
    assert sorted(made) == ["0", "0", "1"], "one process tokenises, the others wait for it"
    assert [len(set(values)) for values in found] == [1, 1]
    (entry,) = (tmp_path / "tokens").glob("[!.]*")
    assert sorted(path.name for path in entry.iterdir()) == ["blake2b", "flat.npy", "offsets.npy"]


def test_a_long_text_is_truncated_and_keeps_its_end_token(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenise(["oil " * 300], tokenizer, max_length=16)
    assert len(tokens.flat) == 16
    assert (tokens.flat[0], tokens.flat[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
