"""`python train.py` as it stands: roberta-base and AG News from a hub, from the cache, and without either."""

import contextlib
import itertools
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Thread

import pyarrow
import pyarrow.parquet
import pytest
import torch
from safetensors.torch import load_file
from transformers import RobertaConfig, RobertaForMaskedLM

from lora_agnews.data.source import HUB_NAME, read_file
from lora_agnews.results.ranking import find_runs
from lora_agnews.results.record import RunResult
from tests.commands import ROOT, run_python
from tests.hub_server import COMMITS, HubServer
from tools.pretrain_tiny import train_tokenizer

MODEL = "FacebookAI/roberta-base"
PICKLED = "somebody/pickled"
NOWHERE = "nobody/nothing"
SAMPLE = ROOT / "lora_agnews" / "data" / "sample"
EVALUATE = ["-m", "lora_agnews", "evaluate"]
WAYS_OUT = ["experiment=quickstart", "model.name=/local/dir data.train_file="]
Done = subprocess.CompletedProcess[str]


def run(home: Path, endpoint: str, *arguments: str, **environment: str) -> Done:
    """A command that knows no hub but `endpoint` and no cache but `home`."""
    hub = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1"}
    return run_python(*arguments, without=("HF_",), **hub | environment)


def train(home: Path, endpoint: str, run_dir: Path, *overrides: str, **environment: str) -> Done:
    short = ["trainer.max_steps=3", "data.max_length=32", "logger.wandb=disabled"]
    where = [f"hydra.run.dir={run_dir}", f"hydra.sweep.dir={run_dir}"]
    return run(home, endpoint, "train.py", *overrides, *short, *where, **environment)


def fetch(home: Path, endpoint: str, repo: str, revision: str | None = None, **environment: str) -> Done:
    """The config of a model and no training: prints the commit."""
    code = f"from lora_agnews.hub import fetch; print(fetch({repo!r}, 'model', ['config.json'], {revision!r}).commit)"
    return run(home, endpoint, "-c", code, **environment)


def save_repositories(folder: Path, rows: int, **shape: int) -> None:
    """A RoBERTa with random weights and `rows` shipped rows of each split, as the hub has them."""
    model, data = folder / "models" / MODEL, folder / "datasets" / HUB_NAME / "data"
    data.mkdir(parents=True)
    for split in ("train", "test"):
        shipped = read_file(SAMPLE / f"{split}.csv.gz")
        table = pyarrow.table({"text": shipped.texts[:rows], "label": shipped.labels[:rows]})
        pyarrow.parquet.write_table(table, data / f"{split}-00000-of-00001.parquet")
    tokenizer = train_tokenizer(table["text"].to_pylist(), vocab_size=600)
    config = RobertaConfig(type_vocab_size=1, max_position_embeddings=514, layer_norm_eps=1e-5, **shape)
    RobertaForMaskedLM(config).save_pretrained(model)
    tokenizer.save_pretrained(model)
    (model / "README.md").write_text("not asked for")
    (model / "pytorch_model.bin").write_text("not asked for")


def unreachable() -> socket.socket:
    """A port that is taken and refuses every connection."""
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    return taken


def address(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubServer]:
    """The reference's repositories with a narrow model, and one whose weights are a pickle."""
    folder = tmp_path_factory.mktemp("hub")
    save_repositories(
        folder, 400, vocab_size=600, hidden_size=64, num_hidden_layers=2, num_attention_heads=4, intermediate_size=128
    )
    models = folder / "models"
    shutil.copytree(models / MODEL, models / PICKLED, ignore=shutil.ignore_patterns("*.safetensors"))
    with HubServer(folder) as server:
        yield server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(hub: HubServer, home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done, list[str]]:
    """The run directory of the default command, what it printed, what it asked the hub for; fills `home`."""
    run_dir = tmp_path_factory.mktemp("runs") / "first"
    done = train(home, hub.endpoint, run_dir, TQDM_POSITION="-1")  # bars though stderr is no terminal
    assert done.returncode == 0, done.stderr
    return run_dir, done, list(hub.requests)


