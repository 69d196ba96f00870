"""The interactive figures of report.html, drawn with plotly. Each function returns a figure; `to_html` embeds it."""

import html
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from lora_agnews.budget import HARD_LIMIT
from lora_agnews.config.rules import to_override
from lora_agnews.labels import LABELS
from lora_agnews.results.curves import read_rows
from lora_agnews.results.monitor import MONITOR
from lora_agnews.results.ranking import Row, pareto
from lora_agnews.results.record import METRICS_FILE

LONGEST_LABEL = 22
BLUE, RED, TEAL, ORANGE = "#3b6fb6", "#d1495b", "#2a9fb0", "#e8963c"  # visible on white and on black
COLOURS = [BLUE, RED, "#3a9a6b", "#8a5fbf", "#c98a1b", "#2a9fb0", "#b0578f", "#7a8a2f", "#6b7280", "#a0522d"]


def accuracy_by_parameters(rows: Sequence[Row]) -> go.Figure:
    """Draw the metric against the number of trained parameters, with the Pareto front and the limit."""
    front = pareto(rows)
    others = [row for row in rows if row not in front]
    figure = go.Figure()
    for name, shown, colour, mode in (
        ("other configurations", others, BLUE, "markers"),
        ("Pareto front", front, RED, "lines+markers"),
    ):
        figure.add_scatter(
            x=[row.trainable for row in shown], y=[row.mean() for row in shown], mode=mode, name=name,
            marker={"color": colour, "size": 10}, line={"color": colour, "width": 2, "shape": "hv"},
            error_y={"array": [_zero_if_nan(row.std()) for row in shown], "color": colour, "thickness": 1.2},
            text=[escape(row.name) for row in shown],
            hovertemplate="%{text}<br>%{x:,} parameters<br>%{y:.4f}<extra></extra>",
        )  # fmt: skip
    figure.add_vline(x=HARD_LIMIT, line={"color": "#8a94a0", "dash": "dash"})
    figure.add_annotation(
        x=math.log10(HARD_LIMIT), y=1, yref="paper", text=f"limit: {HARD_LIMIT:,}",
        showarrow=False, xanchor="right", yanchor="bottom",
    )  # fmt: skip
    ticks = [digit * 10**power for power in range(7) for digit in (1, 2, 5)]
    figure.update_xaxes(type="log", title="trained parameters", range=[None, math.log10(1.25 * HARD_LIMIT)])
    figure.update_xaxes(tickvals=ticks, ticktext=[f"{tick:,}" for tick in ticks])
    figure.update_yaxes(title=MONITOR.label)
    above = {"y": 1.1, "yanchor": "bottom"}  # below, it would lie over the slanted numbers of a narrow page
    return _lay_out(figure, 460).update_layout(legend=above, margin={"t": 80})


def parallel_coordinates(rows: Sequence[Row]) -> go.Figure:
    """Draw one line per configuration through the values of all keys that vary."""
    dimensions = []
    for key in rows[0].values:
        values = [row.values[key] for row in rows]
        if all(type(value) in (int, float) for value in values):
            known = sorted(set(values))
            where = [math.log10(value) for value in values] if _spans_decades(known) else values
            ticks = [math.log10(value) for value in known] if _spans_decades(known) else known
            few = len(known) <= 8
            dimension = {"values": where} | (
                {"tickvals": ticks, "ticktext": [f"{value:g}" for value in known]} if few else {}
            )
            label = f"log10 {key}" if _spans_decades(known) and not few else key
        else:
            names = sorted({to_override(value) for value in values})
            dimension = {"values": [names.index(to_override(value)) for value in values]}
            dimension |= {"tickvals": list(range(len(names))), "ticktext": [_label(name) for name in names]}
            label = key
        dimensions.append(dimension | {"label": escape(label)})
    scores = [row.mean() for row in rows]
    dimensions.append({"values": [row.trainable for row in rows], "label": "parameters", "tickformat": ","})
    dimensions.append({"values": scores, "label": MONITOR.label, "tickformat": ".4f"})
    line = {"color": scores, "colorscale": [[0, BLUE], [0.5, TEAL], [1, ORANGE]]}
    figure = _lay_out(go.Figure(go.Parcoords(dimensions=dimensions, line=line)), 430)
    return figure.update_layout(margin={"l": 70, "r": 50, "t": 60, "b": 30})


