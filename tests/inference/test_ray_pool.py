"""A pool of Ray actors: what each worker gets, the same labels as one process, and an actor that is killed."""

import csv
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
from pyarrow import parquet

from lora_agnews.data.source import Source, load_test_rows
from lora_agnews.errors import UserError
from lora_agnews.inference.ray_pool import share_of
from tests.commands import ROOT, command, run_python

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing:FutureWarning")  # peft 0.21

ONE_NODE, TWO_NODES, WITH_GPUS = [{"CPU": 8.0}], [{"CPU": 8.0}, {"CPU": 8.0}], [{"CPU": 8.0, "GPU": 2.0}, {"CPU": 4.0}]


@pytest.mark.parametrize(
    ("nodes", "workers", "number", "reserved"),
    [
        (ONE_NODE, None, 1, {"num_cpus": 8}),
        (ONE_NODE, 3, 3, {"num_cpus": 2}),
        (TWO_NODES, 3, 3, {"num_cpus": 4}),  # 16 // 3 = 5 would fit only twice
        (WITH_GPUS, None, 2, {"num_gpus": 1, "num_cpus": 1}),
        (WITH_GPUS, 1, 1, {"num_gpus": 1, "num_cpus": 1}),
    ],
)
def test_workers_share_the_cores_or_have_a_gpu_each(
    nodes: list[dict[str, float]], workers: int | None, number: int, reserved: dict[str, int]
) -> None:
    assert share_of(nodes, workers) == (number, reserved)


def test_more_workers_than_cores_or_gpus_are_refused() -> None:
    with pytest.raises(UserError, match="--workers=9: each takes a core, and Ray has 8"):
        share_of(ONE_NODE, 9)
    with pytest.raises(UserError, match="--workers=3: each takes a GPU, and Ray has 2"):
        share_of(WITH_GPUS, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["news.parquet", "--engine", "ray"], "name a directory with -o"),
        (["news.parquet", "--workers", "2"], "--workers: is for --engine ray"),
        (["news.parquet", "--engine", "spark", "-o", "out"], "Invalid value for '--engine'"),
        (["none.parquet", "--engine", "ray", "-o", "out"], "none.parquet: no file matches"),
    ],
)
def test_a_wrong_use_is_one_message(run_dir: Path, options: list[str], message: str) -> None:
    done = command("predict", run_dir, *options)
    assert (done.exit_code, message in done.stderr.replace("\n", " ")) == (2, True), done.stderr
    assert not Path("out").exists()


def test_without_ray_the_message_says_how_to_install_it(
    run_dir: Path, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = command("predict", run_dir, news / "*.parquet", "--engine", "ray", "-o", tmp_path / "out")
    assert done.exit_code == 1
    assert 'pip install -e ".[ray]"' in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def texts() -> list[str]:
    rows = load_test_rows(Source("sample"))
    assert rows is not None
    return rows.texts


@pytest.fixture
def news(texts: list[str], tmp_path: Path) -> Path:
    """Twelve files of 80 texts."""
    (tmp_path / "news").mkdir()
    for i in range(12):
        few = {"text": texts[80 * i : 80 * i + 80], "ID": list(range(80 * i, 80 * i + 80))}
        parquet.write_table(pa.table(few), tmp_path / "news" / f"{i:02}.parquet")
    return tmp_path / "news"


@pytest.mark.slow
def test_each_row_is_written_once_with_the_same_label_although_an_actor_is_killed(
    run_dir: Path, texts: list[str], news: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    (tmp_path / "all.txt").write_text("".join(text.replace("\n", " ") + "\n" for text in texts[:960]))
    command("predict", run_dir, tmp_path / "all.txt", "-o", tmp_path / "one.csv")
    line = ["predict", str(run_dir), str(news / "*.parquet"), "-o", str(tmp_path / "out")]
    line = [sys.executable, "-m", "lora_agnews", *line, "--engine", "ray", "--workers", "2"]
    environment = os.environ | {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    begun = subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while not list((tmp_path / "out").glob("*.parquet")):
        assert begun.poll() is None, begun.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)
    children = psutil.Process(begun.pid).children(recursive=True)
    actors = [each for each in children if "ray::MapWorker" in " ".join(each.cmdline())]
    assert len(actors) == 2
    actors[0].kill()
    said, errors = begun.communicate(timeout=300)
    assert begun.returncode == 0, errors
    assert "out: files written: 12, rows: 960" in said
    with (tmp_path / "one.csv").open(newline="") as stream:
        expected = {int(row["ID"]): int(row["Label"]) for row in csv.DictReader(stream)}
    tables = [parquet.read_table(path) for path in sorted((tmp_path / "out").glob("*.parquet"))]
    ids = [i for each in tables for i in each["ID"].to_pylist()]
    assert ids == list(range(960))
    assert [label for each in tables for label in each["Label"].to_pylist()] == [expected[i] for i in ids]


@pytest.mark.slow
def test_a_cluster_that_is_not_there_is_one_message(
    run_dir: Path, news: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    done = command("predict", run_dir, news / "*.parquet", "--engine", "ray", "-o", tmp_path / "out")
    assert done.exit_code == 1, done.output
    assert "Ray can't be started or reached (RAY_ADDRESS=nowhere)" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_restart_classifies_what_is_missing_and_bad_files_do_not_stop_the_others(
    run_dir: Path, news: Path, tmp_path: Path
) -> None:
    pytest.importorskip("ray")
    for path in sorted(news.iterdir())[3:]:
        path.unlink()
    parquet.write_table(pa.table({"text": ["fine", " "]}), news / "blank.parquet")
    line = ["-m", "lora_agnews", "predict", str(run_dir), str(news / "*.parquet"), "-o", str(tmp_path / "out")]
    line += ["--engine", "ray"]
    done = run_python(*line, limit=900, HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert "out: files written: 4, rows: 242" in done.stdout
    parquet.write_table(pa.table({"text": ["fine", None]}), news / "null.parquet")
    (tmp_path / "out" / "01.parquet").unlink()
    before = (tmp_path / "out" / "02.parquet").stat().st_mtime_ns
    done = run_python(*line, limit=900, HOME=str(tmp_path))
    assert done.returncode == 2
    assert "null.parquet: row 2: the text is empty (null)\nThe other files are classified: 1" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == ["00", "01", "02", "blank"]
    assert (tmp_path / "out" / "02.parquet").stat().st_mtime_ns == before
