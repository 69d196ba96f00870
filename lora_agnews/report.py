"""Many runs -> one self-contained page: leaderboard, what the parameters bought, what mattered, how to run it again."""

import csv
import html
import math
import re
import shlex
import statistics
from collections.abc import Sequence
from datetime import date
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from lora_agnews.budget import HARD_LIMIT
from lora_agnews.config import LABELS, leaves, spelled
from lora_agnews.keys import in_quotes
from lora_agnews.launch import check_overrides
from lora_agnews.ranking import Row, pareto
from lora_agnews.result import RunResult, write_whole

LONGEST_LABEL = 22
MOST_CURVES = 10  # configurations in the learning curves, the best ones
BLUE, RED, ORANGE = "#3b6fb6", "#d1495b", "#e8963c"  # seen on white and on black
COLOURS = [BLUE, RED, "#3a9a6b", "#8a5fbf", "#c98a1b", "#2a9fb0", "#b0578f", "#7a8a2f", "#6b7280", "#a0522d"]
PAGE = Template((files("lora_agnews") / "report.html").read_text(encoding="utf-8"))


def write_report(rows: Sequence[Row], path: Path, title: str) -> None:
    """Writes the page, whole or not at all. `rows` as `rank` gives them, best first; at least one."""
    counted = [row for row in rows if row.n]
    runs = sum(len(row.runs) for row in rows)
    parts = [
        f"<h1>{_text(title)}</h1>",
        f"<p>{runs} runs of {len(rows)} configurations, {date.today().isoformat()}.</p>",
    ]
    parts += [_section("Leaderboard", _leaderboard(rows), _verdict(counted))]
    if counted:
        note = "A bar is the standard deviation over seeds; no configuration beats one on the line in both."
        parts.append(_section("Accuracy against trained parameters", _figure(_against_parameters(counted)), note))
        if len(counted) > 1 and counted[0].values:
            note = "A line is a configuration, coloured by validation accuracy. Drag along an axis to choose."
            parts.append(_section("What varied", _wide(_parallel(counted), len(counted[0].values)), note))
            note = "Mean and standard deviation over all runs of a value, whatever else they have. Grey: each run."
            parts.append(_section("Effect of each value", _effects(counted), note))
        shown = min(len(counted), MOST_CURVES)
        note = f"Every run of the best {shown} configurations." if shown > 1 else "Every run."
        parts.append(_section("Learning curves", _figure(_curves(counted[:MOST_CURVES])), note))
        confusion = counted[0].best[1].confusion
        if confusion:
            split = "test" if "test/accuracy" in counted[0].best[1].metrics else "validation"
            note = f"The best run by validation, {counted[0].best[0].name}, on its {split} rows."
            parts.append(_section("Confusion of the winner", _figure(_confusion(confusion)), _text(note)))
    parts.append(_section("Run it again", _commands(rows), "Each command gives the same numbers on the same machine."))
    page = PAGE.substitute(title=_text(title), plotly=get_plotlyjs(), body="\n".join(parts))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, page)


def command_of(result: RunResult) -> str:
    """The command that makes the run again: every value that is not train.py's default."""
    default = {key: value for key, _, value in leaves(check_overrides("train", []))}
    words = []
    for key, value in default.items():
        found: Any = result.config
        for part in key.split("."):
            found = found.get(part, value) if isinstance(found, dict) else value
        if found != value and key not in ("resume", "logger.group"):
            plain = not isinstance(found, str) or re.fullmatch(r"[\w./-]+", found)
            words.append(shlex.quote(f"{key}={spelled(found) if plain else in_quotes(found)}"))
    return " ".join(["python train.py", *words])


def _section(title: str, content: str, note: str) -> str:
    return f"<section><h2>{title}</h2>\n<p>{note}</p>\n{content}\n</section>"


def _verdict(counted: Sequence[Row]) -> str:
    if not counted:
        return "No run has come to its end."
    best, tied = counted[0], sum(row.tied for row in counted)
    others = f" {tied} more within one standard error of it, marked =." if tied else ""
    return f"Chosen by validation; the test column is shown, not used. First: {_text(best.name)}.{others}"


