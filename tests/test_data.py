"""From files to padded batches: every row once, on the right side of the split, with the tokens it should have."""

import copy
import csv
import gzip
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet
from transformers import PreTrainedTokenizerBase

from lora_agnews.data import tokens as tokens_module
from lora_agnews.data.batches import Batch, BucketSampler, collate, evaluation_batches
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.data.source import Rows, load_rows, read_file
from lora_agnews.data.split import Overlap, overlap, stratified_split
from lora_agnews.data.tokens import Tokens, load_tokens, tokenise
from lora_agnews.labels import LABELS
from lora_agnews.model.build import load_tokenizer
from lora_agnews.model.encoder import find_encoder
from tests.commands import run_python
from tools.pretrain_tiny import train_tokenizer

NEWS = [  # class 1..4, title, description
    (1, "Talks resume", "Envoys met in Vienna, Geneva and Bonn."),
    (2, "Rovers 2, City 1", 'The coach said "finally",\nand then he left.'),
    (3, "", "Oil at \\$50 a barrel;\ttankers wait"),
    (4, "A phone for \U0001f469\u200d\U0001f680 and 火星", "caf\u00e9 \u2028 na\u00efve, 'quoted'"),
    (1, "Only a title ", ""),
]
TEXTS = [f"{title} {description}".strip() for _, title, description in NEWS]
CLASSES = [number - 1 for number, *_ in NEWS]


def canonical() -> bytes:
    """AG News' own format: every field in quotes, no header."""
    return written_csv([list(row) for row in NEWS], ",")


def table(labels: list[Any], delimiter: str = ",") -> bytes:
    """Columns text and label with a header, and a column that is of no interest."""
    rows = [["7", label, text] for text, label in zip(TEXTS, labels, strict=True)]
    return written_csv([["id", "label", "text"], *rows], delimiter)


def written_csv(rows: list[list[Any]], delimiter: str) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return stream.getvalue().encode()


def records(labels: list[Any]) -> list[dict[str, Any]]:
    return [{"text": text, "label": label} for text, label in zip(TEXTS, labels, strict=True)]


def in_parquet(labels: list[Any]) -> bytes:
    stream = io.BytesIO()
    parquet.write_table(pa.table({"label": labels, "text": TEXTS}), stream)
    return stream.getvalue()


NAMES = [LABELS[number] for number in CLASSES]
LINES = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records(CLASSES)).encode()
SAME_ROWS: dict[str, bytes] = {
    "canonical.csv": canonical(),
    "canonical.csv.gz": gzip.compress(canonical()),
    "canonical.tsv": written_csv([list(row) for row in NEWS], "\t"),
    "numbers.csv": table(CLASSES),
    "names.csv": table(NAMES),
    "blank_lines.csv": b"\n".join([b"", table(CLASSES)])[1:] + b"\n\n",
    "byte_order_mark.csv": b"\xef\xbb\xbf" + table(CLASSES),
    "windows.csv": table(CLASSES).replace(b'"\n"', b'"\r\n"'),
    "table.tsv": table(CLASSES, "\t"),
    "table.tsv.gz": gzip.compress(table(NAMES, "\t")),
    "numbers.json": json.dumps(records(CLASSES)).encode(),
    "names.json.gz": gzip.compress(json.dumps(records(NAMES)).encode()),
    "numbers.jsonl": LINES,
    "blank_lines.jsonl": LINES.replace(b"}\n", b"}\n\n"),
    "names.jsonl.gz": gzip.compress("".join(json.dumps(record) + "\n" for record in records(NAMES)).encode()),
    "numbers.parquet": in_parquet(CLASSES),
    "names.parquet": in_parquet(NAMES),
}


