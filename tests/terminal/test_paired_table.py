"""The table of `compare --paired` names each configuration once and fits a terminal."""

from pathlib import Path

from lora_agnews.results.comparison import compare_with_best
from lora_agnews.terminal.paired_table import show_paired
from tests.records import ranked, save_scored
from tests.terminal.conftest import MakeConsole


def test_each_configuration_has_its_difference_interval_and_p_values(
    tmp_path: Path, replace_console: MakeConsole
) -> None:
    for r in (1, 2, 4):
        save_scored(tmp_path / str(r), [row < 6 + r for row in range(20)], f"lora.r={r}")
    stream = replace_console()
    show_paired(compare_with_best(ranked(tmp_path)))
    lines = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert lines[:2] == ["beside r=4", "run rows difference p by seed"]
    assert [line.split(" ")[:3] for line in lines[2:4]] == [
        ["r=2", "val", "-0.1000"],
        ["r=1", "val", "-0.1500"],
    ]
    assert lines[2].endswith("0: 0.5")
    assert "exact McNemar test of each seed" in lines[-1]
