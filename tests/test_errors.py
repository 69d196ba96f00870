"""What the user gives and what is wrong with it, in one message each: overrides, files, models, command lines."""

import gzip
import io
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pytest
import yaml
from pyarrow import parquet

from lora_agnews.config.compose import compose_config
from lora_agnews.config.help import help_text
from lora_agnews.config.keys import CONF, RULES
from lora_agnews.config.schema import TrainConfig
from lora_agnews.data.source import load_rows, read_file
from lora_agnews.data.split import stratified_split
from lora_agnews.errors import UserError
from lora_agnews.model.architecture import read_architecture
from lora_agnews.model.build import load_tokenizer
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec, predict_budget
from tests.commands import ROOT

# A command line as one types it, and what its message must contain.
BAD_OVERRIDES: list[tuple[str, list[str]]] = [
    # typos of keys
    ("lora.rr=1", ["lora.rr=1", "no key lora.rr", "did you mean lora.r?", "--help"]),
    ("model.lora.rr=1", ["no key model.lora.rr", "did you mean model.lora.r?"]),
    ("model.lora.R=1", ["no key model.lora.R", "did you mean model.lora.r?"]),
    ("optm.lr=1e-3", ["no key optm.lr", "did you mean optim.lr?"]),
    ("lr=1e-3", ["no key lr", "did you mean optim.lr?"]),
    ("optim.learning_rate=1e-3", ["no key optim.learning_rate", "did you mean optim.lr?"]),
    ("trainer.epochs=3", ["no key trainer.epochs", "did you mean trainer.max_epochs?"]),
    ("data.batchsize=8", ["no key data.batchsize", "did you mean data.batch_size?"]),
    ("experimnt=lean", ["no key experimnt", "did you mean experiment?"]),
    ("unknown=1", ["no key unknown", "python train.py --help"]),
    # adding and removing
    ("+unknown=1", ["+unknown=1", "no key unknown"]),
    ("++unknown=1", ["++unknown=1", "no key unknown"]),
    ("+lora.r=2", ["+lora.r=2", "lora.r=VALUE", "at least 1 and at most 1,024"]),
    ("+experiment=lean", ["experiment=VALUE", "lean"]),
    ("~lora.r", ["~lora.r", "lora.r=VALUE", "whole number"]),
    ("~model", ["~model", "model=VALUE", "roberta_base"]),
    ("~unknown", ["no key unknown"]),
    ("~lora", ["lora is a section", "lora.r"]),
    # a section given a value
    ("lora=1", ["lora=1", "lora is a section", "lora.alpha, lora.bias, lora.dropout"]),
    ("model.lora=null", ["model.lora is a section", "model.lora.r"]),
    ("optim={lr:1}", ["optim is a section", "optim.lr"]),
    ("trainer=gpu", ["trainer is a section", "trainer.accelerator"]),
    # groups
    ("model=robrta_base", ["model=robrta_base", "did you mean roberta_base?", "distilroberta", "tiny"]),
    ("data=news", ["data=news", "files, hub, sample"]),
    ("experiment=lena", ["experiment=lena", "did you mean lean?", "quickstart"]),
    ("experiment=null", ["experiment=null", "must be one of", "quickstart"]),
    ("model=", ["model=''", "must be one of", "roberta_base"]),
    ("model=[tiny]", ["model=[tiny]", "must be one of", "roberta_base"]),
    ("model@here=tiny", ["no key model@here"]),
    ("-m model=tiny,large", ["model=large", "must be one of", "roberta_large"]),
    # wrong types
    ("lora.r=x", ["model.lora.r=x", "a whole number at least 1 and at most 1,024", "rank"]),
    ("lora.r=1.5", ["model.lora.r=1.5", "whole number"]),
    ("lora.r=true", ["model.lora.r=true", "whole number"]),
    ("lora.r=[1]", ["model.lora.r=[1]", "whole number"]),
    ("model.lora.r={a:1}", ["model.lora.r={a:1}", "whole number"]),
    ("seed=1.0", ["seed=1.0", "whole number"]),
    ("budget.max_trainable=1e5", ["budget.max_trainable=1e5", "whole number", "1,000,000"]),
    ("trainer.deterministic=maybe", ["trainer.deterministic=maybe", "true or false"]),
    ("lora.target_modules=5", ["model.lora.target_modules=5", "a list such as [query,value]", "all-linear"]),
    ("lora.target_modules=null", ["model.lora.target_modules=null", "[] for none"]),
    ("lora.target_modules={query:0}", ["model.lora.target_modules={query:0}", "in quotes ranks"]),
    ("lora.target_modules={}", ["model.lora.target_modules={}", "in quotes ranks"]),
    ("lora.layers=last", ["model.lora.layers=last", "all, a list", "-4:"]),
    ("lora.layers=4", ["model.lora.layers=4", "all, a list"]),
    ("lora.layers=[]", ["model.lora.layers=[]", "all, a list"]),
    ("lora.layers=null", ["model.lora.layers=null", "all, a list"]),
    ("lora.bias=some", ["model.lora.bias=some", "none, all, lora_only"]),
    ("lora.init=svd", ["model.lora.init=svd", "default, gaussian, pissa, olora, orthogonal"]),
    ("optim.lora_plus_ratio=0.5", ["optim.lora_plus_ratio=0.5", "at least 1"]),
    ("lora.target_modules=[1]", ["model.lora.target_modules=[1]", "a list"]),
    ("logger.tags=x", ["logger.tags=x", "a list"]),
    ("logger.tags=[a,null]", ["logger.tags=[a,null]", "a list"]),
    # out of range
    ("lora.r=0", ["model.lora.r=0", "at least 1"]),
    ("lora.dropout=1", ["model.lora.dropout=1", "at least 0 and below 1"]),
    ("optim.lr=0", ["optim.lr=0", "above 0 and at most 10"]),
    ("optim.lr=nan", ["optim.lr=nan", "above 0"]),
    ("optim.lr=inf", ["optim.lr=inf", "at most 10"]),
    ("seed=-1", ["seed=-1", "at least 0"]),
    ("seed=4294967296", ["seed=4294967296", "at most 4,294,967,295"]),
    ("data.val_fraction=1", ["data.val_fraction=1", "below 1"]),
    ("data.max_length=3", ["data.max_length=3", "at least 4"]),
    ("trainer.max_steps=0", ["trainer.max_steps=0", "at least 1 or null"]),
    ("budget.max_trainable=2000000", ["budget.max_trainable=2000000", "at most 1,000,000"]),
    # null and empty
    ("lora.r=null", ["model.lora.r=null", "whole number"]),
    ("optim.lr=null", ["optim.lr=null", "a number above 0"]),
    ("model.name=null", ["model.name=null", "non-empty text"]),
    ("model.name=", ["model.name=''", "non-empty text"]),
    ("data.train_file=", ["data.train_file=''", "non-empty text or null"]),
    ("\"lora.target_modules=['']\"", ["model.lora.target_modules", "a list"]),
    # choices
    ("model.head=dense", ["model.head=dense", "full, lora, out_proj"]),
    ("optim.name=sgd", ["optim.name=sgd", "adam, adamw"]),
    ("optim.schedule=step", ["optim.schedule=step", "constant, linear, cosine"]),
    ("trainer.precision=16", ["trainer.precision=16", "16-mixed, bf16-mixed, 32-true"]),
    ("logger.wandb=on", ["logger.wandb=on", "auto, online, offline, disabled"]),
    # at odds with one another
    ("lora.r=1 model.lora.r=2", ["lora.r=1", "model.lora.r=2", "two spellings of one key"]),
    ("-m lora.r=1,2 model.lora.r=1,2", ["two spellings of one key"]),
    ("data=files", ["data.train_file=null", "data.train_file=FILE"]),
    ("data.test_file=test.csv", ["data.train_file=null", "data.test_file need it"]),
    # sweeps
    ("lora.r=1,2,x", ["lora.r=1,2,x", "-m"]),
    ("-m lora.r=1,2,x", ["model.lora.r=x", "whole number"]),
    ("-m lora.r=1,2 optim.lr=1e-3,2e-3,-1", ["optim.lr=-1", "above 0"]),
    ("-m lora.r=range(0,3)", ["model.lora.r=0", "at least 1"]),
    ("-m lora.r=range(3,1)", ["lora.r=range(3,1)", "no value"]),
    ("-m model=glob(z*)", ["model=glob(z*)", "no value"]),
    # spelling of an override
    ("lora.r", ["lora.r: there is no value", "lora.r=VALUE"]),
    ("=1", ["=1", "KEY=VALUE"]),
    ("'lora.r =1'", ["'lora.r '", "no blank"]),
    ("lora.r=[1", ["lora.r=[1", "brackets and quotes come in pairs"]),
    ('"lora.r=\'1"', ["lora.r='1", "brackets and quotes come in pairs"]),
    ("lora.target_modules=[query,]", ["[query,]", "a list is [a,b]"]),
    ("data.train_file=a=b.csv", ["'data.train_file=\"a=b.csv\"'"]),
    ("data.train_file=a,b.csv", ["-m", "'data.train_file=\"a,b.csv\"'"]),
    # interpolation, and Hydra's own keys
    ("lora.r=${nothing}", ["model.lora.r", "'nothing' not found"]),
    ("lora.r=${lora.r}", ["model.lora.r", "Recursive"]),
    ("hydra.run.dirr=x", ["hydra.run.dirr", "did you mean dir?"]),
    ("hydra.mode=WALK", ["hydra.mode=WALK", "RUN, MULTIRUN"]),
    ("hydra/launcher=slurm", ["hydra/launcher/slurm", "basic"]),
]