def _leaderboard(rows: Sequence[Row]) -> str:
    head = ("configuration", "val accuracy", "", "best", "test accuracy", "seeds", "parameters", "seconds", "")
    lines = ["<tr>" + "".join(f"<th>{name}</th>" for name in head) + "</tr>"]
    body = []
    for row in rows:
        scores = (row.spread(), "=" if row.tied else "", f"{max(row.scores()):.4f}") if row.n else ("-", "", "-")
        cells = [_text(row.name), *scores, row.spread("test/accuracy"), str(row.n), f"{row.trainable:,}"]
        cells += [f"{row.seconds:,.0f}" if row.n else "-", row.not_counted]
        line = "".join(f"<td>{cell}</td>" for cell in cells)
        body.append(f"<tr>{line}</tr>" if row.n else f'<tr class="uncounted">{line}</tr>')
    return f'<div class="wide"><table><thead>{lines[0]}</thead><tbody>{"".join(body)}</tbody></table></div>'


def _against_parameters(rows: Sequence[Row]) -> go.Figure:
    front = pareto(rows)
    figure = go.Figure()
    figure.add_scatter(
        x=[row.trainable for row in front], y=[row.mean() for row in front], mode="lines", name="Pareto front",
        line={"color": RED, "width": 2, "shape": "hv"}, hoverinfo="skip",
    )  # fmt: skip
    figure.add_scatter(
        x=[row.trainable for row in rows], y=[row.mean() for row in rows], mode="markers", name="configuration",
        marker={"color": BLUE, "size": 10}, text=[_text(row.name) for row in rows],
        error_y={"array": [_number(row.std()) for row in rows], "color": BLUE, "thickness": 1.2},
        hovertemplate="%{text}<br>%{x:,} parameters<br>%{y:.4f}<extra></extra>",
    )  # fmt: skip
    figure.add_vline(x=HARD_LIMIT, line={"color": "#8a94a0", "dash": "dash"})
    figure.add_annotation(
        x=math.log10(HARD_LIMIT),
        y=1,
        yref="paper",
        text="1,000,000",
        showarrow=False,
        xanchor="right",
        yanchor="bottom",
    )
    ticks = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
    figure.update_xaxes(type="log", title="trained parameters", range=[None, math.log10(1.25 * HARD_LIMIT)])
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    figure.update_yaxes(title="validation accuracy")
    return _laid_out(figure, 430)


def _parallel(rows: Sequence[Row]) -> go.Figure:
    dimensions = []
    for key in rows[0].values:
        values = [row.values[key] for row in rows]
        if all(type(value) in (int, float) for value in values):
            known = sorted(set(values))
            where = [math.log10(value) for value in values] if _log(known) else values
            ticks = [math.log10(value) for value in known] if _log(known) else known
            few = len(known) <= 8
            dimension = {"values": where} | (
                {"tickvals": ticks, "ticktext": [f"{value:g}" for value in known]} if few else {}
            )
            label = f"log10 {key}" if _log(known) and not few else key
        else:
            names = sorted({spelled(value) for value in values})
            dimension = {"values": [names.index(spelled(value)) for value in values]}
            dimension |= {"tickvals": list(range(len(names))), "ticktext": [_label(name) for name in names]}
            label = key
        dimensions.append(dimension | {"label": _text(label)})
    scores = [row.mean() for row in rows]
    dimensions.append({"values": [row.trainable for row in rows], "label": "parameters"})
    dimensions.append({"values": scores, "label": "val accuracy", "tickformat": ".4f"})
    bar = {
        "color": scores,
        "colorscale": [[0, BLUE], [1, ORANGE]],
        "showscale": True,
        "colorbar": {"thickness": 10, "tickformat": ".3f"},
    }
    figure = go.Figure(go.Parcoords(dimensions=dimensions, line=bar))
    figure = _laid_out(figure, 430)
    return figure.update_layout(margin={"l": 70, "r": 40, "t": 60, "b": 30})


def _wide(figure: go.Figure, axes: int) -> str:
    """Scrolls sideways where its axes would not be told apart."""
    return f'<div class="wide"><div style="min-width: {110 * (axes + 3)}px">{_figure(figure)}</div></div>'


def _effects(rows: Sequence[Row]) -> str:
    """A small figure for each key that varies."""
    return f'<div class="grid">{"".join(f"<div>{_figure(_effect(rows, key))}</div>" for key in rows[0].values)}</div>'


