"""Consoles of a known width whose output can be read."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from lora_agnews.terminal import console

MakeConsole = Callable[..., io.StringIO]


@pytest.fixture
def replace_console(monkeypatch: pytest.MonkeyPatch) -> MakeConsole:
    """Replace console.out or console.err; returns what it writes to."""

    def replace(name: str = "out", terminal: bool = False, width: int = 80) -> io.StringIO:
        stream = io.StringIO()
        soft_wrap = name == "err"
        made = Console(
            file=stream, width=width, force_terminal=terminal, markup=False, soft_wrap=soft_wrap, color_system=None
        )
        monkeypatch.setattr(console, name, made)
        return stream

    return replace