@pytest.mark.parametrize(("line", "fragments"), BAD_OVERRIDES, ids=[line for line, _ in BAD_OVERRIDES])
def test_a_bad_override_is_told_in_one_line(line: str, fragments: list[str]) -> None:
    with pytest.raises(UserError) as caught:
        compose(line)
    assert_told(str(caught.value), fragments)


@pytest.mark.parametrize(
    ("line", "key", "value"),
    [
        ("", "lora.r", 1),
        ("model.lora.r=3", "lora.r", 3),
        ("lora.r=3", "lora.r", 3),
        ("lora.r=3 model.lora.r=3", "lora.r", 3),
        ("++lora.r=3", "lora.r", 3),
        ("experiment=lean lora.r=3", "lora.r", 3),
        ("experiment=lean model.lora.r=3", "lora.r", 3),
        ("model=tiny", "name", "tiny"),
        ("experiment=lean", "head", "lora"),
        ("experiment=quickstart model=distilroberta", "name", "distilbert/distilroberta-base"),
        ("'model.name=\"a=b, c\"'", "name", "a=b, c"),
        ("lora.target_modules=[query]", "lora.target_modules", ["query"]),
        ("lora.target_modules=query", "lora.target_modules", ["query"]),
        ("lora.target_modules=[]", "lora.target_modules", []),
        ("lora.target_modules=all-linear", "lora.target_modules", "all-linear"),
        ("lora.target_modules={query:4,value:8}", "lora.target_modules", {"query": 4, "value": 8}),
        ("experiment=best model.lora.target_modules={dense:2}", "lora.target_modules", {"dense": 2}),
        ("lora.layers=-4:", "lora.layers", "-4:"),
        ("-m lora.layers=[0,11],-4:,all", "lora.layers", [0, 11]),
        ("hydra.run.dir=x hydra.sweep.dir=x hydra/launcher=basic hydra.verbose=true", "lora.r", 1),
        ("-m lora.r=2,1,4", "lora.r", 2),
        ("-m lora.r=interval(1,4)", "lora.r", 1),
        ("-m model=glob(*)", "lora.r", 1),
        ("hydra.mode=MULTIRUN lora.r=2,1", "lora.r", 2),
    ],
)
def test_both_spellings_groups_sweeps_and_keys_of_hydra_are_understood(line: str, key: str, value: object) -> None:
    found: object = compose(line).model
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_a_number_may_be_written_as_a_power_of_ten() -> None:
    assert compose("optim.lr=3e-4").optim.lr == 3e-4