@pytest.fixture(scope="module")
def later(first: tuple[Path, Done, list[str]], hub: HubServer, home: Path) -> Iterator[dict[str, tuple[Path, Done]]]:
    """Runs after the first, side by side: the same command with the hub gone, and two models that can't be had."""
    runs = first[0].parent
    with unreachable() as gone, ThreadPoolExecutor() as pool:
        again = pool.submit(train, home, address(gone), runs / "again")
        refused = pool.submit(
            train, home, hub.endpoint, runs / "refused", "-m", f"model.name={PICKLED},{NOWHERE}", "model.revision=v1"
        )
        evaluated = pool.submit(run, home, address(gone), *EVALUATE, str(first[0]), "--json")
        missing = pool.submit(run, runs / "empty", address(gone), *EVALUATE, str(first[0]))
        yield {
            "again": (runs / "again", again.result()),
            "refused": (runs / "refused", refused.result()),
            "evaluated": (first[0], evaluated.result()),
            "missing": (first[0], missing.result()),
        }


def test_the_default_command_trains_tests_and_records(first: tuple[Path, Done, list[str]]) -> None:
    result = RunResult.load(first[0])
    assert result.status == "finished"
    assert {"val/accuracy", "test/accuracy", "test/macro_f1"} <= set(result.metrics)
    assert (result.data["train"], result.data["val"], result.data["test"]) == (360, 40, 400)
    assert result.config["model"]["name"] == MODEL
    assert result.config["trainer"]["precision"] == "16-mixed"


def test_the_record_names_the_commits_of_model_and_data(first: tuple[Path, Done, list[str]]) -> None:
    result = RunResult.load(first[0])
    assert result.data["model"] == f"hub:{MODEL}@{COMMITS['main'][:12]}"
    assert f"hub:{HUB_NAME}@{COMMITS['main'][:12]}" in result.data["source"]


def test_downloads_show_progress(first: tuple[Path, Done, list[str]]) -> None:
    _, done, _ = first
    assert "Downloading bytes" in done.stderr
    assert "100%" in done.stderr


def test_only_what_a_run_needs_is_fetched(first: tuple[Path, Done, list[str]]) -> None:
    fetched = {Path(request).name for request in first[2] if request.startswith("GET") and "/resolve/" in request}
    parquet = {f"{split}-00000-of-00001.parquet" for split in ("train", "test")}
    assert fetched == {"config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"} | parquet


def test_a_second_run_needs_no_hub(later: dict[str, tuple[Path, Done]], first: tuple[Path, Done, list[str]]) -> None:
    run_dir, done = later["again"]
    assert done.returncode == 0, done.stderr
    again, before = RunResult.load(run_dir), RunResult.load(first[0])
    assert again.data == before.data
    assert again.metrics["test/loss"] == pytest.approx(before.metrics["test/loss"], abs=1e-5)


def test_a_finished_run_is_evaluated_without_the_hub(later: dict[str, tuple[Path, Done]]) -> None:
    run_dir, done = later["evaluated"]
    assert done.returncode == 0, done.stderr
    expected = {key: value for key, value in RunResult.load(run_dir).metrics.items() if key.startswith("test/")}
    assert json.loads(done.stdout)["metrics"] == expected


def test_a_finished_run_without_hub_and_cache_names_its_base_model(later: dict[str, tuple[Path, Done]]) -> None:
    run_dir, done = later["missing"]
    assert done.returncode == 1
    assert f"{run_dir} needs its base model: could not fetch the model {MODEL}" in done.stderr
    assert "--base FOLDER" in done.stderr
    assert "train.py" not in done.stderr
    assert "Traceback" not in done.stderr


def test_offline_mode_takes_the_cache(first: tuple[Path, Done, list[str]], hub: HubServer, home: Path) -> None:
    asked = len(hub.requests)
    done = fetch(home, hub.endpoint, MODEL, HF_HUB_OFFLINE="1")
    assert done.stdout.strip() == COMMITS["main"], done.stderr
    assert len(hub.requests) == asked


def test_offline_mode_without_a_cache_says_that_it_is_on(hub: HubServer, tmp_path: Path) -> None:
    done = fetch(tmp_path, hub.endpoint, MODEL, HF_HUB_OFFLINE="1")
    assert "OfflineModeIsEnabled" in done.stderr.splitlines()[-4]


def of_model(sweep: Path, name: str) -> RunResult:
    (found,) = [result for _, result in find_runs([sweep]) if result.config["model"]["name"] == name]
    return found


def test_a_model_that_does_not_exist_is_named(later: dict[str, tuple[Path, Done]]) -> None:
    run_dir, done = later["refused"]
    result = of_model(run_dir, NOWHERE)
    assert done.returncode == 1
    assert result.status == "failed"
    assert f"could not fetch the model {NOWHERE}: the hub has no such repository" in str(result.error)