@pytest.mark.parametrize("name", SAME_ROWS)
def test_the_same_rows_come_out_of_every_format(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(SAME_ROWS[name])
    assert read_file(path) == Rows(TEXTS, CLASSES, str(path))


def test_the_shipped_sample_is_balanced_and_small() -> None:
    train, test = load_rows("sample", None, None)
    assert test is not None
    assert np.bincount(train.labels).tolist() == [1000] * 4
    assert np.bincount(test.labels).tolist() == [250] * 4
    shipped = [Path(str(files("lora_agnews.data") / "sample" / f"{split}.csv.gz")) for split in ("train", "test")]
    assert sum(path.stat().st_size for path in shipped) < 1_500_000
    assert not set(train.texts) & set(test.texts)


# split


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_the_split_is_disjoint_complete_and_takes_the_same_share_of_each_class(fraction: float) -> None:
    labels = np.random.default_rng(0).permutation([0] * 100 + [1] * 40 + [2] * 20 + [3] * 60)
    train, val = stratified_split(labels.tolist(), fraction, seed=0)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert np.bincount(labels[val]).tolist() == [fraction * size for size in (100, 40, 20, 60)]


def test_the_split_is_a_function_of_the_seed() -> None:
    labels = [0, 1, 2, 3] * 50
    first, again, other = (stratified_split(labels, 0.1, seed)[1].tolist() for seed in (3, 3, 4))
    assert first == again
    assert first != other


def test_texts_that_stand_twice_are_counted_by_place() -> None:
    train = Rows(["a b", "a  b", "c", "d", "c", "a b"], [0] * 6, "train")
    test = Rows(["c", "c ", "e", "A b"], [0] * 4, "test")
    counted = overlap(train, np.array([0, 2, 3]), np.array([1, 4, 5]), test)
    # inside train: "a b" twice too often, "c" once; all three of val stand in train; of test, "c" and "c "
    assert counted == Overlap(within_train=3, train_and_val=3, train_and_test=2)
    assert overlap(train, np.array([2, 3]), np.array([0, 1]), None) == Overlap(3, 0, 0)


# tokens


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return load_tokenizer(find_encoder("tiny", None), 256)


def test_tokens_are_the_tokenizer_s_row_by_row_in_one_flat_array(tokenizer: PreTrainedTokenizerBase) -> None:
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
from lora_agnews.data.tokens import load_tokens
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
texts = [f"row {i} of all" for i in range(3000)]
tokens = load_tokens(texts, tokenizer, 16, Path(sys.argv[2]))
print(len(tokens), tokens.flat.sum())
"""


def test_tokens_are_made_once_and_come_back_from_the_disk(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = load_tokens(TEXTS, tokenizer, 16, tmp_path)
    monkeypatch.setattr(tokens_module, "tokenise", None)
    found = load_tokens(TEXTS, tokenizer, 16, tmp_path)
    assert isinstance(found.flat, np.memmap)
    assert not found.flat.flags.writeable
    assert np.array_equal(found.flat, made.flat)
    assert np.array_equal(found.offsets, made.offsets)
    assert len(list((tmp_path / "tokens").iterdir())) == 1


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
    assert len(list((tmp_path / "tokens").iterdir())) == 8


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["flat.npy", "offsets.npy", "blake2b"])
@pytest.mark.parametrize("damage", [cut, flip, Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_damaged_entry_is_made_again_with_one_word_on_it(
    tokenizer: PreTrainedTokenizerBase,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    damage: Callable[[Path], Any],
    name: str,
) -> None:
    made = load_tokens(TEXTS, tokenizer, 16, tmp_path)
    (entry,) = (tmp_path / "tokens").iterdir()
    capfd.readouterr()
    damage(entry / name)
    assert np.array_equal(load_tokens(TEXTS, tokenizer, 16, tmp_path).flat, made.flat)
    assert capfd.readouterr().err.count("is damaged") == 1
    assert np.array_equal(load_tokens(TEXTS, tokenizer, 16, tmp_path).flat, made.flat)
    assert "damaged" not in capfd.readouterr().err


def test_a_place_that_can_not_hold_the_cache_is_said_and_the_run_goes_on(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert len(load_tokens(TEXTS, tokenizer, 16, tmp_path / "file")) == len(TEXTS)
    assert "can't be kept there (Not a directory)" in capfd.readouterr().err


def test_several_processes_make_one_entry_together(tmp_path: Path) -> None:
    arguments = ["-c", LOAD_TOGETHER, str(find_encoder("tiny", None).folder), str(tmp_path)]
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: run_python(*arguments), range(3)))
    assert [each.returncode for each in done] == [0] * 3, done
    assert len({each.stdout for each in done}) == 1
    (entry,) = (tmp_path / "tokens").iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["blake2b", "flat.npy", "offsets.npy"]


def test_a_long_text_is_cut_and_keeps_its_end_sign(tokenizer: PreTrainedTokenizerBase) -> None:
    tokens = tokenise(["oil " * 300], tokenizer, max_length=16)
    assert len(tokens.flat) == 16
    assert (tokens.flat[0], tokens.flat[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)


# batches

LENGTHS = np.random.default_rng(0).integers(1, 60, 205)


@settings(deadline=None, max_examples=100)
@given(
    lengths=st.lists(st.integers(1, 300), min_size=1, max_size=200),
    batch_size=st.integers(1, 40),
    bucket=st.integers(0, 5),
    seed=st.integers(0, 2**32 - 1),
    epoch=st.integers(0, 1000),
    begun=st.integers(0, 1000),
)
def test_an_epoch_has_every_row_once_and_goes_on_where_it_was(
    lengths: list[int], batch_size: int, bucket: int, seed: int, epoch: int, begun: int
) -> None:
    number = -(-len(lengths) // batch_size)
    consumed = epoch * number
    sampler = BucketSampler(np.array(lengths), batch_size, bucket, seed, lambda: consumed)
    batches = list(sampler)
    assert len(batches) == len(sampler) == number
    consumed += begun % number
    assert list(sampler) == batches[begun % number :]
    assert sorted(row for batch in batches for row in batch) == list(range(len(lengths)))
    sizes = sorted(map(len, batches), reverse=True)
    assert set(sizes[:-1]) <= {batch_size}
    assert 0 < sizes[-1] <= batch_size


@pytest.mark.parametrize("bucket", [0, 3])
def test_the_order_is_a_function_of_seed_and_epoch(bucket: int) -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        return list(BucketSampler(LENGTHS, 8, bucket, seed, lambda: epoch * 26))

    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert sorted(map(sorted, order(0, 1))) != sorted(map(sorted, order(0, 2)))  # other batches, not only another order


def test_without_buckets_batches_are_a_plain_permutation() -> None:
    sampler = BucketSampler(LENGTHS, 8, 0, 5, lambda: 0)
    order = np.random.default_rng((5, 0)).permutation(len(LENGTHS))
    assert [row for batch in sampler for row in batch] == order.tolist()


def test_buckets_leave_little_padding_on_the_shipped_rows(tokenizer: PreTrainedTokenizerBase) -> None:
    lengths = tokenise(load_rows("sample", None, None)[0].texts, tokenizer, 256).lengths

    def padded(bucket: int) -> float:
        batches = list(BucketSampler(lengths, 32, bucket, 0, lambda: 0))
        return sum(len(batch) * lengths[batch].max() for batch in batches) / lengths.sum()

    assert padded(50) <= 1.06
    assert padded(0) > 1.5


def test_evaluation_takes_every_row_once_longest_first() -> None:
    batches = evaluation_batches(np.array([3, 9, 5, 9, 1]), 2)
    assert batches == [[1, 3], [2, 0], [4]]


TOKENS = Tokens(np.array([0, 7, 2, 0, 2, 0, 5, 6, 8, 2], dtype=np.int32), np.array([0, 3, 5, 10]))


def test_a_batch_by_hand() -> None:
    batch = collate([1, 0], TOKENS, np.array([3, 1, 2]), pad=1)
    assert batch["input_ids"].tolist() == [[0, 2, 1], [0, 7, 2]]
    assert batch["attention_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert batch["labels"].tolist() == [1, 3]
    assert {values.dtype for values in batch.values()} == {torch.int64}


def test_a_batch_is_as_wide_as_its_own_longest_row_even_at_the_end_of_the_array() -> None:
    labels = np.array([3, 1, 2])
    assert collate([1], TOKENS, labels, pad=1)["input_ids"].tolist() == [[0, 2]]
    assert collate([2, 1], TOKENS, labels, pad=1)["input_ids"].tolist() == [[0, 5, 6, 8, 2], [0, 2, 1, 1, 1]]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.integers(2, 9), min_size=1, max_size=12), min_size=1, max_size=20), st.randoms())
def test_what_the_mask_keeps_of_a_batch_are_the_rows(rows: list[list[int]], random: Any) -> None:
    tokens = Tokens(np.concatenate(rows).astype(np.int32), np.cumsum([0, *map(len, rows)]))
    chosen = random.choices(range(len(rows)), k=5)
    batch = collate(chosen, tokens, np.arange(len(rows)), pad=1)
    assert unpadded(batch) == [rows[i] for i in chosen]
    assert batch["labels"].tolist() == chosen
    assert batch["input_ids"].shape == (5, max(len(rows[i]) for i in chosen))
    assert (batch["input_ids"][batch["attention_mask"] == 0] == 1).all()


# datamodule

NUM_TRAIN, NUM_TEST = 80, 21
MakeData = Callable[..., AGNewsDataModule]


def news(split: str, number: int) -> str:
    return f"{split} story {number}" + " and on" * (number % 7)


@pytest.fixture
def make_data(tmp_path: Path, tokenizer: PreTrainedTokenizerBase) -> MakeData:
    """Data modules on 80 training and 21 test rows, each text once."""
    for split, size in (("train", NUM_TRAIN), ("test", NUM_TEST)):
        rows = [["text", "label"], *([news(split, number), number % 4] for number in range(size))]
        (tmp_path / f"{split}.csv").write_bytes(written_csv(rows, ","))

    def make(test: bool = True, seed: int = 0) -> AGNewsDataModule:
        data = AGNewsDataModule(
            tokenizer,
            source="files",
            train_file=str(tmp_path / "train.csv"),
            test_file=str(tmp_path / "test.csv") if test else None,
            max_length=32,
            val_fraction=0.1,
            batch_size=16,
            eval_batch_size=6,
            bucket=2,
            cache_dir=str(tmp_path / "cache"),
            seed=seed,
        )
        data.setup()
        return data

    return make


def unpadded(batch: Batch) -> list[list[int]]:
    """The rows of a batch without padding, which must stand on the right."""
    rows = []
    for ids, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
        assert mask.tolist() == sorted(mask.tolist(), reverse=True)
        rows.append(ids[: mask.sum()].tolist())
    return rows


def texts(data: AGNewsDataModule, batches: Any) -> list[str]:
    """What stands in the batches of a loader."""
    rows = [row for batch in batches for row in unpadded(batch)]
    return [data.tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]


def test_each_loader_gives_its_own_rows_once(make_data: MakeData) -> None:
    data = make_data()
    assert data.train is not None
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    train, val, test = (texts(data, loader) for loader in loaders)
    assert sorted(train) == sorted(data.train.texts[i] for i in data.train_rows)
    assert sorted(val) == sorted(data.train.texts[i] for i in data.val_rows)
    assert sorted(train + val) == sorted(news("train", number) for number in range(NUM_TRAIN))
    assert sorted(test) == sorted(news("test", number) for number in range(NUM_TEST))


def test_batches_hold_the_labels_of_their_rows_and_are_padded_one_by_one(make_data: MakeData) -> None:
    data = make_data()
    for loader, size, split in (
        (data.train_dataloader(), 16, "train"),
        (data.val_dataloader(), 6, "train"),
        (data.test_dataloader(), 6, "test"),
    ):
        batches = list(loader)
        label_of = {news(split, number): number % 4 for number in range(NUM_TRAIN)}
        for batch in batches:
            assert batch["labels"].tolist() == [label_of[text] for text in texts(data, [batch])]
            assert batch["attention_mask"].sum(dim=1).max() == batch["input_ids"].shape[1]
            assert (batch["input_ids"][batch["attention_mask"] == 0] == data.tokenizer.pad_token_id).all()
        assert len({batch["input_ids"].shape[1] for batch in batches}) > 1
        sizes = sorted(len(batch["labels"]) for batch in batches)
        assert sizes[0] < size
        assert set(sizes[1:]) == {size}


def test_another_seed_validates_on_other_rows(make_data: MakeData) -> None:
    assert make_data(seed=0).val_rows.tolist() == make_data(seed=0).val_rows.tolist()
    assert make_data(seed=0).val_rows.tolist() != make_data(seed=1).val_rows.tolist()


def test_a_run_without_a_test_file_has_no_test_rows(make_data: MakeData) -> None:
    data = make_data(test=False)
    assert data.test is None
    assert data.describe()["test"] == 0
    assert len(texts(data, data.val_dataloader())) == NUM_TRAIN // 10


def test_the_record_counts_rows_and_duplicates(make_data: MakeData, tmp_path: Path) -> None:
    assert make_data().describe() == {
        "source": f"{tmp_path / 'train.csv'}, {tmp_path / 'test.csv'}",
        "train": 72,
        "val": 8,
        "test": 21,
        "duplicates": {"within_train": 0, "train_and_val": 0, "train_and_test": 0},
    }


class Listener(L.LightningModule):
    """Learns nothing and keeps the rows of each epoch's batches."""

    def __init__(self) -> None:
        super().__init__()
        self.epochs: list[list[list[list[int]]]] = []
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def on_train_epoch_start(self) -> None:
        self.epochs.append([])

    def training_step(self, batch: Batch) -> torch.Tensor:
        self.epochs[-1].append(unpadded(batch))
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.filterwarnings("ignore:You passed in a .val_dataloader. but have no .validation_step.")
def test_lightning_gives_each_epoch_other_batches_of_the_same_rows(make_data: MakeData, tmp_path: Path) -> None:
    listener = Listener()
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(listener, make_data())
    first, second = listener.epochs
    assert first != second
    assert sorted(row for batch in first for row in batch) == sorted(row for batch in second for row in batch)
