"""The documentation: its commands run, its links lead somewhere, its tables are up to date, and the README is short."""

import importlib.util
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from lora_agnews import __version__
from lora_agnews.__main__ import app
from lora_agnews.config.command_line import check_command_line
from lora_agnews.config.compose import compose_study
from lora_agnews.config.keys import STUDIES
from lora_agnews.config.study import StudyConfig
from lora_agnews.sweeps.space import parse_space
from tests.commands import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").glob("*.md")]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
# not tested here
OTHER_PROGRAMS = {"pip", "git", "cd", "ruff", "mypy", "pre-commit", "wandb", "tensorboard", "optuna-dashboard"}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command in the bash blocks of a page."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            for command in line.lstrip("!%").split("&&"):
                words = shlex.split(command, comments=True)
                if words:
                    yield words


def module_of(path: str) -> Any:
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def places(finished: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The files and directories that the commands name, in the current directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("run", "run2", "runs/mine/run", "runs/study-rank/run", "runs/stopped"):
        shutil.copytree(finished[0], name, ignore=shutil.ignore_patterns("wandb"))
    record = json.loads(Path("runs/mine/run/result.json").read_text())
    record["config"]["optim"]["lr"] = 0.1  # another configuration, beside which the first one can be compared
    Path("runs/mine/run/result.json").write_text(json.dumps(record))
    record = json.loads(Path("runs/stopped/result.json").read_text())
    Path("runs/stopped/result.json").write_text(json.dumps(record | {"status": "interrupted"}))
    shutil.copy("run/checkpoints/last.ckpt", "run/checkpoints/previous.ckpt")  # which a run of six steps does not have
    texts = ["Oil prices rise", "The champions draw", "A new telescope", "Parliament votes"]
    shutil.copy(ROOT / "tests" / "pickles" / "datasets-3.5.pkl", "test_unlabelled.pkl")
    Path("news.txt").write_text("\n".join(texts))
    Path("news.csv").write_text("text\n" + "\n".join(texts))
    Path("news.jsonl").write_text("\n".join(json.dumps({"headline": text}) for text in texts))
    Path("labelled.csv").write_text("text,label\n" + "\n".join(f"{text},{i}" for i, text in enumerate(texts)))
    return {"RUN_DIR": str(tmp_path / "run"), "RUN_DIR2": str(tmp_path / "run2")}


def run_command(words: list[str]) -> None:
    """Run a command of `python -m lora_agnews`. A server, an upload, ONNX and Ray have tests of their own."""
    if {"demo", "onnx", "ray", "--push-to-hub"} & set(words):
        return
    stdin = Path(words[words.index("<") + 1]).read_bytes() if "<" in words else None
    words = words[: words.index("<")] if "<" in words else words
    done = CliRunner().invoke(app, words, input=stdin)
    assert done.exit_code == 0, (words, done.output)


def check_train(words: list[str]) -> None:
    """Check a command of train.py. Launchers that are not installed are left out."""
    launcher = "ray" if "hydra/launcher=ray" in words else "submitit"
    if not list(distributions(name=f"hydra-{launcher}-launcher")):
        words = [word for word in words if not re.match(r"\+?hydra[/.]launcher", word)]
    check_command_line(words)


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_of_the_documentation_runs_or_is_valid(page: Path, places: dict[str, str]) -> None:
    for words in commands(page):
        words = [re.sub(r"RUN_DIR2?", lambda found: places[found[0]], word) for word in words]
        match words:
            case (
                ["python", "train.py", *arguments]
                | ["srun", _, "python", "train.py", *arguments]
                | ["srun", _, _, "python", "train.py", *arguments]
                | ["torchrun", _, "train.py", *arguments]
            ):
                check_train(arguments)
            case ["python", "sweep.py", *arguments]:
                compose_study([word for word in arguments if word != "--plan"])
            case ["python", "-m", "lora_agnews", *arguments]:
                if page.name != "inference.md":  # below
                    run_command(arguments)
            case ["lora-agnews", "train", *arguments]:
                check_train(arguments)
            case ["python", "-m", module, *_]:
                assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module
            case ["python", script, *_]:
                assert (ROOT / script).is_file(), script
            case ["pytest", *arguments]:
                paths = [word for word in arguments if word.startswith("tests/")]
                assert all((ROOT / path).exists() for path in paths), paths
            case [program, *_]:
                assert program in OTHER_PROGRAMS, words


def test_the_commands_of_the_inference_page_leave_what_they_promise(places: dict[str, str]) -> None:
    for words in commands(ROOT / "docs" / "inference.md"):
        if words[:3] == ["python", "-m", "lora_agnews"]:
            run_command([places.get(word, word) for word in words[3:]])
    for path in ("submission.csv", "labels.csv", "missed.csv", "news-classifier/README.md", "news-adapter/README.md"):
        assert Path(path).stat().st_size > 10, path


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_python_block_of_the_documentation_runs(page: Path, places: dict[str, str]) -> None:
    for block in blocks(page, "python"):
        short = block.replace('"experiment=quickstart"', '"experiment=quickstart", "trainer.max_steps=6"')
        exec(short.replace("RUN_DIR", places["RUN_DIR"]), {})


def test_the_study_of_the_documentation_is_valid() -> None:
    (block,) = blocks(ROOT / "docs" / "sweeps.md", "yaml")
    values = yaml.safe_load(block)
    assert len(parse_space(values["space"])) == 3
    StudyConfig(overrides=[], workers=1, storage=None, dir=None, **values)


def test_the_budget_page_shows_what_the_command_prints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    (shown,) = (block for block in blocks(ROOT / "docs" / "budget.md", "") if block.startswith("$ "))
    printed = CliRunner().invoke(app, ["budget"]).stdout
    lines = [line.rstrip() for line in printed.splitlines()]
    assert [line.rstrip() for line in shown.splitlines()[1:]] == lines[: len(shown.splitlines()) - 1]


def test_the_configuration_page_is_up_to_date() -> None:
    page = module_of("tools/configuration.py").page()
    assert (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8") == page, "run tools/configuration.py"


def test_the_sweeps_page_names_every_study() -> None:
    text = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
    assert [study for study in STUDIES if f"`{study}`" not in text] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_of_the_documentation_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_file_map_names_every_module_of_the_package() -> None:
    page = (ROOT / "docs" / "development.md").read_text(encoding="utf-8")
    file_map = page.split("## File map")[1].split("## ")[0]
    package = ROOT / "lora_agnews"
    stems = {path.stem for path in package.rglob("*.py")} - {"__init__"}
    assert [stem for stem in sorted(stems) if not re.search(rf"\b{stem}\b", file_map)] == []
    listed = re.findall(r"^  (\w+(?:/|\.py)) ", file_map, re.MULTILINE)
    assert [name for name in listed if not (package / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_path_in_the_documentation_exists(page: Path) -> None:
    paths = re.findall(r"`((?:tests|tools|conf|lora_agnews|benchmarks)/[\w./]+)`", page.read_text(encoding="utf-8"))
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_the_readme_is_a_front_page() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.encode()) < 8 * 1024
    assert [line for line in text.splitlines() if len(line) >= 100] == []


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_no_page_claims_that_the_default_tests_are_all_tests(page: Path) -> None:
    assert not re.search(r"(whole|full|entire|all) (the )?(test )?(suite|tests)\b", page.read_text(encoding="utf-8"))


def test_the_workflow_and_the_citation_are_valid_yaml() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text())
    assert set(workflow["jobs"]) == {"linux", "other-systems"}
    assert yaml.safe_load((ROOT / "CITATION.cff").read_text())["version"] == __version__