def effect_of_key(rows: Sequence[Row], key: str) -> go.Figure:
    """Draw the metric by the value of one key, over all runs with that value."""
    numeric = all(_is_number(row.values[key]) for row in rows)
    ordered = sorted(rows, key=lambda row: row.values[key] if numeric else to_override(row.values[key]))
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
    figure.update_xaxes(title=escape(key), type="category")
    figure.update_yaxes(title=MONITOR.label)
    return _lay_out(figure, 300).update_layout(showlegend=False)


def learning_curves(rows: Sequence[Row]) -> go.Figure:
    """Draw metric and loss on the validation rows by step, for every counted run. A row has its colour in COLOURS."""
    figure = go.Figure()
    figure.set_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    for number, row in enumerate(rows):
        colour = COLOURS[number % len(COLOURS)]
        for folder, _ in row.counted:
            for place, metric in ((1, MONITOR.key), (2, "val/loss")):
                steps, values = _read_series(folder, metric)
                figure.add_scatter(
                    x=steps, y=values, mode="lines+markers", row=place, col=1, name=escape(row.name),
                    line={"color": colour, "width": 1.4}, marker={"size": 5}, opacity=0.8,
                    hovertemplate=escape(folder.name) + "<br>step %{x}: %{y:.4f}<extra></extra>",
                )  # fmt: skip
    figure.update_yaxes(title=MONITOR.label, row=1, col=1)
    figure.update_yaxes(title="validation loss [nat]", row=2, col=1)
    figure.update_xaxes(title="step", row=2, col=1)
    return _lay_out(figure, 560).update_layout(showlegend=False)


def confusion_matrix(counts: Sequence[Sequence[int]]) -> go.Figure:
    """Draw a (4, 4) matrix of counts, true classes down and predicted ones across.

    Percentages and colours are shares of the true class.
    """
    shares = [[count / max(1, sum(row)) for count in row] for row in counts]
    text = [
        [f"{count:,}<br>{share:.1%}" for count, share in zip(*pair, strict=True)]
        for pair in zip(counts, shares, strict=True)
    ]
    figure = go.Figure(
        go.Heatmap(
            z=shares, x=list(LABELS), y=list(LABELS), text=text, texttemplate="%{text}",
            colorscale="Blues", zmin=0, zmax=1, showscale=False,
            hovertemplate="true %{y}, predicted %{x}: %{text}<extra></extra>",
        )
    )  # fmt: skip
    figure.update_xaxes(title="predicted")
    figure.update_yaxes(title="true", autorange="reversed")
    return _lay_out(figure, 460)


def to_html(figure: go.Figure) -> str:
    """Return a figure as an HTML fragment; the page itself holds plotly.js."""
    text: str = figure.to_html(
        full_html=False, include_plotlyjs=False, config={"responsive": True, "displayModeBar": False}
    )
    return text


def escape(text: str) -> str:
    """Escape a text for HTML: news texts and file names are untrusted."""
    return html.escape(text)


def _read_series(folder: Path, metric: str) -> tuple[list[int], list[float]]:
    path = folder / METRICS_FILE
    if not path.exists():
        return [], []
    found = [(int(row["step"]), float(row[metric])) for row in read_rows(path) if row.get(metric)]
    return [step for step, _ in found], [value for _, value in found]


def _lay_out(figure: go.Figure, height: int) -> go.Figure:
    return figure.update_layout(
        template="none", height=height, margin={"l": 70, "r": 20, "t": 30, "b": 60},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "system-ui, sans-serif", "size": 13},
        legend={"orientation": "h", "y": -0.18, "yanchor": "top", "x": 0},
    ).update_xaxes(automargin=True, title_standoff=8).update_yaxes(automargin=True, title_standoff=8)  # fmt: skip


def _spans_decades(values: Sequence[float]) -> bool:
    return values[0] > 0 and values[-1] / values[0] >= 8


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _zero_if_nan(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _label(value: Any) -> str:
    """Return a value as an axis label. Of a long one, the end is shown."""
    text = value if isinstance(value, str) else to_override(value)
    return escape(text if len(text) <= LONGEST_LABEL else f"…{text[1 - LONGEST_LABEL :]}")
