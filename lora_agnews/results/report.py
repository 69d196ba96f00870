"""Many runs on one self-contained page: leaderboard, Pareto front, what varied, curves, and commands to repeat them."""

import base64
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from functools import cache
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from lora_agnews.config.compose import compose_config
from lora_agnews.config.messages import quote
from lora_agnews.config.rules import config_keys, to_override
from lora_agnews.config.scripts import TRAIN
from lora_agnews.errors import UserError
from lora_agnews.files.atomic import write_atomically
from lora_agnews.labels import LABELS
from lora_agnews.results import plots
from lora_agnews.results.comparison import EXPLANATION, compare
from lora_agnews.results.cost import cost_of
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.plots import escape, to_html
from lora_agnews.results.ranking import tie_rule
from lora_agnews.results.record import RunResult
from lora_agnews.results.row import Row, best_row

MAX_KEY_COLUMNS = 4  # with more keys that vary, all of them share one column of the leaderboard
MOST_CURVES = 10  # configurations in the learning curves, the best ones
FOLDER = files("lora_agnews.results")
PAGE = Template((FOLDER / "report.html").read_text(encoding="utf-8"))
PLOTLY = FOLDER / "plotly" / "plotly-gl2d.min.js.gz"


def write_report(rows: Sequence[Row], path: Path, title: str) -> None:
    """Write the page, complete or not at all. `rows` are at least one row of `rank`, best first."""
    counted = [row for row in rows if row.n]
    runs = sum(len(row.runs) for row in rows)
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>Configurations: {len(rows)}, runs: {runs}, {date.today().isoformat()}.</p>",
    ]
    parts += [_section("Leaderboard", _leaderboard(rows), f"{_verdict(counted)} Cost: {cost_of(rows)}.")]
    if counted:
        note = (
            "A dot is a configuration, its bar the standard deviation over seeds. A red one is on the Pareto front: "
            "no configuration with fewer parameters has as high a mean."
        )
        parts.append(
            _section("Accuracy against trained parameters", to_html(plots.accuracy_by_parameters(counted)), note)
        )
        if len(counted) > 1 and counted[0].values:
            note = (
                f"Each line is a configuration, from blue (lowest {MONITOR.label}) to orange (highest). Drag along an "
                "axis to show only the lines through that range."
            )
            figure = to_html(plots.parallel_coordinates(counted))
            parts.append(_section("What varied", _scrolling(figure, len(counted[0].values)), note))
            note = (
                "Blue: mean and standard deviation over all runs with that value, whatever their other values. Grey: "
                "single runs."
            )
            parts.append(_section("Effect of each value", _effects(counted), note))
        parts += _beside_best(counted)
        shown = min(len(counted), MOST_CURVES)
        note = "Every run." if shown == len(counted) else f"Every run of the best {shown} configurations."
        best = counted[:MOST_CURVES]
        parts.append(_section("Learning curves", to_html(plots.learning_curves(best)) + _legend(best), note))
        confusion = counted[0].best[1].confusion
        if confusion:
            split = "test" if "test/accuracy" in counted[0].best[1].metrics else "validation"
            run = counted[0].best[0].name
            note = f"The best seed of the best configuration, {run}, on its {split} rows. Shares are of the true class."
            parts.append(_section("Confusion matrix of the best run", _confusion(confusion), escape(note)))
    parts.append(_section("Run it again", _commands(rows), "Each command gives the same numbers on the same machine."))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, fill_page(title, "\n".join(parts)))


def fill_page(title: str, body: str) -> str:
    """Return a page with this HTML as its body, and the script that draws the figures in it."""
    return PAGE.substitute(title=escape(title), plotly=base64.b64encode(PLOTLY.read_bytes()).decode(), body=body)


def command_of(result: RunResult) -> str:
    """Return the command that repeats the run: every value that differs from the defaults of train.py."""
    words = []
    for key, value in _defaults().items():
        found: Any = result.config
        for part in key.split("."):
            found = found.get(part, value) if isinstance(found, dict) else value
        if found != value and key not in ("resume", "logger.group"):
            plain = not isinstance(found, str) or re.fullmatch(r"[\w./-]+", found)
            words.append(shlex.quote(f"{key}={to_override(found) if plain else quote(found)}"))
    return " ".join([TRAIN, *words])


@cache
def _defaults() -> dict[str, Any]:
    """Return the defaults of train.py. Composing them takes 0.07 s, which 500 runs need not wait for each."""
    return {key: value for key, _, value in config_keys(compose_config([]))}


def _section(title: str, content: str, note: str) -> str:
    return f"<section><h2>{title}</h2>\n<p>{note}</p>\n{content}\n</section>"