@pytest.mark.parametrize(
    "overrides",
    [
        f"{path.parent.name}={path.stem}" + (" data.train_file=x.csv" if path.stem == "files" else "")
        for group in ("model", "data", "experiment")
        for path in sorted((CONF / group).glob("*.yaml"))
    ],
)
def test_every_shipped_choice_composes_and_validates(overrides: str) -> None:
    config = compose(overrides)
    assert "lora" not in config.to_dict()
    assert config.to_dict()["model"]["lora"]["r"] == config.model.lora.r


def test_the_help_names_every_key_with_its_value_and_rule_within_100_columns() -> None:
    text = help_text(compose("experiment=lean"))
    assert all(f"  {key}=" in text for key in RULES)
    assert "  model.lora.r=2\n" in text
    assert "  model.revision=null\n" in text
    assert "experiment=best|lean|quickstart|seed" in text
    assert "above 0 and at most 10" in text
    assert max(map(len, text.splitlines())) <= 100


# Files: name, bytes, what the message must contain besides the name of the file.
GOOD = b"text,label\nsome news,0\nmore news,1\nother news,2\nlast news,3\n"
CANONICAL = b'"1","A","a"\n"2","B","b"\n"3","C","c"\n"4","D","d"\n'
JSON_ROWS = [{"text": f"news {label}", "label": label} for label in range(4)]
JSON_LINES = "".join(json.dumps(row) + "\n" for row in JSON_ROWS).encode()


