"""Every distribution that is imported is declared in pyproject.toml, and only extras need more."""

import re
import sys
import tomllib
from importlib.metadata import packages_distributions

import pytest

from tests.commands import ROOT
from tests.sources import imports_of

INSTALLED = packages_distributions()  # import name -> distributions
OTHER_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow"}  # of those that need not be installed


def distributions_in(*folders: str) -> dict[str, set[str]]:
    """Import name -> files, for everything that is neither Python's own nor this repository's."""
    found: dict[str, set[str]] = {}
    own = {"lora_agnews", "tests", "tools", "benchmarks", "train", "sweep", "conftest"}
    for folder in folders:
        path = ROOT / folder
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            siblings = {each.stem for each in file.parent.glob("*.py")}
            for name in {name.split(".")[0] for name in imports_of(file)} - own - siblings:
                if name not in sys.stdlib_module_names:
                    found.setdefault(name, set()).add(str(file.relative_to(ROOT)))
    return found


def declared(*extras: str) -> set[str]:
    """The distributions that pyproject.toml asks for, those of the extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = [*project["dependencies"], *(line for extra in extras for line in project["optional-dependencies"][extra])]
    return {normal(re.match(r"[\w.-]+", line)[0]) for line in lines}  # type: ignore[index]


def distributions_of(import_name: str) -> set[str]:
    return {normal(each) for each in INSTALLED.get(import_name, [OTHER_NAMES.get(import_name, import_name)])}


def normal(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


@pytest.mark.parametrize(
    ("folders", "extras"),
    [
        (("lora_agnews", "train.py", "sweep.py"), ("onnx", "demo", "ray")),
        (("tests",), ("test", "tensorboard", "demo", "pretrain")),
        (("tools", "benchmarks"), ("test", "pictures", "pretrain")),
    ],
    ids=str,
)
def test_every_imported_distribution_is_declared(folders: tuple[str, ...], extras: tuple[str, ...]) -> None:
    asked = declared(*extras)
    missing = {
        name: sorted(files) for name, files in distributions_in(*folders).items() if not distributions_of(name) & asked
    }
    assert missing == {}


def test_only_the_demo_the_export_and_the_pool_need_extras() -> None:
    asked = declared()
    extra = {
        file
        for name, files in distributions_in("lora_agnews", "train.py", "sweep.py").items()
        if not distributions_of(name) & asked
        for file in files
    }
    assert extra == {f"lora_agnews/inference/{name}.py" for name in ("demo", "onnx_file", "ray_pool")}
