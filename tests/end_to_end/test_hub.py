"""`python train.py` without overrides: roberta-base and AG News from a hub, from the cache, and without either."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from lora_agnews.labels import AG_NEWS
from lora_agnews.results.ranking import find_runs
from lora_agnews.results.record import RunResult
from tests.hub_commands import (
    MODEL,
    NO_WEIGHTS,
    NOWHERE,
    OTHER_DATA,
    WAYS_OUT,
    Done,
    address,
    run,
    save_repositories,
    train,
    unreachable,
)
from tests.hub_server import COMMITS, HubServer

EVALUATE = ["-m", "lora_agnews", "evaluate"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def first(model_hub: HubServer, home: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done, list[str]]:
    """Run directory, output and hub requests of the default command, which fills the cache in `home`."""
    run_dir = tmp_path_factory.mktemp("runs") / "first"
    before = len(model_hub.requests)  # of other test files, which use the same server
    done = train(home, model_hub.endpoint, run_dir, TQDM_POSITION="-1")  # bars though stderr is no terminal
    assert done.returncode == 0, done.stderr
    return run_dir, done, model_hub.requests[before:]


@pytest.fixture(scope="module")
def later(
    first: tuple[Path, Done, list[str]], model_hub: HubServer, home: Path
) -> Iterator[dict[str, tuple[Path, Done]]]:
    """Runs after the first, side by side: the same command with the hub gone, and two models that can't be had."""
    runs = first[0].parent
    with unreachable() as gone, ThreadPoolExecutor() as pool:
        again = pool.submit(train, home, address(gone), runs / "again")
        refused = pool.submit(
            train,
            home,
            model_hub.endpoint,
            runs / "refused",
            "-m",
            f"model.name={NO_WEIGHTS},{NOWHERE}",
            "model.revision=v1",
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
    assert f"hub:{AG_NEWS}@{COMMITS['main'][:12]}" in result.data["source"]


def test_downloads_show_progress(first: tuple[Path, Done, list[str]]) -> None:
    _, done, _ = first
    assert "Downloading bytes" in done.stderr
    assert "data/train-00000-of-00001.parquet: 100%" in done.stderr
    assert "Generating train split" in done.stderr


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


def of_model(sweep: Path, name: str) -> RunResult:
    (found,) = [result for _, result in find_runs([sweep]) if result.config["model"]["name"] == name]
    return found


def test_a_model_that_does_not_exist_is_named(later: dict[str, tuple[Path, Done]]) -> None:
    run_dir, done = later["refused"]
    result = of_model(run_dir, NOWHERE)
    assert done.returncode == 1
    assert result.status == "failed"
    assert f"could not fetch the model {NOWHERE}: the hub has no such repository" in str(result.error)


def test_weights_other_than_safetensors_are_refused(later: dict[str, tuple[Path, Done]], model_hub: HubServer) -> None:
    result = of_model(later["refused"][0], NO_WEIGHTS)
    assert result.status == "failed"
    assert f"{NO_WEIGHTS}@{COMMITS['v1'][:12]}: no *.safetensors weights" in str(result.error)
    assert not [request for request in model_hub.requests if request.endswith(".bin")]


def test_the_configured_revision_is_requested(later: dict[str, tuple[Path, Done]], model_hub: HubServer) -> None:
    assert f"GET /api/models/{NO_WEIGHTS}/revision/v1" in model_hub.requests
    assert of_model(later["refused"][0], NO_WEIGHTS).config["model"]["revision"] == "v1"


def test_every_refusal_is_one_message(later: dict[str, tuple[Path, Done]]) -> None:
    _, done = later["refused"]
    assert done.stdout.count("  failed: ") == 2
    assert "Traceback" not in done.stderr + done.stdout


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


def test_a_run_over_the_budget_is_refused_without_asking_the_hub(tmp_path: Path) -> None:
    with unreachable() as taken:
        done = train(tmp_path / "home", address(taken), tmp_path / "run", "model=roberta_large")
    assert done.returncode == 1
    assert "154,052 too many. Use model.head=lora" in done.stderr
    assert "hub" not in done.stderr
    result = RunResult.load(tmp_path / "run")
    assert (result.status, result.budget["trainable"]) == ("over_budget", 1_154_052)


@pytest.mark.slow
def test_a_run_on_another_data_set_is_used_later_without_the_hub(model_hub: HubServer, tmp_path: Path) -> None:
    home, run_dir = tmp_path / "home", tmp_path / "runs" / "other"
    columns = ["data.text_column=content", "data.label_column=topic"]
    done = train(home, model_hub.endpoint, run_dir, f"data.name={OTHER_DATA}", "data.revision=v1", *columns)
    assert done.returncode == 0, done.stderr
    result = RunResult.load(run_dir)
    assert result.data["source"] == f"hub:{OTHER_DATA}@{COMMITS['v1'][:12]}"
    assert (result.data["train"], result.data["val"], result.data["test"]) == (360, 40, 0)
    for name in ("config.yaml", "result.json"):
        assert str(tmp_path) not in (run_dir / name).read_text()
    labelled = tmp_path / "labelled.csv"
    labelled.write_text("headline,class\nOil prices rise,Business\n")
    with unreachable() as gone:
        file = [str(labelled), "--text-column", "headline", "--label-column", "class", "--json"]
        evaluated = run(home, address(gone), *EVALUATE, str(run_dir), *file)
        assert json.loads(evaluated.stdout)["rows"] == 1, evaluated.stderr
        no_rows = run(home, address(gone), *EVALUATE, str(run_dir))
        assert (no_rows.returncode, "the run has no test split" in no_rows.stderr) == (2, True)
        exported = run(home, address(gone), "-m", "lora_agnews", "export", str(run_dir), "-o", str(tmp_path / "out"))
        assert exported.returncode == 0, exported.stderr
        again = train(home, address(gone), tmp_path / "runs" / "again", f"data.name={OTHER_DATA}", *columns)
    assert yaml.safe_load((tmp_path / "out" / "README.md").read_text().split("---")[1])["datasets"] == [OTHER_DATA]
    assert again.returncode == 0, again.stderr
    assert RunResult.load(tmp_path / "runs" / "again").data == result.data


@pytest.mark.slow
def test_the_default_command_trains_a_model_of_the_real_size(tmp_path: Path) -> None:
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