def in_parquet(**columns: list[object]) -> bytes:
    """The bytes of a parquet file."""
    stream = io.BytesIO()
    parquet.write_table(pa.table(columns), stream)
    return stream.getvalue()


BAD_FILES: list[tuple[str, bytes | None, list[str]]] = [
    ("missing.csv", None, ["no such file"]),
    ("rows.xlsx", GOOD, ["can't tell its format", ".csv, .tsv, .json, .jsonl, .parquet"]),
    ("rows.csv.bak", GOOD, ["can't tell its format"]),
    ("rows", GOOD, ["can't tell its format"]),
    ("empty.csv", b"", ["no rows"]),
    ("empty.jsonl", b"", ["no rows"]),
    ("empty.csv.gz", gzip.compress(b""), ["no rows"]),
    ("header_only.csv", b"text,label\n", ["no rows"]),
    ("no_text.csv", b"title,label\nnews,0\n", ["no column text", "title, label"]),
    ("no_label.csv", b"text,class\nnews,0\n", ["no column label", "text, class"]),
    ("no_header.csv", b"some news,0\n", ["row 1", "text,label", "class,title,description", "2 columns", "'some news'"]),
    ("empty_text.csv", GOOD + b"  ,1\n", ["row 5", "empty"]),
    ("high.csv", GOOD + b"news,4\n", ["row 5", "label 4", "0, 1, 2, 3", "World"]),
    ("negative.csv", GOOD + b"news,-1\n", ["row 5", "label '-1'"]),
    ("name.csv", GOOD + b"news,Politics\n", ["row 5", "'Politics'", "World, Sports, Business, Sci/Tech"]),
    ("no_number.csv", GOOD + b"news,1.0\n", ["row 5", "'1.0'"]),
    ("no_label_value.csv", GOOD + b"news,\n", ["row 5", "label ''"]),
    ("class_5.csv", CANONICAL + b'"5","E","e"\n', ["row 5", "class '5'", "1, 2, 3, 4"]),
    ("class_5_first.csv", b'"5","E","e"\n', ["row 1", "1 to 4", "'5'"]),
    ("empty_news.csv", CANONICAL + b'"1",""," "\n', ["row 5", "empty"]),
    ("narrow.csv", GOOD + b"news\n", ["row 5", "1 columns, not 2", "text, label"]),
    ("wide.csv", CANONICAL + b'"1","E","e","f"\n', ["row 5", "4 columns, not 3", "class, title, description"]),
    ("quote.csv", GOOD + b'"news,1\nmore,2\n', ["line 6", "quote", "never closed"]),
    ("first_quote.csv", b'"1,news\n', ["line 1", "quote", "never closed"]),
    ("quote_inside.csv", GOOD + b'"ne"ws,1\n', ["line 6", "expected after"]),
    ("one_class.csv", b"text,label\nnews,0\nmore,1\n", ["no row of class Business, Sci/Tech", "all four"]),
    ("latin1.csv", GOOD + "caf\xe9,1\n".encode("latin1"), ["line 6", "not UTF-8", "0xe9", "iconv"]),
    ("latin1.jsonl", JSON_LINES + '{"text": "caf\xe9", "label": 1}\n'.encode("latin1"), ["line 5", "not UTF-8"]),
    ("utf16.csv", GOOD.decode().encode("utf-16"), ["line 1", "not UTF-8"]),
    ("cut.csv.gz", gzip.compress(CANONICAL * 100)[:-20], ["can't be read as .csv"]),
    ("plain.csv.gz", GOOD, ["can't be read as .csv", "gzip"]),
    ("broken.csv.gz", gzip.compress(GOOD)[:12] + b"\xff" * 30, ["can't be read as .csv"]),
    ("broken.json", b'[{"text": "news"', ["not JSON", "line 1"]),
    ("object.json", b'{"text": ["news"], "label": [0]}', ["list of objects", "text and label"]),
    ("broken.jsonl", JSON_LINES + b"{text: news}\n", ["line 5", "not JSON"]),
    ("no_object.jsonl", JSON_LINES + b"5\n", ["row 5", "not an object"]),
    ("no_label.jsonl", JSON_LINES + b'{"text": "news"}\n', ["no column label", "row 5"]),
    ("number.jsonl", JSON_LINES + b'{"text": 7, "label": 1}\n', ["row 5", "not a text", "7"]),
    ("null.jsonl", JSON_LINES + b'{"text": null, "label": 1}\n', ["row 5", "empty"]),
    ("true.jsonl", JSON_LINES + b'{"text": "news", "label": true}\n', ["row 5", "label True"]),
    ("half_a_pair.jsonl", JSON_LINES + b'{"text": "news \\ud83d", "label": 1}\n', ["row 5", "\\ud83d"]),
    ("no.parquet", GOOD, ["can't be read as .parquet"]),
    ("no_label.parquet", in_parquet(text=["news"]), ["no column label", "text"]),
    ("high.parquet", in_parquet(text=["a", "b"], label=[0, 7]), ["row 2", "label 7"]),
    ("null.parquet", in_parquet(text=["a", None], label=[0, 1]), ["row 2", "empty"]),
]