def test_weights_other_than_safetensors_are_refused(later: dict[str, tuple[Path, Done]], hub: HubServer) -> None:
    result = of_model(later["refused"][0], PICKLED)
    assert result.status == "failed"
    assert f"{PICKLED}@{COMMITS['v1'][:12]}: no *.safetensors weights" in str(result.error)
    assert not [request for request in hub.requests if request.endswith(".bin")]


def test_the_revision_is_asked_for(later: dict[str, tuple[Path, Done]], hub: HubServer) -> None:
    assert f"GET /api/models/{PICKLED}/revision/v1" in hub.requests
    assert of_model(later["refused"][0], PICKLED).config["model"]["revision"] == "v1"


def test_every_refusal_is_one_message(later: dict[str, tuple[Path, Done]]) -> None:
    _, done = later["refused"]
    assert done.stdout.count("  failed: ") == 2
    assert "Traceback" not in done.stderr + done.stdout


def test_a_revision_that_does_not_exist_is_named(hub: HubServer, home: Path) -> None:
    done = fetch(home, hub.endpoint, MODEL, revision="v9")
    assert f"could not fetch the model {MODEL}: it has no revision v9" in done.stderr


def test_a_name_that_no_hub_could_have_is_refused(hub: HubServer, home: Path) -> None:
    done = fetch(home, hub.endpoint, "roberta base")
    assert "could not fetch the model roberta base: the hub has no such names" in done.stderr


def test_without_hub_and_cache_a_run_fails_within_ten_seconds_and_says_what_to_do(tmp_path: Path) -> None:
    with unreachable() as gone:
        began = time.monotonic()
        done = train(tmp_path / "home", address(gone), tmp_path / "run")
        seconds = time.monotonic() - began
    assert done.returncode == 1
    assert MODEL in done.stderr
    assert all(way in done.stderr for way in WAYS_OUT)
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr + done.stdout
    assert json.loads((tmp_path / "run" / "result.json").read_text())["status"] == "failed"
    assert seconds < 10


def drip(server: socket.socket) -> None:
    """Answers one connection a letter a second: no answer ever comes of it, and no read times out."""
    connection, _ = server.accept()
    with connection, contextlib.suppress(OSError):
        for letter in itertools.cycle(b"HTTP"):
            connection.send(bytes([letter]))
            time.sleep(1)


def test_a_hub_that_never_comes_to_an_answer_counts_as_unreachable(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,  # takes connections and stays quiet
        socket.create_server(("127.0.0.1", 0)) as slow,
        ThreadPoolExecutor() as pool,
    ):
        Thread(target=drip, args=[slow], daemon=True).start()
        asked = [pool.submit(fetch, tmp_path, address(server), MODEL) for server in (silent, slow)]
        answers = [done.result().stderr for done in asked]
    assert time.monotonic() - began < 10
    for stderr in answers:
        assert "the hub can't be reached" in stderr
        assert all(way in stderr for way in WAYS_OUT)


def test_a_run_over_the_budget_is_refused_without_asking_the_hub(tmp_path: Path) -> None:
    with unreachable() as taken:
        done = train(tmp_path / "home", address(taken), tmp_path / "run", "model=roberta_large")
    assert done.returncode == 1
    assert "154,052 too many. Use model.head=lora" in done.stderr
    assert "hub" not in done.stderr
    result = RunResult.load(tmp_path / "run")
    assert (result.status, result.budget["trainable"]) == ("over_budget", 1_154_052)


@pytest.mark.slow
def test_the_default_command_trains_a_model_of_the_true_shape(tmp_path: Path) -> None:
    save_repositories(
        tmp_path / "hub",
        200,
        vocab_size=50265,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
    )
    with HubServer(tmp_path / "hub") as server:
        done = train(tmp_path / "home", server.endpoint, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    result = RunResult.load(tmp_path / "run")
    assert result.status == "finished"
    assert result.budget["groups"] == {"lora": 36_864, "lora_head": 1_536, "head": 593_668}
    assert result.budget["trainable"] == 632_068
    assert result.data["model"] == f"hub:{MODEL}@{COMMITS['main'][:12]}"
    trained = torch.load(tmp_path / "run" / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    saved = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert sum(value.numel() for value in saved.values()) == 632_068
    trained = {name.removeprefix("model.").replace(".default.", "."): value for name, value in trained.items()}
    assert set(saved) == set(trained)
    assert all(torch.equal(saved[name], value) for name, value in trained.items())
