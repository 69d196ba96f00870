"""Each loader gives the rows of its own split, in batches that follow the position of the run."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from lora_agnews.data.batches import Batch
from lora_agnews.data.datamodule import AGNewsDataModule
from lora_agnews.labels import AG_NEWS
from tests.batches import unpadded
from tests.files_of_rows import written_csv

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

    def make(test: bool = True, seed: int = 0, **split: int | None) -> AGNewsDataModule:
        data = AGNewsDataModule(
            tokenizer,
            source="files",
            train_file=str(tmp_path / "train.csv"),
            test_file=str(tmp_path / "test.csv") if test else None,
            name=AG_NEWS,
            revision=None,
            text_column=None,
            label_column=None,
            max_length=32,
            val_fraction=0.1,
            **({"train_rows": None, "split_seed": None} | split),
            batch_size=16,
            eval_batch_size=6,
            bucket=2,
            cache_dir=str(tmp_path / "cache"),
            seed=seed,
            processes=1,
        )
        data.setup()
        return data

    return make


def decoded_texts(data: AGNewsDataModule, batches: Any) -> list[str]:
    """Decode the rows of the batches of a loader."""
    rows = [row for batch in batches for row in unpadded(batch)]
    return [data.tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]


def test_each_loader_gives_its_own_rows_once(make_data: MakeData) -> None:
    data = make_data()
    assert data.train is not None
    loaders = data.train_dataloader(), data.val_dataloader(), data.test_dataloader()
    train, val, test = (decoded_texts(data, loader) for loader in loaders)
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
            assert batch["labels"].tolist() == [label_of[text] for text in decoded_texts(data, [batch])]
            mask = batch.get("attention_mask", torch.ones_like(batch["input_ids"]))
            assert mask.sum(dim=1).max() == batch["input_ids"].shape[1]
            assert (batch["input_ids"][mask == 0] == data.tokenizer.pad_token_id).all()
        assert len({batch["input_ids"].shape[1] for batch in batches}) > 1
        sizes = sorted(len(batch["labels"]) for batch in batches)
        assert sizes[0] < size
        assert set(sizes[1:]) == {size}


def test_batches_of_validation_and_test_have_the_numbers_of_their_rows_in_the_file(make_data: MakeData) -> None:
    data = make_data()
    for batch in data.test_dataloader():
        assert decoded_texts(data, [batch]) == [data.test_texts[row] for row in batch["rows"]]
    for batch in data.val_dataloader():
        assert decoded_texts(data, [batch]) == [data.train_texts[row] for row in batch["rows"]]
    assert "rows" not in next(iter(data.train_dataloader()))


def test_another_seed_validates_on_other_rows(make_data: MakeData) -> None:
    assert make_data(seed=0).val_rows.tolist() == make_data(seed=0).val_rows.tolist()
    assert make_data(seed=0).val_rows.tolist() != make_data(seed=1).val_rows.tolist()


def test_with_a_split_seed_every_seed_validates_on_the_same_rows_in_another_order(make_data: MakeData) -> None:
    first, other = (make_data(seed=seed, split_seed=5) for seed in (0, 1))
    assert first.val_rows.tolist() == other.val_rows.tolist() == make_data(seed=5).val_rows.tolist()
    orders = [next(iter(data.train_dataloader()))["input_ids"].tolist() for data in (first, other)]
    assert orders[0] != orders[1]


def test_fewer_training_rows_leave_validation_and_test_rows_as_they_are(make_data: MakeData) -> None:
    data, every = make_data(train_rows=20), make_data()
    assert data.describe()["train"] == 20
    assert set(data.train_rows) < set(every.train_rows)
    assert data.val_rows.tolist() == every.val_rows.tolist()
    assert len(decoded_texts(data, data.train_dataloader())) == 20
    assert data.describe()["test"] == NUM_TEST
    assert data.describe()["fingerprints"] == every.describe()["fingerprints"], "they are those of the files"
    assert data.fingerprint() != every.fingerprint()


def test_balanced_weights_are_inversely_proportional_to_the_training_rows_of_a_class(make_data: MakeData) -> None:
    data = make_data()
    assert data.class_weights(None) is None
    assert data.class_weights([1, 2, 3, 4]) == [1, 2, 3, 4]
    assert data.class_weights("balanced") == [1.0] * 4, "every class has 18 rows"
    data.train_rows = data.train_rows[np.asarray(data.train.labels)[data.train_rows] != 0]
    data.train_rows = np.append(data.train_rows, 0)  # one row of class 0, 18 of each other
    assert data.class_weights("balanced") == pytest.approx([55 / 4, *[55 / 72] * 3])


def test_a_run_without_a_test_file_has_no_test_rows(make_data: MakeData) -> None:
    data = make_data(test=False)
    assert data.test is None
    assert data.test_texts == []
    assert data.describe()["test"] == 0
    assert len(decoded_texts(data, data.val_dataloader())) == NUM_TRAIN // 10


def test_the_record_counts_rows_and_duplicates(make_data: MakeData, tmp_path: Path) -> None:
    described = make_data().describe()
    assert described.pop("fingerprints") != make_data(test=False).describe()["fingerprints"]
    assert described == {
        "source": f"{tmp_path / 'train.csv'}, {tmp_path / 'test.csv'}",
        "train": 72,
        "val": 8,
        "test": 21,
        "train_classes": [18, 18, 18, 18],
        "duplicates": {"within_train": 0, "train_and_val": 0, "train_and_test": 0},
    }


class Recorder(L.LightningModule):
    """Learns nothing and stores the rows of each epoch's batches."""

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
    listener = Recorder()
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
