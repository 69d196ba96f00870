"""The interactive figures of report.html. Each function returns what plotly.js draws, and `to_html` embeds it."""

import html
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lora_agnews.budget import HARD_LIMIT
from lora_agnews.config.rules import to_override
from lora_agnews.results.curves import read_rows
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.ranking import pareto
from lora_agnews.results.record import METRICS_FILE
from lora_agnews.results.row import Row

Figure = dict[str, Any]  # "data", the traces, and "layout", as on https://plotly.com/javascript/reference
Series = list[tuple[int, float]]  # step and value
LONGEST_LABEL = 22
MOST_POINTS = 20_000  # in all learning curves together: 0.4 MB of the page
NOT_DRAWN = "This figure needs JavaScript, and a browser that is not older than 2023."
BLUE, RED, TEAL, ORANGE = "#3b6fb6", "#d1495b", "#2a9fb0", "#e8963c"  # visible on white and on black
COLOURS = [BLUE, RED, "#3a9a6b", "#8a5fbf", "#c98a1b", "#2a9fb0", "#b0578f", "#7a8a2f", "#6b7280", "#a0522d"]


def accuracy_by_parameters(rows: Sequence[Row]) -> Figure:
    """Draw the metric against the number of trained parameters, with the Pareto front and the limit."""
    front = pareto(rows)
    known = {id(row) for row in front}
    others = [row for row in rows if id(row) not in known]
    traces = [
        {
            "type": "scatter", "mode": mode, "name": name,
            "x": [row.trainable for row in shown], "y": [row.mean() for row in shown],
            "marker": {"color": colour, "size": 10}, "line": {"color": colour, "width": 2, "shape": "hv"},
            "error_y": {"array": [row.std() for row in shown], "color": colour, "thickness": 1.2},
            "text": [escape(row.name) for row in shown],
            "hovertemplate": "%{text}<br>%{x:,} parameters<br>%{y:.4f}<extra></extra>",
        }
        for name, shown, colour, mode in (
            ("other configurations", others, BLUE, "markers"),
            ("Pareto front", front, RED, "lines+markers"),
        )
    ]  # fmt: skip
    ticks = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
    numbers = {"type": "log", "range": [None, math.log10(1.25 * HARD_LIMIT)]}
    numbers |= {"tickvals": ticks, "ticktext": [f"{tick:,}" for tick in ticks]}
    line = {"type": "line", "x0": HARD_LIMIT, "x1": HARD_LIMIT, "y0": 0, "y1": 1, "yref": "paper"}
    line |= {"line": {"color": "#8a94a0", "dash": "dash"}}
    label = {"text": f"limit: {HARD_LIMIT:,}", "x": math.log10(HARD_LIMIT), "y": 1, "yref": "paper"}
    label |= {"showarrow": False, "xanchor": "right", "yanchor": "bottom"}
    above = {"orientation": "h", "x": 0, "y": 1.1, "yanchor": "bottom"}  # below are the numbers, slanted if narrow
    axes = {"xaxis": _axis("trained parameters", **numbers), "yaxis": _axis(MONITOR.label, tickformat=".3f")}
    return _figure(traces, 460, {**axes, "shapes": [line], "annotations": [label], "legend": above}, top=80)


def parallel_coordinates(rows: Sequence[Row]) -> Figure:
    """Draw one line per configuration through the values of all keys that vary."""
    axes = [_coordinate(key, [row.values[key] for row in rows]) for key in rows[0].values]
    scores = [row.mean() for row in rows]
    axes.append({"values": [row.trainable for row in rows], "label": "parameters", "tickformat": ","})
    axes.append({"values": scores, "label": MONITOR.label, "tickformat": ".4f"})
    line = {"color": scores, "colorscale": [[0, BLUE], [0.5, TEAL], [1, ORANGE]]}
    return _figure([{"type": "parcoords", "dimensions": axes, "line": line}], 430, {}, right=50, top=60, bottom=30)


