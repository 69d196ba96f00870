"""The modules of the package and the scripts, parsed, and what they import."""

import ast
from functools import cache
from pathlib import Path

from tests.commands import ROOT

PACKAGE = ROOT / "lora_agnews"
SCRIPTS = [ROOT / "train.py", ROOT / "sweep.py"]
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports_of(path: Path) -> frozenset[str]:
    """The dotted names of the modules that a file imports, anywhere in it."""
    found: set[str] = set()
    known = {name_of(each) for each in MODULES}
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & known
            found |= inner or {node.module}
    return frozenset(found)