def _effect(rows: Sequence[Row], key: str) -> go.Figure:
    numeric = all(_is_number(row.values[key]) for row in rows)
    ordered = sorted(rows, key=lambda row: row.values[key] if numeric else spelled(row.values[key]))
    groups: dict[str, list[float]] = {}
    for row in ordered:
        groups.setdefault(_label(row.values[key]), []).extend(row.scores())
    every = [(name, score) for name, scores in groups.items() for score in scores]
    figure = go.Figure()
    figure.add_scatter(
        x=[name for name, _ in every], y=[score for _, score in every], mode="markers",
        marker={"color": "#9aa5b1", "size": 6, "opacity": 0.6}, hovertemplate="%{x}: %{y:.4f}<extra></extra>",
    )  # fmt: skip
    spreads = [statistics.stdev(scores) if len(scores) > 1 else 0 for scores in groups.values()]
    figure.add_scatter(
        x=list(groups), y=[statistics.mean(scores) for scores in groups.values()],
        mode="lines+markers" if numeric else "markers", marker={"color": BLUE, "size": 9},
        line={"color": BLUE, "width": 1.5}, error_y={"array": spreads, "color": BLUE, "thickness": 1.2},
        hovertemplate="%{x}: %{y:.4f}<extra></extra>",
    )  # fmt: skip
    figure.update_xaxes(title=_text(key), type="category")
    figure.update_yaxes(title="validation accuracy")
    return _laid_out(figure, 300).update_layout(showlegend=False)


def _curves(rows: Sequence[Row]) -> go.Figure:
    figure = go.Figure()
    figure.set_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for number, row in enumerate(rows):
        colour = COLOURS[number % len(COLOURS)]
        for member, (folder, _) in enumerate(row.counted):
            for place, metric in ((1, "val/accuracy"), (2, "val/loss")):
                steps, values = _series(folder, metric)
                figure.add_scatter(
                    x=steps, y=values, mode="lines+markers", row=place, col=1, name=_text(row.name),
                    line={"color": colour, "width": 1.4}, marker={"size": 5}, opacity=0.8,
                    legendgroup=str(number), showlegend=place == 1 and member == 0,
                    hovertemplate=_text(folder.name) + "<br>step %{x}: %{y:.4f}<extra></extra>",
                )  # fmt: skip
    figure.update_yaxes(title="validation accuracy", row=1, col=1)
    figure.update_yaxes(title="validation loss [nat]", row=2, col=1)
    figure.update_xaxes(title="step", row=2, col=1)
    return _laid_out(figure, 560 + 24 * len(rows))


def _confusion(counts: Sequence[Sequence[int]]) -> go.Figure:
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    text = [
        [f"{count:,}<br>{share:.1%}" for count, share in zip(*pair, strict=True)]
        for pair in zip(counts, shares, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=shares, x=list(LABELS), y=list(LABELS), text=text, texttemplate="%{text}",
            colorscale="Blues", zmin=0, zmax=1,
            colorbar={"title": {"text": "share of<br>the true class"}, "thickness": 10, "tickformat": ".0%"},
            hovertemplate="true %{y}, predicted %{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="predicted")
    figure.update_yaxes(title="true", autorange="reversed")
    return _laid_out(figure, 460)


def _commands(rows: Sequence[Row]) -> str:
    lines = []
    for row in rows:
        runs = "".join(
            f"<li>{_text(f'{folder.name}, {result.status}')}<br><code>{_text(command_of(result))}</code></li>"
            for folder, result in row.runs
        )
        lines.append(f"<details><summary>{_text(row.name)}</summary><ul>{runs}</ul></details>")
    return "\n".join(lines)


def _series(folder: Path, metric: str) -> tuple[list[int], list[float]]:
    path = folder / "metrics.csv"
    if not path.exists():
        return [], []
    with path.open(newline="") as stream:
        found = [(int(row["step"]), float(row[metric])) for row in csv.DictReader(stream) if row.get(metric)]
    return [step for step, _ in found], [value for _, value in found]


def _laid_out(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(
        template="none", height=height, margin={"l": 70, "r": 20, "t": 30, "b": 60},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0},
    ).update_xaxes(automargin=True).update_yaxes(automargin=True)  # fmt: skip


def _figure(figure: go.Figure) -> str:
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"responsive": True, "displayModeBar": False}
    )
    return text


def _log(values: Sequence[float]) -> bool:
    return values[0] > 0 and values[-1] / values[0] >= 8


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _number(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _label(value: Any) -> str:
    """A value at an axis; of a long one its end."""
    text = value if isinstance(value, str) else spelled(value)
    return _text(text if len(text) <= LONGEST_LABEL else f"…{text[1 - LONGEST_LABEL :]}")


def _text(text: str) -> str:
    return html.escape(text)
