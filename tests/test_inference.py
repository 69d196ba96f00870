"""Predictions from a run directory alone: the right row, the right label, in order, whole or not at all."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
import yaml
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from lora_agnews import load_run
from lora_agnews.__main__ import app
from lora_agnews.data.source import load_rows
from lora_agnews.inference import classifier as inference
from lora_agnews.inference.classifier import Classifier
from lora_agnews.labels import LABELS
from lora_agnews.model.adapter import save_adapter
from lora_agnews.model.build import build_model
from lora_agnews.model.encoder import find_encoder
from lora_agnews.model.lora import LoraSpec
from tests.commands import ROOT, run_python
from tests.test_files import ODD_TEXTS, PICKLED, PICKLES

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21
TEXTS = (load_rows("sample", None, None)[1] or pytest.fail("no test rows")).texts
MAX_LENGTH = 16  # of the run


def command(*arguments: Any, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], input=stdin)


def written(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(f"{text}\n" for text in texts))
    return path


@pytest.fixture(scope="module")
def run_dir(finished: tuple[Path, Any]) -> Path:
    return finished[0]


@pytest.fixture(scope="module")
def classify(run_dir: Path) -> Classifier:
    return load_run(run_dir)


@pytest.fixture(scope="module")
def expected(run_dir: Path) -> np.ndarray:
    """Probabilities of the first 60 texts, one at a time, by transformers and PEFT alone."""
    folder = find_encoder("tiny", None).folder
    base = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=4, dtype=torch.float32)
    model = peft.PeftModel.from_pretrained(base, run_dir / "adapter").eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    found = []
    for text in TEXTS[:60]:
        batch = tokenizer([text], truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
        with torch.no_grad():
            found.append(model(**batch).logits.softmax(1)[0].numpy())
    return np.array(found)


@pytest.fixture
def other(run_dir: Path, tmp_path: Path) -> Path:
    """A second run, with another head."""
    folder = tmp_path / "other"
    shutil.copytree(run_dir, folder)
    change_adapter(folder, lambda name, value: -value if "out_proj" in name else value)
    return folder


def change_adapter(run_dir: Path, change: Callable[[str, torch.Tensor], torch.Tensor | None], **made: Any) -> None:
    path = run_dir / "adapter" / "adapter_model.safetensors"
    with safe_open(path, "pt") as file:
        about = json.loads(file.metadata()["lora_agnews"]) | made
    tensors = {name: change(name, value) for name, value in load_file(path).items()}
    kept = {name: value for name, value in tensors.items() if value is not None}
    save_file(kept, path, metadata={"lora_agnews": json.dumps(about)})


# the submission


def test_a_submission_has_each_row_once_in_order_with_the_models_label(
    run_dir: Path, expected: np.ndarray, tmp_path: Path
) -> None:
    done = command("predict", run_dir, lines(tmp_path / "news.txt", TEXTS[:60]), "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    assert "out.csv: 60 rows" in done.stdout.replace("\n", "")
    rows = (tmp_path / "out.csv").read_text().split("\n")
    assert rows == ["ID,Label", *(f"{i},{label}" for i, label in enumerate(expected.argmax(1))), ""]
    assert len({row.partition(",")[2] for row in rows[1:-1]}) > 1, "a model that tells nothing apart shows no order"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_full_adds_text_name_and_probabilities(run_dir: Path, expected: np.ndarray, tmp_path: Path) -> None:
    command("predict", run_dir, lines(tmp_path / "news.txt", TEXTS[:60]), "-o", tmp_path / "out.csv", "--full")
    rows = written(tmp_path / "out.csv")
    assert len(rows) == 60
    for i, row in enumerate(rows):
        found = [float(row[f"p_{name}"]) for name in ("world", "sports", "business", "sci_tech")]
        assert found == pytest.approx(expected[i].tolist(), abs=1e-5)
        assert (row["ID"], row["text"], row["label_name"]) == (str(i), TEXTS[i], LABELS[int(row["Label"])])


def test_odd_texts_get_a_label_and_come_back_as_they_are(run_dir: Path, tmp_path: Path) -> None:
    """Line breaks, quotes, emoji, NUL, nothing, and a megabyte."""
    (tmp_path / "odd.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in ODD_TEXTS))
    done = command("predict", run_dir, tmp_path / "odd.jsonl", "-o", tmp_path / "out.csv", "--full")
    assert done.exit_code == 0, done.output
    found = written(tmp_path / "out.csv")
    assert [row["text"] for row in found] == ODD_TEXTS
    for row in found:
        assert sum(float(row[key]) for key in row if key.startswith("p_")) == pytest.approx(1, abs=1e-5)


def test_the_courses_pickle_becomes_a_submission(run_dir: Path, classify: Classifier, tmp_path: Path) -> None:
    done = command("predict", run_dir, PICKLES / "datasets-3.5.pkl", "-o", tmp_path / "submission.csv")
    assert done.exit_code == 0, done.output
    labels = [LABELS.index(found.label) for found in classify(PICKLED)]
    assert [(row["ID"], row["Label"]) for row in written(tmp_path / "submission.csv")] == [
        (str(i), str(label)) for i, label in enumerate(labels)
    ]


def test_lines_go_in_and_a_csv_comes_out(run_dir: Path, expected: np.ndarray) -> None:
    done = command("predict", run_dir, "-", stdin="\n".join(TEXTS[:5]).encode())
    assert done.stdout.split() == ["ID,Label", *(f"{i},{label}" for i, label in enumerate(expected[:5].argmax(1)))]


def test_the_readmes_commands_run(run_dir: Path, other: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of "From run to submission" but the page, ONNX and the upload, which have tests of their own."""
    section = (ROOT / "README.md").read_text().partition("## From run to submission")[2].partition("\n## ")[0]
    said = [line.partition("#")[0].split() for line in section.splitlines() if line.startswith("python -m lora_agnews")]
    assert {words[3] for words in said} == {"evaluate", "predict", "export", "demo"}
    texts = [text.replace("\n", " ") for text in TEXTS[:20]]
    monkeypatch.chdir(tmp_path)
    shutil.copy(PICKLES / "datasets-3.5.pkl", "test_unlabelled.pkl")
    lines(Path("news.txt"), texts)
    Path("news.csv").write_text("text\n" + "\n".join(json.dumps(text.replace('"', "")) for text in texts))
    Path("news.jsonl").write_text("\n".join(json.dumps({"headline": text}) for text in texts))
    Path("labelled.csv").write_text("text,label\n" + "\n".join(f"{word},{i % 4}" for i, word in enumerate("abcdefgh")))
    places = {"RUN_DIR": str(shutil.copytree(run_dir, tmp_path / "run")), "RUN_DIR2": str(other)}
    ran = 0
    for words in said:
        if {"demo", "onnx", "--push-to-hub"} & set(words):
            continue
        stdin = Path("news.txt").read_bytes() if "<" in words else None
        words = words[: words.index("<")] if "<" in words else words
        done = command(*(places.get(word, word) for word in words[3:]), stdin=stdin)
        assert done.exit_code == 0, (words, done.output)
        ran += 1
    assert ran == 8
    for left in ("submission.csv", "labels.csv", "missed.csv", "news-classifier/README.md", "news-adapter/README.md"):
        assert Path(left).stat().st_size > 10, left
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    exec(code.replace("RUN_DIR", places["RUN_DIR"]), {})