@pytest.mark.parametrize(("name", "content", "fragments"), BAD_FILES, ids=[name for name, *_ in BAD_FILES])
def test_a_bad_file_is_told_with_its_name_and_row(
    name: str, content: bytes | None, fragments: list[str], tmp_path: Path
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_file(path)
    assert_told(str(caught.value), [str(path), *fragments])


def test_a_bad_test_file_is_told_although_the_training_file_is_good(tmp_path: Path) -> None:
    train, test = tmp_path / "train.csv", tmp_path / "test.csv"
    train.write_bytes(GOOD)
    test.write_bytes(GOOD + b"news,4\n")
    with pytest.raises(UserError) as caught:
        load_rows("files", str(train), str(test))
    assert_told(str(caught.value), [str(test), "row 5", "label 4"])


def test_too_few_rows_of_a_class_for_a_split_are_told_with_the_class_and_the_key() -> None:
    with pytest.raises(UserError) as caught:
        stratified_split([0] * 20 + [1] * 20 + [2] * 4 + [3] * 20, val_fraction=0.1, seed=0)
    assert_told(str(caught.value), ["class Business", "4 training rows", "data.val_fraction=0.1"])


# Models: the files of a folder, data.max_length, model.lora.target_modules, what the message must contain.
GPT = {"config.json": '{"model_type": "gpt2"}'}
HALF = {"config.json": '{"model_type": "bert", "hidden_size": 8}'}
BROKEN = {"config.json": "{"}
BAD_MODELS: list[tuple[dict[str, str] | None, int, list[str], list[str]]] = [
    ({}, 256, ["query"], ["model.name=", "no config.json"]),
    (GPT, 256, ["query"], ["a gpt2 model can't be used", "roberta"]),
    (HALF, 256, ["query"], ["config.json has intermediate_size=None"]),
    (BROKEN, 256, ["query"], ["config.json is not JSON"]),
    (None, 8192, ["query"], ["data.max_length=8192", "tiny", "use at most"]),
    (None, 256, ["query", "quary"], ["model.lora.target_modules", "quary", "query, value"]),
    (None, 256, ["classifier.densee"], ["classifier.densee", "classifier.dense"]),
]


@pytest.mark.parametrize(("files", "max_length", "targets", "fragments"), BAD_MODELS)
def test_a_model_that_can_not_be_used_is_told(
    files: dict[str, str] | None,
    max_length: int,
    targets: list[str],
    fragments: list[str],
    tmp_path: Path,
    lora: Callable[..., LoraSpec],
) -> None:
    for name, text in (files or {}).items():
        (tmp_path / name).write_text(text)

    def use() -> None:
        name = "tiny" if files is None else str(tmp_path)
        predict_budget(read_architecture(name), lora(target_modules=targets))
        load_tokenizer(find_encoder(name, None), max_length)

    with pytest.raises(UserError) as caught:
        use()
    assert_told(str(caught.value), fragments)


@pytest.mark.parametrize("name", ["/no/such/dir", "./here", "a/b/c"])
def test_a_folder_that_is_not_there_is_told(name: str) -> None:
    with pytest.raises(UserError) as caught:
        find_encoder(name, None)
    assert_told(str(caught.value), [f"model.name={name}", "no such folder"])


# The real command, from a folder that holds an empty one, and what the message must contain.
BAD_COMMANDS: list[tuple[str, list[str]]] = [
    ("lora.rr=1", ["lora.rr", "did you mean lora.r?"]),
    ("-m lora.r=1,2,x", ["model.lora.r=x", "whole number"]),
    ("--resum=x", ["--resum", "--help"]),
    ("experiment=quickstart data.train_file=../rows.csv", ["rows.csv", "row 5", "label 9"]),
    ("experiment=quickstart hydra.run.dir=kept/run data.max_length=8192", ["data.max_length=8192", "use at most"]),
]
HELP = "--help"
CONFIG = "experiment=lean lora.r=3 --cfg job --resolve"


@dataclass
class Ended:
    """A command that has ended, and what lies in its folder now."""

    status: int
    out: str
    err: str
    left: list[str]


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """The commands by their lines, two at a time."""
    home = tmp_path_factory.mktemp("commands")
    (home / "rows.csv").write_bytes(GOOD + b"news,9\n")
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}

    def run(numbered: tuple[int, str]) -> Ended:
        folder = home / str(numbered[0])
        (folder / "kept").mkdir(parents=True)
        command = [sys.executable, str(ROOT / "train.py"), *shlex.split(numbered[1])]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
        left = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        return Ended(done.returncode, done.stdout, done.stderr, left)

    lines = [*(line for line, _ in BAD_COMMANDS), HELP, CONFIG]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(lines, pool.map(run, enumerate(lines)), strict=True))


