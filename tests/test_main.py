"""The commands of python -m lora_agnews: what they print, what they refuse, what they leave behind."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from lora_agnews.config.choices import ExportFormat
from lora_agnews.data import formats as files
from lora_agnews.inference import export as exporting
from lora_agnews.inference.commands import FORMATS
from tests.commands import ROOT, command, run_python
from tests.records import change_adapter


def test_the_command_names_every_format() -> None:
    assert tuple(FORMATS.split(", ")) == (*files.TABLES, *files.LINES, files.PICKLES[0])


def test_the_command_offers_every_format() -> None:
    assert {each.value for each in ExportFormat} == set(exporting.WRITERS)


pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21


BAD_USES: list[tuple[list[str], int, str]] = [
    (["predict", "RUN", "nothing.csv"], 2, "nothing.csv: no such file"),
    (["predict", "RUN", "news.docx"], 2, "unknown format"),
    (["predict", "RUN", "bad.csv"], 2, "bad.csv: row 3 has 2 columns, not 1"),
    (["predict", "RUN", "null.jsonl"], 2, "null.jsonl: row 2: the text is empty"),
    (["predict", "RUN", "news.csv", "--text-column", "headline"], 2, "no column headline; the columns are text"),
    (["predict", "RUN", "title.csv"], 2, "Another column: --text-column NAME"),
    (["predict", "RUN", "news.csv", "-o", "none/out.csv"], 2, "none/out.csv cannot be written"),
    (["predict", "RUN", "news.csv", "-o", "news.csv"], 2, "would overwrite the file with the texts"),
    (["predict", "RUN", "news.csv", "-o", "killed"], 2, "killed cannot be written (Is a directory)"),
    (["predict", "DAMAGED", "news.csv"], 2, "adapter_model.safetensors: can't be read"),
    (["predict", "NO_RECORD", "news.csv"], 2, "result.json: not a record of this version"),
    (["predict", "HEADLESS", "news.csv"], 2, "is damaged: values of the adapters or the head are missing or changed"),
    (["predict", "NAN", "news.csv"], 2, "is damaged: values of the adapters or the head are missing or changed"),
    (["predict", "RUN", "twice.csv"], 2, "twice.csv: has 2 columns text"),
    (["predict", "RUN", "wide.txt"], 2, "iconv -f utf-16 -t utf-8 wide.txt"),
    (["predict", "RUN", "deep.jsonl"], 2, "deep.jsonl: line 1 is not JSON"),
    (["predict", "RUN", "empty.txt"], 2, "empty.txt: no rows"),
    (["evaluate", "RUN", "bad.csv"], 2, "no column label"),
    (["evaluate", "RUN", "labelled.csv", "--label-column", "topic"], 2, "no column topic; the columns are text, label"),
    (["evaluate", "RUN", "--text-column", "headline"], 2, "are those of FILE; without it, leave them out"),
    (["evaluate", "RUN", "labelled.csv", "--errors", "labelled.csv"], 2, "would overwrite the labelled file"),
    (["export", "RUN", "-o", "out", "--private"], 2, "give --push-to-hub OWNER/NAME too"),
    (["evaluate", "RUN", "labelled.csv", "--errors", "none/out.csv"], 2, "none/out.csv cannot be written"),
    (["demo", "RUN", "--port", "70000"], 2, "Invalid value for '--port'"),
    (["predict", "RUN", "-", "--prior", "estimate"], 2, "reads the texts twice, so it needs a file"),
    (["predict", "RUN", "news.csv", "--prior", "equal"], 2, "Invalid value for '--prior'"),
    (["evaluate", "RUN", "--calibrate", "--checkpoint", "last"], 2, "leave out --checkpoint last"),
    (["evaluate", "NO_LAST", "--checkpoint", "last"], 2, "last.ckpt is missing"),
    (["export", "RUN", "-o", "out", "--quantize"], 2, "is for --format onnx, not for merged"),
    (["predict", "news.csv"], 2, "RUN_DIR"),
    (["predict", "HERE", "news.csv"], 2, "not a run directory (no result.json)"),
    (["predict", "KILLED", "news.csv"], 2, "its status is interrupted"),
    (["evaluate", "KILLED"], 2, "to continue it: python train.py resume="),
    (["evaluate", "RUN", "news.csv"], 2, "no column label"),
    (["export", "HERE", "-o", "out"], 2, "not a run directory"),
    (["export", "RUN"], 2, "--output"),
    (["export", "RUN", "-o", "news.csv"], 2, "is a file"),
    (["export", "RUN", "-o", "out", "--format", "torch"], 2, "Invalid value for '--format'"),
]


def test_the_version_is_shown() -> None:
    assert command("--version").stdout == f"lora_agnews {version('lora_agnews')}\n"


def test_train_and_sweep_pass_all_arguments_on_to_the_scripts() -> None:
    done = run_python("-m", "lora_agnews", "train", "--cfg", "job", "model.lora.r=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  r: 3" in done.stdout
    done = run_python("-m", "lora_agnews", "sweep", "--plan", "study=head")
    assert (done.returncode, done.stdout) == (2, "")
    assert "did you mean heads" in done.stderr


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
    broken = ("damaged", "no_record", "headless", "nan", "no_last")
    for name in broken:
        shutil.copytree(run_dir, tmp_path / name)
    change_adapter(tmp_path / "nan", lambda name, value: value * float("nan"))
    change_adapter(tmp_path / "headless", lambda name, value: None if "out_proj" in name else value)
    (tmp_path / "damaged" / "adapter" / "adapter_model.safetensors").write_bytes(b"damaged")
    (tmp_path / "no_record" / "result.json").write_text("{}")
    (tmp_path / "no_last" / "checkpoints" / "last.ckpt").unlink()
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
def test_ctrl_c_and_sigterm_leave_no_unfinished_file(
    run_dir: Path, tmp_path: Path, ending: signal.Signals, status: int
) -> None:
    line = [sys.executable, "-m", "lora_agnews", "predict", str(run_dir), "-", "-o", str(tmp_path / "out.csv")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    begun = subprocess.Popen(line, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert begun.stdin is not None
    begun.stdin.write("Oil prices rise\n" * 5000)  # more than a window
    begun.stdin.flush()
    until = time.monotonic() + 120
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


def test_the_budget_command_counts_without_training() -> None:
    done = run_python("-m", "lora_agnews", "budget", "model=tiny", "lora.r=4", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found.pop("largest_r")["all-linear"] == {"full": 50, "lora": 52, "out_proj": 54}
    assert sum(found.pop("modules").values()) == 85_252
    assert found == {
        "model": "tiny",
        "trainable": 85_252,
        "limit": 1_000_000,
        "total": 5_408_260,
        "fits": True,
        "room": 914_748,
        "max_r": 202,
        "groups": {"lora": 16_384, "lora_head": 2_048, "head": 66_820},
        "layers": {"0": 4_096, "1": 4_096, "2": 4_096, "3": 4_096, "head": 68_868},
    }


def seconds_of_children() -> float:
    """Of processors, which other tests beside this one don't change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("model", ["roberta_base", "roberta_large"])
