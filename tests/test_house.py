"""The house keeps its order: who may import whom, every shipped value once, clean code."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lora_agnews.config.compose import compose_config
from lora_agnews.config.rules import config_keys, describe_allowed, to_override
from tests.commands import ROOT

PACKAGE = ROOT / "lora_agnews"
LAYERS = {  # module or package of ours -> what it may import of ours
    "config": {"budget"},
    "budget": set(),
    "result": set(),
    "hub": set(),
    "keys": {"config"},
    "launch": {"config", "keys", "result"},
    "estimate": {"config"},
    "scores": {"config"},
    "figures": {"config", "tracking"},
    "inference": {"config", "data", "hub", "launch", "model", "result"},
    "evaluation": {"config", "console", "data", "estimate", "figures", "inference", "result", "scores"},
    "submission": {"config", "data", "scores"},
    "output": {"config", "result"},
    "export": {"config", "data", "inference", "model", "result"},
    "demo": {"config", "console", "inference"},
    "lock": {"config"},
    "ranking": {"config", "lock", "result"},
    "report": {"budget", "config", "keys", "launch", "ranking", "result"},
    "sweep": {
        "budget",
        "config",
        "console",
        "experiment",
        "launch",
        "lock",
        "plan",
        "ranking",
        "report",
        "result",
        "sweep",
        "tracking",
    },
    "resume": {"config", "keys", "launch", "lock"},
    "data": {"config", "console", "hub", "data"},
    "model": {"config", "budget", "hub", "model"},
    "console": {"budget", "config", "estimate", "ranking", "result"},
    "task": {"budget", "scores"},
    "tracking": {"console", "result"},
    "checkpoint": {"config", "console", "task"},
    "training": {"config", "budget", "checkpoint", "console", "data", "figures", "model", "result", "task", "tracking"},
    "experiment": {"config", "budget", "console", "hub", "lock", "model", "plan", "result", "training"},
    "plan": {"config", "budget", "model"},
    "__main__": {
        "budget",
        "config",
        "console",
        "data",
        "demo",
        "evaluation",
        "export",
        "hub",
        "inference",
        "launch",
        "output",
        "plan",
        "ranking",
        "report",
        "submission",
    },
    "__init__": {"inference"},
}
ONE_IMPORTER = {  # a library -> the only places that may import it
    "peft": {"model"},
    "pyarrow": {"data"},
    "wandb": {"tracking"},
    "hydra": {"launch"},
    "optuna": {"sweep"},
    "plotly": {"report"},
    "huggingface_hub": {"hub"},
    "matplotlib": {"figures"},
    "gradio": {"demo"},
    "onnxruntime": {"export"},
}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Dotted names a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} if node.module != "lora_agnews" else {f"lora_agnews.{a.name}" for a in node.names}
    return found


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_dependencies_point_one_way(path: Path) -> None:
    ours = {name.split(".")[1] for name in imports(path) if name.startswith("lora_agnews.")}
    assert ours <= LAYERS[room(path)]


@pytest.mark.parametrize("library", ONE_IMPORTER)
def test_a_library_has_one_importing_room(library: str) -> None:
    users = {room(path) for path in FILES if any(name.split(".")[0] == library for name in imports(path))}
    assert users <= ONE_IMPORTER[library]


def test_no_values_hide_as_defaults_in_the_config_classes() -> None:
    for node in ast.walk(ast.parse((PACKAGE / "config.py").read_text())):
        if isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.value, ast.Call):
            assert ast.unparse(node.value.func) == "rule"


def test_yaml_is_not_a_program() -> None:
    for path in (ROOT / "conf").rglob("*.yaml"):
        assert "_target_" not in path.read_text(), path


def test_one_run_is_four_short_files() -> None:
    reading = ["conf/train.yaml", "train.py", "lora_agnews/experiment.py", "lora_agnews/training.py"]
    assert sum(len((ROOT / name).read_text().splitlines()) for name in reading) < 500


@pytest.mark.parametrize(
    "command", [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]], ids=" ".join
)
def test_the_code_is_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_the_readme_tells_every_key_with_its_default_and_rule() -> None:
    readme = (ROOT / "README.md").read_text()
    for key, spec, value in config_keys(compose_config([])):
        row = f"| `{key}` | `{to_override(value)}` | {spec.metadata['meaning']} | {describe_allowed(spec)} |"
        assert row in readme, row


def test_the_readmes_files_exist() -> None:
    for link in re.findall(r"\]\(([\w./-]+)\)", (ROOT / "README.md").read_text()):
        assert (ROOT / link).exists(), link