def _verdict(counted: Sequence[Row]) -> str:
    if not counted:
        return "No run has finished."
    best, tied = counted[0], sum(row.tied for row in counted)
    ties = f" “=” marks {tied} {tie_rule(counted)}." if tied else ""
    seeds = " Mean ± standard deviation over seeds; “best” is the best single seed." if best.n > 1 else ""
    return f"Ranked by {MONITOR.label}, never by test accuracy. Best: {escape(best.name)}.{ties}{seeds}"


def _leaderboard(rows: Sequence[Row]) -> str:
    keys = list(rows[0].values) if 0 < len(rows[0].values) <= MAX_KEY_COLUMNS else []
    names = [(escape(key), "name") for key in keys] or [("configuration", "name")]
    numbers = (MONITOR.label, "best", "test accuracy", "seeds", "parameters", "cost [s]", "")
    head = "".join(f'<th class="{kind}">{name}</th>' for name, kind in [*names, *((name, "") for name in numbers)])
    body = []
    for row in rows:
        score = ("= " if row.tied else "") + row.spread()
        best = f"{MONITOR.best(row.scores()):.4f}" if row.n else "-"
        cells = [score, best, row.spread("test/accuracy"), str(row.n), f"{row.trainable:,}"]
        cells += [f"{row.cost:,.0f}", row.not_counted]
        values = [escape(to_override(row.values[key])) for key in keys]
        line = "".join(f'<td class="name">{value}</td>' for value in values)
        line = line or f'<td class="name long">{escape(row.name)}</td>'
        line += "".join(f"<td>{cell}</td>" for cell in cells)
        body.append(f"<tr>{line}</tr>" if row.n else f'<tr class="uncounted">{line}</tr>')
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'


def _beside_best(counted: Sequence[Row]) -> list[str]:
    """Return the section of paired comparisons; nothing, if no row has predictions of the same rows as the best one."""
    best, compared = best_row(counted), []
    for row in counted:
        with suppress(UserError):
            compared += [compare(row, best)] if row is not best else []
    left_out = len(counted) - 1 - len(compared)
    if not compared:
        return []
    lines = [
        f'<tr><td class="name">{escape(each.row.name)}</td><td>{split}</td><td>{found}</td>'
        f"<td>{found.p_by_seed}</td></tr>"
        for each in compared
        for split, found in each.by_split.items()
    ]
    head = "".join(f"<th>{name}</th>" for name in ("rows", "difference (95%)", "p by seed"))
    table = f'<table><thead><tr><th class="name">configuration</th>{head}</tr></thead><tbody>{"".join(lines)}</tbody>'
    note = f"{EXPLANATION[0].upper()}{EXPLANATION[1:]}."
    note += f" Configurations without predictions of the same rows: {left_out}." if left_out else ""
    return [_section("Beside the best configuration", f'<div class="wide">{table}</table></div>', escape(note))]


def _scrolling(figure: str, axes: int) -> str:
    """Let a figure with many axes scroll sideways where they would be too close."""
    return f'<div class="wide"><div style="min-width: {110 * (axes + 3)}px">{figure}</div></div>'


def _effects(rows: Sequence[Row]) -> str:
    figures = (to_html(plots.effect_of_key(rows, key)) for key in rows[0].values)
    return f'<div class="grid">{"".join(f"<div>{figure}</div>" for figure in figures)}</div>'


def _confusion(counts: Sequence[Sequence[int]]) -> str:
    """Return a (4, 4) table of counts, true classes down and predicted ones across, coloured by share of the row."""
    lines = []
    for name, row in zip(LABELS, counts, strict=True):
        cells = []
        for count in row:
            share = count / max(1, sum(row))
            kind = ' class="most"' if share > 0.5 else ""
            cells.append(f'<td{kind} style="background: rgba(59, 111, 182, {share:.3f})">{count:,}<br>{share:.1%}</td>')
        lines.append(f'<tr><th class="name">{name}</th>{"".join(cells)}</tr>')
    head = "".join(f"<th>{name}</th>" for name in LABELS)
    return (
        '<div class="wide"><table class="confusion">'
        f'<thead><tr><th class="name">true \\ predicted</th>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _legend(rows: Sequence[Row]) -> str:
    """Name the configurations of the learning curves: plotly's own legend cuts long names off on a narrow page."""
    items = (
        f'<li><i style="background: {colour}"></i>{escape(row.name)}</li>'
        for row, colour in zip(rows, plots.COLOURS, strict=False)
    )
    return f'<ul class="legend">{"".join(items)}</ul>'


def _commands(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        runs = "".join(
            f"<li>{escape(f'{folder.name}, {result.status}')}<br><code>{escape(command_of(result))}</code></li>"
            for folder, result in row.runs
        )
        lines.append(f"<details><summary>{escape(row.name)}</summary><ul>{runs}</ul></details>")
    return "\n".join(lines)
