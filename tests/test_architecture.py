"""The structure of the package: who imports whom, how long files are, which library is used where, clean code."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.commands import ROOT
from tests.sources import MODULES, PACKAGE, SCRIPTS, imports_of, name_of, tree_of

MAY_IMPORT = {  # unit -> units that it may import, from the lowest to the highest
    "errors": "",
    "labels": "",
    "budget": "errors",
    "files": "errors",
    "hub": "errors",
    "config": "errors labels budget files",
    "results": "errors labels budget files config",
    "terminal": "errors labels budget config results",
    "data": "errors labels files hub terminal",
    "model": "errors labels budget hub config",
    "training": "errors labels budget files config results terminal data model",
    "sweeps": "errors budget files config results terminal model training",
    "inference": "errors labels files hub config results terminal data model training",
    "__init__": "results training inference",
    "__main__": "budget files config results terminal data model inference",
    "train": "config results terminal training sweeps",
    "sweep": "config terminal sweeps",
}
MOST_UNITS, MOST_EDGES, MOST_LINES = 18, 70, 250
ONE_RUN = ["conf/train.yaml", "train.py", *(f"lora_agnews/training/{name}.py" for name in ("run", "fit", "task"))]
LIBRARIES = {  # library -> the only units that may import it
    "peft": "model",
    "wandb": "training",
    "hydra": "config sweeps train",
    "optuna": "sweeps",
    "sqlalchemy": "sweeps",
    "pyarrow": "data",
    "datasets": "data",
    "matplotlib": "results",
    "huggingface_hub": "hub",
    "gradio": "inference",
    "onnxruntime": "inference",
    "ray": "inference",
}
ENTRY_POINTS = {  # tested under other names
    "__init__": "inference/test_classifier.py",
    "__main__": "test_main.py",
    "commands": "test_main.py",
}


def unit_of(path: Path) -> str:
    """The module directly in lora_agnews/ or the subpackage that a file belongs to; train and sweep for the scripts."""
    return (path.relative_to(PACKAGE).parts[0] if path.is_relative_to(PACKAGE) else path.name).removesuffix(".py")


def units_imported_by(path: Path) -> set[str]:
    inner = {name.split(".")[1] for name in imports_of(path) if name.startswith("lora_agnews.")}
    return inner - {unit_of(path)}


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_from_higher_units_to_lower_ones(path: Path) -> None:
    assert units_imported_by(path) <= set(MAY_IMPORT[unit_of(path)].split())


def test_the_table_of_imports_has_no_cycle_and_nothing_that_is_unused() -> None:
    order = list(MAY_IMPORT)
    used: dict[str, set[str]] = {unit: set() for unit in order}
    for path in [*SCRIPTS, *MODULES]:
        used[unit_of(path)] |= units_imported_by(path)
    assert {unit: set(allowed.split()) for unit, allowed in MAY_IMPORT.items()} == used
    for unit, allowed in MAY_IMPORT.items():
        assert all(order.index(lower) < order.index(unit) for lower in allowed.split()), unit


def test_the_units_and_the_imports_between_them_stay_few() -> None:
    paths = [path for path in [*SCRIPTS, *MODULES] if unit_of(path) != "__init__"]  # which only names what users call
    edges = {(unit_of(path), other) for path in paths for other in units_imported_by(path)}
    assert len({unit_of(path) for path in [*SCRIPTS, *MODULES]}) <= MOST_UNITS
    assert len(edges) <= MOST_EDGES


@pytest.mark.parametrize("folder", sorted(path.parent.name for path in PACKAGE.glob("*/__init__.py")))
def test_no_modules_of_a_subpackage_import_each_other_in_a_cycle(folder: str) -> None:
    imports = {name_of(path): imports_of(path) for path in (PACKAGE / folder).glob("*.py")}

    def paths_from(module: str, before: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
        for other in imports.get(module, frozenset()) & imports.keys():
            if other in before:
                yield (*before, other)
            else:
                yield from paths_from(other, (*before, other))

    assert [path for module in imports for path in paths_from(module, (module,))] == []


@pytest.mark.parametrize("path", [*SCRIPTS, *MODULES], ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_one_run_is_explained_by_five_short_files() -> None:
    assert sum(len((ROOT / name).read_text(encoding="utf-8").splitlines()) for name in ONE_RUN) <= 500


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_is_imported_by_few_units(library: str) -> None:
    users = {
        unit_of(path)
        for path in [*SCRIPTS, *MODULES]
        if any(name.split(".")[0] == library for name in imports_of(path))
    }
    assert users == set(LIBRARIES[library].split())


def test_only_the_console_prints() -> None:
    """`output_stream` in files/atomic.py may hand out standard output, and the commands may flush it."""
    printing = {"print", "print_exc", "print_exception", "sys.stdout.write", "sys.stderr.write"}
    found = set()
    for path in [*SCRIPTS, *MODULES]:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                if name in printing or name.startswith("traceback.print"):
                    found.add(str(path.relative_to(PACKAGE)))
    assert found == {"terminal/console.py"}


def test_the_scripts_have_no_state_of_their_own_and_nothing_edits_the_command_line() -> None:
    for path in SCRIPTS:
        kinds = {type(node) for node in tree_of(path).body}
        assert kinds <= {ast.Expr, ast.Import, ast.ImportFrom, ast.FunctionDef, ast.If}, path
    for path in [*SCRIPTS, *(path for path in MODULES if path.name != "__main__.py")]:  # it starts the scripts
        for node in ast.walk(tree_of(path)):
            targets = node.targets if isinstance(node, ast.Assign) else []
            called = [node.func.value] if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else []
            for each in [*targets, *called]:
                inner = each.value if isinstance(each, ast.Subscript) else each
                assert ast.unparse(inner) != "sys.argv", f"{path}:{node.lineno}"


def test_no_values_hide_as_defaults_in_the_config_classes() -> None:
    fields = [
        node
        for name in ("schema.py", "sections.py", "study.py")
        for outer in tree_of(PACKAGE / "config" / name).body
        if isinstance(outer, ast.ClassDef)
        for node in outer.body
        if isinstance(node, ast.AnnAssign)
    ]
    assert len(fields) > 50
    for node in fields:
        assert isinstance(node.value, ast.Call), ast.unparse(node)
        assert ast.unparse(node.value.func) == "rule", ast.unparse(node)
        assert "default" not in {keyword.arg for keyword in node.value.keywords}, ast.unparse(node)


def test_yaml_is_not_a_program() -> None:
    """`_target_` is only for Hydra's own callbacks."""
    for path in sorted((ROOT / "conf").rglob("*.yaml")):
        section, targets = "", []
        for line in path.read_text(encoding="utf-8").splitlines():
            if line and not line.startswith((" ", "#")):
                section = line
            if "_target_" in line:
                targets.append(section)
        assert targets == (["callbacks:"] if path.name == "hydra_settings.yaml" else []), path


@pytest.mark.parametrize(
    "path", [path for path in MODULES if path.parent == PACKAGE or path.stem != "__init__"], ids=name_of
)
def test_every_module_has_a_test_file_with_the_same_place_and_name(path: Path) -> None:
    inside = path.relative_to(PACKAGE)
    expected = ENTRY_POINTS.get(path.stem, str(inside.with_name(f"test_{path.name}")))
    file = ROOT / "tests" / expected
    assert file.is_file()
    tests = [node for node in tree_of(file).body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    assert tests


@pytest.mark.parametrize(
    "command",
    [["ruff", "check", "."], ["ruff", "format", "--check", "."], pytest.param(["mypy"], marks=pytest.mark.slow)],
    ids=" ".join,
)
def test_the_code_is_clean(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
