"""Data sets of the hub and of folders, through `datasets`: their columns, labels and splits, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, DatasetDict, Features, Value

from lora_agnews.data.dataset import open_dataset
from lora_agnews.data.source import Source, load_rows, load_test_rows
from lora_agnews.errors import UserError
from lora_agnews.labels import AG_NEWS, LABELS
from tests.hub_commands import OTHER_DATA, Done, run
from tests.hub_server import COMMITS, HubServer
from tests.messages import check_message

TEXTS = ["Oil prices rise", "The champions draw", "A new telescope", "Parliament votes", "Envoys meet"]
CLASSES = [2, 1, 3, 0, 0]


def dataset(labels: list[Any], feature: Any = None, text: str = "text", label: str = "label") -> Dataset:
    features = Features({text: Value("string"), label: feature}) if feature else None
    return Dataset.from_dict({text: TEXTS, label: labels}, features=features)


def saved(found: Dataset | DatasetDict, folder: Path) -> str:
    found.save_to_disk(str(folder))
    return str(folder)


def load(name: str, **columns: str) -> Any:
    return load_rows(Source("hub", name=name, **columns))


NAMES = ClassLabel(names=list(LABELS))
OTHER_NAMES = ClassLabel(names=["sci_tech", "BUSINESS", "sports", "World"])
FORMS: dict[str, tuple[list[Any], Any]] = {
    "numbers": (CLASSES, None),
    "digits": ([str(number) for number in CLASSES], None),
    "names": ([LABELS[number] for number in CLASSES], None),
    "names in other letters": (["business", "SPORTS", "Sci-Tech", "world", " World "], None),
    "classes": (CLASSES, NAMES),
    "classes in another order": ([3 - number for number in CLASSES], OTHER_NAMES),
    "classes without names": (CLASSES, ClassLabel(num_classes=4)),
}


@pytest.mark.parametrize("form", FORMS)
def test_labels_may_be_numbers_names_or_classes_in_any_order(form: str, tmp_path: Path) -> None:
    train, _ = load(saved(dataset(*FORMS[form]), tmp_path / "news"))
    assert (train.texts, train.labels) == (TEXTS, CLASSES)


def test_a_folder_with_splits_has_training_and_test_rows(tmp_path: Path) -> None:
    splits = DatasetDict(train=dataset(CLASSES, NAMES), test=dataset(CLASSES, NAMES).select([3, 2, 1, 0]))
    name = saved(splits, tmp_path / "news")
    train, test = load(name)
    assert (train.texts, train.labels, train.origin) == (TEXTS, CLASSES, name)
    assert (test.texts, test.labels) == (TEXTS[3::-1], CLASSES[3::-1])
    assert load_test_rows(Source("hub", name=name)) == test


def test_a_folder_with_one_data_set_has_no_test_rows(tmp_path: Path) -> None:
    name = saved(dataset(CLASSES), tmp_path / "news")
    assert load(name)[1] is None
    assert load_test_rows(Source("hub", name=name)) is None


def test_a_format_that_was_saved_does_not_matter(tmp_path: Path) -> None:
    train, _ = load(saved(dataset(CLASSES, NAMES).with_format("numpy"), tmp_path / "news"))
    assert (train.texts, train.labels) == (TEXTS, CLASSES)


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    name = saved(dataset(CLASSES, NAMES, "content", "topic"), tmp_path / "news")
    train, _ = load(name, text_column="content", label_column="topic")
    assert (train.texts, train.labels) == (TEXTS, CLASSES)


BAD_ROWS: dict[str, tuple[Dataset | DatasetDict, list[str]]] = {
    "unknown class": (
        dataset(CLASSES, ClassLabel(names=["politics", "sports", "business", "tech"])),
        ["split train: row 3: label 'tech'", "'business', 'politics', 'sports', 'tech'", "Sci/Tech"],
    ),
    "without labels": (dataset([-1] * 5, NAMES), ["row 1: label -1", "the labels there are -1"]),
    "five classes": (dataset([1, 2, 3, 4, 5]), ["row 4: label 4", "the labels there are 1, 2, 3, 4, 5"]),
    "column": (
        dataset(CLASSES, None, "content"),
        ["no column text; the columns are content, label", "data.text_column="],
    ),
    "splits": (
        DatasetDict(train_small=dataset(CLASSES)),
        ["has no split train; its splits are train_small", "save_to"],
    ),
    "one class": (dataset([0] * 5), ["split train: no row of class Sports, Business, Sci/Tech"]),
    "numbers as texts": (Dataset.from_dict({"text": [1], "label": [0]}), ["row 1: the text is not a string: 1"]),
}


@pytest.mark.parametrize("kind", BAD_ROWS)
def test_rows_that_cannot_be_used_are_refused_with_what_is_there(kind: str, tmp_path: Path) -> None:
    found, fragments = BAD_ROWS[kind]
    name = saved(found, tmp_path / "news")
    with pytest.raises(UserError) as caught:
        load(name)
    check_message(str(caught.value), [f"data.name={name}", *fragments])


def test_a_folder_of_something_else_or_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    damaged = saved(dataset(CLASSES), tmp_path / "damaged")
    (tmp_path / "damaged" / "state.json").write_text("{}")
    for name in (str(tmp_path / "empty"), damaged):
        with pytest.raises(UserError) as caught:
            open_dataset(name, None)
        check_message(
            str(caught.value), [f"data.name={name}: not a folder that save_to_disk wrote", "data.train_file="]
        )
    with pytest.raises(UserError, match=r"data\.name=/nowhere/news: no such folder"):
        open_dataset("/nowhere/news", None)
    with pytest.raises(UserError, match=r"data\.revision=v1: data\.name=.* is a folder, which has no revisions"):
        open_dataset(str(tmp_path / "empty"), "v1")


# Loads each data set of a list of (name, revision, columns) and prints its origin, rows and labels, or the error.
LOADER = """
import json, sys
from lora_agnews.data.source import Source, load_rows
for name, revision, columns in json.loads(sys.argv[1]):
    try:
        train, test = load_rows(Source("hub", None, None, name, revision, *columns))
        print(json.dumps([train.origin, train.texts, train.labels, len(test) if test else 0]))
    except (ValueError, RuntimeError) as error:
        print(json.dumps(str(error)))