PEAK = """
import resource, sys
from lora_agnews.__main__ import app
try:
    app(sys.argv[1:])
finally:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(run_dir: Path, tmp_path: Path) -> None:
    """MiB at the peak: five times the rows, the same windows."""
    peaks = []
    for rows in (12_000, 60_000):
        with (tmp_path / "news.csv").open("w") as stream:
            stream.write("text\n")
            stream.writelines(f"row {i} of the news of the day\n" for i in range(rows))
        done = run_python("-c", PEAK, "predict", str(run_dir), str(tmp_path / "news.csv"), "-o", str(tmp_path / "out"))
        assert f"{rows:,} rows" in done.stdout.replace("\n", ""), done.stderr
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 30, peaks


# the classifier


def test_a_rows_probabilities_do_not_depend_on_its_neighbours(classify: Classifier) -> None:
    together = classify.probabilities(["", "x" * 5000, *TEXTS[:100]])
    backwards = classify.probabilities([*TEXTS[:100]][::-1])[::-1]
    alone = np.concatenate([classify.probabilities([text]) for text in TEXTS[:20]])
    assert np.abs(together[2:] - backwards).max() < 1e-5
    assert np.abs(together[2:22] - alone).max() < 1e-5


@pytest.mark.parametrize(("rows", "characters"), [(7, 1 << 24), (4096, 500)])
def test_windows_hold_little_and_keep_the_order(
    classify: Classifier, expected: np.ndarray, monkeypatch: pytest.MonkeyPatch, rows: int, characters: int
) -> None:
    monkeypatch.setattr(inference, "WINDOW_ROWS", rows)
    monkeypatch.setattr(inference, "WINDOW_CHARACTERS", characters)
    read = 0

    def reading() -> Iterator[str]:
        nonlocal read
        for text in TEXTS[:60]:
            read += 1
            yield text

    texts, found = list[str](), []
    for window, probabilities in classify.stream(reading()):
        assert len(window) <= rows
        assert read == len(texts) + len(window), "nothing is read before it is needed"
        assert sum(map(len, window[:-1])) <= characters
        texts += window
        found.append(probabilities)
    assert texts == TEXTS[:60]
    assert len(found) > 5
    assert np.abs(np.concatenate(found) - expected).max() < 1e-5


def test_load_run_gives_labels_and_probabilities(classify: Classifier, expected: np.ndarray) -> None:
    assert len(classify(TEXTS[:60])) == 60
    for i, (label, probabilities) in enumerate(classify(TEXTS[:60])):
        assert label == LABELS[expected[i].argmax()] == max(probabilities, key=probabilities.__getitem__)
        assert list(probabilities) == list(LABELS)
        assert list(probabilities.values()) == pytest.approx(expected[i].tolist(), abs=1e-5)
    assert classify([]) == []
    assert classify(text for text in TEXTS[:2]) == classify(TEXTS[:2])
    for wrong in ("one text", [1], [None]):
        with pytest.raises(TypeError, match="a list of texts"):
            classify(wrong)  # type: ignore[arg-type]


def test_several_runs_are_the_mean_of_their_probabilities(run_dir: Path, other: Path, tmp_path: Path) -> None:
    single = [load_run(folder).probabilities(TEXTS[:40]) for folder in (run_dir, other)]
    assert np.abs(single[0] - single[1]).max() > 0.01
    assert np.abs(load_run(run_dir, other).probabilities(TEXTS[:40]) - (single[0] + single[1]) / 2).max() < 1e-6
    done = command("predict", run_dir, other, lines(tmp_path / "news.txt", TEXTS[:40]), "-o", tmp_path / "out.csv")
    assert done.exit_code == 0, done.output
    labels = [int(row["Label"]) for row in written(tmp_path / "out.csv")]
    assert labels == np.mean(single, 0).argmax(1).tolist()


def test_runs_of_other_classes_are_refused(run_dir: Path, other: Path, tmp_path: Path) -> None:
    change_adapter(other, lambda name, value: value, labels=["Good", "Bad"])
    done = command("predict", run_dir, other, lines(tmp_path / "news.txt", TEXTS[:4]))
    assert done.exit_code == 2
    assert "its classes are Good, Bad, not World, Sports, Business, Sci/Tech" in done.stderr


def test_what_is_written_goes_where_it_should(run_dir: Path, tmp_path: Path) -> None:
    """Through a link into its target, into a pipe, with carriage returns that come back."""
    news = tmp_path / "news.jsonl"
    news.write_text(json.dumps({"text": "Oil\rprices"}))
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    assert command("predict", run_dir, news, "-o", tmp_path / "link.csv", "--full").exit_code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert [row["text"] for row in written(tmp_path / "real.csv")] == ["Oil\rprices"]
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE, text=True) as reader:
        assert command("predict", run_dir, news, "-o", tmp_path / "pipe").exit_code == 0
        assert reader.communicate(timeout=20)[0].startswith("ID,Label\n0,")
    assert (tmp_path / "pipe").is_fifo()
    with (tmp_path / "through").open("w") as stream:
        assert command("predict", run_dir, news, "-o", f"/dev/fd/{stream.fileno()}").exit_code == 0
    ends = os.pipe()
    assert command("predict", run_dir, news, "-o", f"/dev/fd/{ends[1]}").exit_code == 0
    os.close(ends[1])
    with os.fdopen(ends[0]) as reading:
        assert reading.read().startswith("ID,Label\n0,")


# where the run's things lie


def test_a_run_made_on_a_gpu_answers_on_a_cpu(run_dir: Path, expected: np.ndarray, tmp_path: Path) -> None:
    copy = shutil.copytree(run_dir, tmp_path / "gpu")
    result = json.loads((copy / "result.json").read_text())
    result["environment"] |= {"device": "cuda:0", "precision": "16-mixed"}
    (copy / "result.json").write_text(json.dumps(result))
    assert np.abs(load_run(copy).probabilities(TEXTS[:60]) - expected).max() < 1e-5
    if not torch.cuda.is_available():
        done = command("evaluate", copy)
        assert done.exit_code == 0, done.output
        assert "the run used cuda:0 in 16-mixed, which is not available here" in done.stderr.replace("\n", " ")


def test_a_base_model_that_lies_elsewhere_is_named_found_and_checked(
    run_dir: Path, lora: Callable[..., LoraSpec], tmp_path: Path
) -> None:
    base, moved = tmp_path / "base", tmp_path / "moved"
    shutil.copytree(find_encoder("tiny", None).folder, base)
    copy = shutil.copytree(run_dir, tmp_path / "run")
    config = yaml.safe_load((copy / "config.yaml").read_text())
    config["model"]["name"] = str(base)
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    encoder = find_encoder(str(base), None)
    save_adapter(build_model(encoder, lora(r=2), seed=0), encoder, copy / "adapter")
    before = load_run(copy).probabilities(TEXTS[:8])
    base.rename(moved)
    news = lines(tmp_path / "news.txt", TEXTS[:8])
    done = command("predict", copy, news)
    assert done.exit_code == 2
    assert f"needs its base model: model.name={base}: no such folder.\nWith a copy of it" in done.stderr
    assert "--base FOLDER" in done.stderr
    assert np.array_equal(load_run(copy, base=str(moved)).probabilities(TEXTS[:8]), before)
    assert command("predict", copy, news, "--base", moved).exit_code == 0
    weights = load_file(moved / "model.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, moved / "model.safetensors", {"format": "pt"})
    done = command("predict", copy, news, "--base", moved)
    assert done.exit_code == 2
    assert f"was trained on other weights than those in {moved}" in done.stderr


BAD_USES: list[tuple[list[str], int, str]] = [
    (["predict", "RUN", "nothing.csv"], 2, "nothing.csv: no such file"),
    (["predict", "RUN", "news.docx"], 2, "can't tell its format"),
    (["predict", "RUN", "bad.csv"], 2, "bad.csv: row 3 has 2 columns, not 1"),
    (["predict", "RUN", "null.jsonl"], 2, "null.jsonl: row 2: the text is empty"),
    (["predict", "RUN", "news.csv", "--text-column", "headline"], 2, "no column headline; the columns are text"),
    (["predict", "RUN", "title.csv"], 2, "Another column: --text-column NAME"),
    (["predict", "RUN", "news.csv", "-o", "none/out.csv"], 2, "none/out.csv cannot be written"),
    (["predict", "RUN", "news.csv", "-o", "news.csv"], 2, "is the file with the texts"),
    (["predict", "RUN", "news.csv", "-o", "killed"], 2, "killed cannot be written (Is a directory)"),
    (["predict", "DAMAGED", "news.csv"], 2, "adapter_model.safetensors: can't be read"),
    (["predict", "NO_RECORD", "news.csv"], 2, "result.json: not a record of this version"),
    (["predict", "HEADLESS", "news.csv"], 2, "is damaged: it lacks values of the adapters or the head"),
    (["predict", "NAN", "news.csv"], 2, "is damaged: it lacks values of the adapters or the head"),
    (["predict", "RUN", "twice.csv"], 2, "twice.csv: has 2 columns text"),
    (["predict", "RUN", "wide.txt"], 2, "iconv -f utf-16 -t utf-8 wide.txt"),
    (["predict", "RUN", "deep.jsonl"], 2, "deep.jsonl: line 1 is not JSON"),
    (["predict", "RUN", "empty.txt"], 2, "empty.txt: no rows"),
    (["evaluate", "RUN", "bad.csv"], 2, "no column label"),
    (["evaluate", "RUN", "labelled.csv", "--errors", "labelled.csv"], 2, "is the labelled file"),
    (["export", "RUN", "-o", "out", "--private"], 2, "give --push-to-hub OWNER/NAME too"),
    (["evaluate", "RUN", "labelled.csv", "--errors", "none/out.csv"], 2, "none/out.csv cannot be written"),
    (["demo", "RUN", "--port", "70000"], 2, "Invalid value for '--port'"),
    (["predict", "news.csv"], 2, "RUN_DIR"),
    (["predict", "HERE", "news.csv"], 2, "no run lies there (no result.json)"),
    (["predict", "KILLED", "news.csv"], 2, "its status is interrupted"),
    (["evaluate", "KILLED"], 2, "to finish it: python train.py resume="),
    (["evaluate", "RUN", "news.csv"], 2, "no column label"),
    (["export", "HERE", "-o", "out"], 2, "no run lies there"),
    (["export", "RUN"], 2, "--output"),
    (["export", "RUN", "-o", "news.csv"], 2, "is a file"),
    (["export", "RUN", "-o", "out", "--format", "torch"], 2, "Invalid value for '--format'"),
]


@pytest.mark.parametrize(("arguments", "status", "message"), BAD_USES, ids=lambda value: str(value)[:60])
def test_a_wrong_use_is_one_message_and_leaves_nothing(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, message: str
) -> None:
    files = {
        "news.csv": "text\nOil prices rise\n",
        "news.docx": "",
        "bad.csv": "text\nfine\nfine\nnot, fine\n",
        "null.jsonl": '{"text": "fine"}\n{"text": null}\n',
        "title.csv": "title,body\na,b\n",
        "twice.csv": "text,text\na,b\n",
        "wide.txt": "\ufeffnews".encode("utf-16-le"),
        "deep.jsonl": "[" * 100_000,
        "empty.txt": "",
        "labelled.csv": "text,label\nOil prices rise,2\n",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    killed = tmp_path / "killed"
    killed.mkdir()
    result = json.loads((run_dir / "result.json").read_text()) | {"status": "interrupted"}
    (killed / "result.json").write_text(json.dumps(result))
    broken = ("damaged", "no_record", "headless", "nan")
    for name in broken:
        shutil.copytree(run_dir, tmp_path / name)
    change_adapter(tmp_path / "nan", lambda name, value: value * float("nan"))
    change_adapter(tmp_path / "headless", lambda name, value: None if "out_proj" in name else value)
    (tmp_path / "damaged" / "adapter" / "adapter_model.safetensors").write_bytes(b"damaged")
    (tmp_path / "no_record" / "result.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(run_dir), "HERE": "."} | {name.upper(): name for name in ("killed", *broken)}
    done = command(*(places.get(argument, argument) for argument in arguments))
    assert done.exit_code == status
    assert message in done.stderr.replace("\n", " ")
    assert "Traceback" not in done.output
    assert {path.name for path in tmp_path.iterdir()} == {*files, "killed", *broken}
    for name, content in files.items():
        assert (tmp_path / name).read_bytes() == (content if isinstance(content, bytes) else content.encode())


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_leave_no_half_file(
    run_dir: Path, tmp_path: Path, ending: signal.Signals, status: int
) -> None:
    line = [sys.executable, "-m", "lora_agnews", "predict", str(run_dir), "-", "-o", str(tmp_path / "out.csv")]
    begun = subprocess.Popen(line, cwd=ROOT, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert begun.stdin is not None
    begun.stdin.write("Oil prices rise\n" * 5000)  # more than a window
    begun.stdin.flush()
    until = time.monotonic() + 60
    while not any(path.stat().st_size > 1000 for path in tmp_path.iterdir()):
        assert time.monotonic() < until
        assert begun.poll() is None, begun.stderr and begun.stderr.read()
        time.sleep(0.1)
    os.kill(begun.pid, ending)
    _, said = begun.communicate(timeout=30)
    assert begun.returncode == status
    assert ("interrupted" in said) == (ending == signal.SIGINT)
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