def _coordinate(key: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return the axis of one key. Numbers that span decades are on a logarithmic one."""
    if not all(_is_number(value) for value in values):
        names = sorted({to_override(value) for value in values})
        where: Sequence[float] = [names.index(to_override(value)) for value in values]
        ticks = {"tickvals": list(range(len(names))), "ticktext": [_label(name) for name in names]}
        return {"label": escape(key), "values": where} | ticks
    known = sorted(set(values))
    spans_decades = known[0] > 0 and known[-1] / known[0] >= 8
    where = [math.log10(value) for value in values] if spans_decades else values
    if len(known) > 8:
        return {"label": escape(f"log10 {key}" if spans_decades else key), "values": where}
    places = [math.log10(value) for value in known] if spans_decades else known
    return {
        "label": escape(key), "values": where, "tickvals": places, "ticktext": [f"{value:g}" for value in known]
    }  # fmt: skip


def effect_of_key(rows: Sequence[Row], key: str) -> Figure:
    """Draw the metric by the value of one key, over all runs with that value."""
    numeric = all(_is_number(row.values[key]) for row in rows)
    ordered = sorted(rows, key=lambda row: row.values[key] if numeric else to_override(row.values[key]))
    groups: dict[str, list[float]] = {}
    for row in ordered:
        groups.setdefault(_label(row.values[key]), []).extend(row.scores())
    every = [(name, score) for name, scores in groups.items() for score in scores]
    spreads = [statistics.stdev(scores) if len(scores) > 1 else 0 for scores in groups.values()]
    single = {
        "type": "scatter", "mode": "markers", "x": [name for name, _ in every], "y": [score for _, score in every],
        "marker": {"color": "#9aa5b1", "size": 6, "opacity": 0.6}, "hovertemplate": "%{x}: %{y:.4f}<extra></extra>",
    }  # fmt: skip
    mean = {
        "type": "scatter", "mode": "lines+markers" if numeric else "markers",
        "x": list(groups), "y": [statistics.mean(scores) for scores in groups.values()],
        "marker": {"color": BLUE, "size": 9}, "line": {"color": BLUE, "width": 1.5},
        "error_y": {"array": spreads, "color": BLUE, "thickness": 1.2},
        "hovertemplate": "%{x}: %{y:.4f}<extra></extra>",
    }  # fmt: skip
    layout = {
        "xaxis": _axis(escape(key), type="category"),
        "yaxis": _axis(MONITOR.label, tickformat=".3f"),
        "showlegend": False,
    }
    return _figure([single, mean], 300, layout)


def learning_curves(rows: Sequence[Row]) -> Figure:
    """Draw metric and loss on the validation rows by step, for every counted run. A row has its colour in COLOURS.

    Of very many points, every second, third, ... of each curve is drawn, up to its last one; the axis says so.
    """
    curves = [
        (number, row.name, folder.name, yaxis, series)
        for number, row in enumerate(rows)
        for folder, _ in row.counted
        for yaxis, series in zip(("y", "y2"), _read_series(folder, MONITOR.key, "val/loss"), strict=True)
    ]
    every = max(1, math.ceil(sum(len(series) for *_, series in curves) / MOST_POINTS))
    traces = []
    for number, name, run, yaxis, series in curves:
        drawn = series[::-every][::-1]
        traces.append({
            "type": "scatter", "mode": "lines+markers", "name": escape(name), "yaxis": yaxis,
            "x": [step for step, _ in drawn], "y": [value for _, value in drawn],
            "line": {"color": COLOURS[number % len(COLOURS)], "width": 1.4}, "marker": {"size": 5}, "opacity": 0.8,
            "hovertemplate": escape(run) + "<br>step %{x}: %{y:.4f}<extra></extra>",
        })  # fmt: skip
    steps = _axis("step" if every == 1 else f"step (1 of {every} validations is drawn)", anchor="y2")
    score, loss = (
        _axis(MONITOR.label, domain=[0.54, 1], tickformat=".3f"),
        _axis("validation loss [nat]", domain=[0, 0.46]),
    )
    return _figure(traces, 560, {"xaxis": steps, "yaxis": score, "yaxis2": loss, "showlegend": False})


def to_html(figure: Figure) -> str:
    """Return a figure as an HTML fragment, which the script of the page draws with plotly.js."""
    # An HTML parser looks for the end of the script first, so no text may contain one.
    data = json.dumps(_compact(figure), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    height = figure["layout"]["height"]
    waiting = f'<div class="figure" style="min-height: {height}px">{NOT_DRAWN}</div>'
    return f'{waiting}<script type="application/json">{data}</script>'


def escape(text: str) -> str:
    """Escape a text for HTML: news texts and file names are untrusted."""
    return html.escape(text)


def _compact(value: Any) -> Any:
    """Return plain JSON values with six digits; what is not a finite number is null, a gap in the figure."""
    if isinstance(value, dict):
        return {key: _compact(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_compact(item) for item in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value


def _read_series(folder: Path, *metrics: str) -> list[Series]:
    """Read metrics.csv once, for several metrics. A run without the file has empty series."""
    found: list[Series] = [[] for _ in metrics]
    path = folder / METRICS_FILE
    if path.exists():
        for row in read_rows(path):
            for metric, series in zip(metrics, found, strict=True):
                if row.get(metric):
                    series.append((int(row["step"]), float(row[metric])))
    return found


def _figure(traces: list[dict[str, Any]], height: int, layout: dict[str, Any], **margins: int) -> Figure:
    edges = {"left": 70, "right": 20, "top": 30, "bottom": 60} | margins
    common = {
        "height": height, "margin": {name[0]: size for name, size in edges.items()},
        "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "system-ui, sans-serif", "size": 13},
    }  # fmt: skip
    return {"data": traces, "layout": common | layout}


def _axis(title: str, **values: Any) -> dict[str, Any]:
    return {"title": {"text": title, "standoff": 8}, "automargin": True, "zeroline": False, **values}


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _label(value: Any) -> str:
    """Return a value as an axis label. Of a long one, the end is shown."""
    text = value if isinstance(value, str) else to_override(value)
    return escape(text if len(text) <= LONGEST_LABEL else f"…{text[1 - LONGEST_LABEL :]}")