@pytest.mark.parametrize(("line", "fragments"), BAD_COMMANDS, ids=[line for line, _ in BAD_COMMANDS])
def test_a_bad_command_ends_with_status_2_and_one_message_and_creates_nothing(
    line: str, fragments: list[str], ended: dict[str, Ended]
) -> None:
    command = ended[line]
    assert (command.status, command.out, command.left) == (2, "", ["kept"])
    assert command.err.startswith("error: ")
    assert_told(command.err.removesuffix("\n"), fragments)


def test_the_help_ends_well_and_creates_nothing(ended: dict[str, Ended]) -> None:
    assert ended[HELP] == Ended(0, help_text(compose("")) + "\n", "", ["kept"])


def test_hydra_shows_the_resolved_config_and_creates_nothing(ended: dict[str, Ended]) -> None:
    command = ended[CONFIG]
    assert (command.status, command.err, command.left) == (0, "", ["kept"])
    shown = yaml.safe_load(command.out)
    assert shown["model"]["lora"]["r"] == shown["lora"]["r"] == 3
    assert shown["model"]["head"] == "lora"


def compose(line: str) -> TrainConfig:
    """The config of a command line."""
    arguments = shlex.split(line)
    return compose_config([part for part in arguments if part != "-m"], "-m" in arguments)


def assert_told(message: str, fragments: list[str]) -> None:
    """One line that holds every fragment, in words of ours."""
    assert "\n" not in message
    assert [fragment for fragment in fragments if fragment not in message] == [], message
    for jargon in ("Traceback", "no viable alternative", "mismatched input", "full_key", "DictConfig", "omegaconf"):
        assert jargon not in message