def test_the_budget_of_hub_models_needs_no_weights_no_network_and_under_three_seconds(
    model: str, tmp_path: Path
) -> None:
    began = seconds_of_children()
    done = run_python(
        "-m", "lora_agnews", "budget", f"model={model}", HF_HOME=str(tmp_path), HF_ENDPOINT="http://127.0.0.1:9"
    )
    assert seconds_of_children() - began < 3
    assert done.returncode == {"roberta_base": 0, "roberta_large": 1}[model]
    for text in ("of the budget", "of the model", "layers", "largest r that fits", "all-linear", "out_proj"):
        assert text in done.stdout
    assert {"roberta_base": "632,068", "roberta_large": "154,052"}[model] in done.stdout
    if model == "roberta_base":
        shown = [line.rstrip() for line in done.stdout.rstrip().splitlines()]
        assert "\n".join(shown) in (ROOT / "docs" / "budget.md").read_text()


def test_the_budget_command_plans_a_space() -> None:
    space = ["model.head=full,lora", "lora.r=1,12", "lora.target_modules=[query,value],[quary]"]
    done = run_python("-m", "lora_agnews", "budget", *space)
    assert done.returncode == 0
    assert "points: 8, within the budget: 3" in done.stdout
    assert "36,036 too many" in done.stdout
    assert done.stdout.count("quary matches no Linear layer") == 1
    points = json.loads(run_python("-m", "lora_agnews", "budget", "--plan", "--json", *space).stdout)
    assert points[2]["overrides"] == {"model.head": "full", "lora.r": 12, "lora.target_modules": ["query", "value"]}
    assert [point.get("trainable") for point in points] == [630_532, None, 1_036_036, None, 41_476, None, 463_876, None]
    refused = run_python("train.py", "lora.target_modules=[quary]").stderr
    assert refused == f"error: {points[1]['error']}\n"


def test_a_plan_of_which_nothing_fits_exits_1() -> None:
    assert run_python("-m", "lora_agnews", "budget", "--plan", "model=roberta_large", "lora.r=1,2").returncode == 1


def test_a_choice_without_effect_gives_a_note() -> None:
    done = run_python("-m", "lora_agnews", "budget", "model=tiny", "model.head=out_proj", "--json")
    assert done.stderr == "note: model.head=out_proj: no adapter on classifier.dense\n"
    assert json.loads(done.stdout)["groups"] == {"lora": 4_096, "head": 1_028}


def test_a_budget_of_an_experiment_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text("# @package _global_\nlora: {r: 3}\n")
    found = command("budget", "--config-dir", tmp_path, "experiment=mine", "model=tiny", "--json")
    assert json.loads(found.stdout)["modules"]["lora query"] == 3 * 2 * 256 * 4