"""
COLUMNS = ["content", "topic"]


def answers(done: Done) -> list[Any]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_data_set_of_the_hub_is_loaded_once_and_then_offline(model_hub: HubServer, tmp_path: Path) -> None:
    """Online: the default, others, and what can't be had. Then the same without the hub, from the cache of datasets."""
    train, _ = load_rows(Source("sample"))
    asked = [
        [AG_NEWS, None, [None, None]],
        [OTHER_DATA, "v1", COLUMNS],
        [OTHER_DATA, "v1", ["body", "topic"]],
        [OTHER_DATA, "v9", COLUMNS],
        ["nobody/nothing", None, [None, None]],
    ]
    done = run(tmp_path, model_hub.endpoint, "-c", LOADER, json.dumps(asked), TQDM_POSITION="-1")
    default, other, column, revision, nothing = answers(done)
    rows = [train.texts[:400], train.labels[:400]]
    assert default == [f"hub:{AG_NEWS}@{COMMITS['main'][:12]}", *rows, 400]
    assert other == [f"hub:{OTHER_DATA}@{COMMITS['v1'][:12]}", *rows, 0], "classes by name, without test rows"
    check_message(column, [f"data.name={OTHER_DATA}, split train: no column body; the columns are topic, content"])
    assert revision.startswith(f"could not fetch the dataset {OTHER_DATA}: it has no revision v9.\n")
    assert nothing.startswith("could not fetch the dataset nobody/nothing: the hub has no such repository")
    assert "Generating train split" in done.stderr, "its progress bar"

    requests = len(model_hub.requests)
    asked = [*asked[:2], [OTHER_DATA, COMMITS["v1"], COLUMNS], [OTHER_DATA, "main", COLUMNS], asked[-1]]
    done = run(tmp_path, model_hub.endpoint, "-c", LOADER, json.dumps(asked), HF_DATASETS_OFFLINE="1")
    again, other_again, by_commit, main, nothing = answers(done)
    assert len(model_hub.requests) == requests
    assert [again, other_again, by_commit] == [default, other, other]
    assert f"and the cache has the commit {COMMITS['v1']}, not main" in main, "never another commit than the given one"
    assert "could not fetch the dataset nobody/nothing: offline mode is on" in nothing
    assert "data.train_file=train.csv" in nothing
    assert done.stderr == ""
