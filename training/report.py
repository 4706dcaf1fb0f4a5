"""A run's report.html, one file that needs no other, made from the run's own files. Imports no TensorFlow."""

import base64
import html
import json

from training.folder import write_atomically
from training.units import unit_of

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222; background: #fff }
h1 { font-size: 1.5em } h2 { font-size: 1.15em; margin-top: 2em; border-bottom: 1px solid #ddd }
table { border-collapse: collapse } td, th { padding: .15em 1.2em .15em 0; text-align: left; vertical-align: top }
td.number { text-align: right; font-variant-numeric: tabular-nums } th { color: #666; font-weight: normal }
svg { max-width: 100%; height: auto } img { image-rendering: pixelated; max-width: 100% } code { font-size: .9em }
"""
_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 220, 64, 28
_COLOURS = ("#1764ab", "#d95f02")


def write_report(folder):
    """Writes `report.html` into a run's folder: settings, learning curves, samples, and figures with their protocol.

    Args:
        folder: `RunFolder`.
    """
    config, rows, evaluation = folder.read_config(), folder.rows(), folder.read_evaluation()
    title = f"{config['recipe']} on {config['data']['spec']}"
    parts = [f"<h1>{html.escape(title)}</h1><p>{html.escape(config['data']['description'])}</p>"]
    if evaluation:
        parts.append(_evaluation(evaluation))
    picture = folder.newest_sample()
    if picture:
        encoded = base64.b64encode(picture.read_bytes()).decode()
        epoch = int(picture.stem.removeprefix("epoch-"))
        shown = ("Samples", "Means of the last conditional where the model has one.")
        if config["family"] == "recurrent_attention":
            shown = ("Validation images", "Where it looks: the first window is blue, the last one red.")
        parts.append(
            f"<h2>{shown[0]} after epoch {epoch}</h2><p>{shown[1]}</p>"
            f'<img alt="samples" src="data:image/png;base64,{encoded}">'
        )
    if rows and "critic_won" in rows[-1]:
        parts.append(findings(rows) + _logits(folder))
    if rows:
        parts.append(_curves(rows))
    facts = {
        "seed": config["seed"],
        "strategy": f"{config['strategy']['name']}, replicas: {config['strategy']['replicas']}",
        "recipe sha256": config["recipe_sha256"],
        "data sha256": config["data"]["sha256"],
        "reference": config["reference"],
        "published figure": config["published"] or "none",
        "created": config["created"],
    }
    parts.append("<h2>Settings</h2>" + _table(config["settings"]))
    parts.append("<h2>Run</h2>" + _table(facts) + "<h2>Versions</h2>" + _table(config["versions"]))
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )
    write_atomically(folder.report, page.encode())


def findings(rows):
    """HTML: what the flight recorder found for so many epochs in a row that it said so, and from where it went back.

    Args:
        rows: of metrics.jsonl.
    """
    from keras_gen.adversarial.flight_recorder import FINDINGS, PATIENCE  # a run of this kind has imported TensorFlow already

    lines = []
    for name, meaning in FINDINGS.items():
        stretches = _stretches([row["epoch"] for row in rows if row.get(name)])
        epochs = ", ".join(f"{first} to {last}" for first, last in stretches if last - first + 1 >= PATIENCE)
        if epochs:
            lines.append(f"Epochs {epochs}: {meaning}.")
    rewinds = [0, *(row.get("rewinds", 0) for row in rows)]
    taken_back = [row["epoch"] for row, before, now in zip(rows, rewinds, rewinds[1:], strict=False) if now > before]
    if taken_back:
        epochs = ", ".join(map(str, taken_back))
        lines.append(f"Epochs taken back, since weights or losses were not finite: {epochs}. Lower the learning rates.")
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines or ["nothing: no side has won, and draws differ."])
    return f"<h2>What the flight recorder found</h2><ul>{items}</ul>"


def _logits(folder):
    """HTML: the histograms of what the critic said last of data and of drawn images; "" for a run that keeps none."""
    if not folder.logits.is_file():
        return ""
    logits = json.loads(folder.logits.read_text())
    # An outline: both ends of each bin at its height.
    ends = [end for pair in zip(logits["edges"], logits["edges"][1:], strict=False) for end in pair]
    outlines = {name: [count for count in logits[name] for _ in range(2)] for name in ("data", "drawn images")}
    return f"<h3>logits of the critic after epoch {logits['epoch']}, number of images</h3>{curve(ends, outlines)}"


def _stretches(numbers):
    """[1, 3], [7, 7] of [1, 2, 3, 7]."""
    found = []
    for number in numbers:
        if found and number == found[-1][1] + 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return found


def _table(facts):
    rows = (f"<tr><th>{html.escape(str(name))}</th><td>{html.escape(_text(value))}</td></tr>" for name, value in facts.items())
    return f"<table>{''.join(rows)}</table>"


def _text(value):
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _evaluation(evaluation):
    figures = [(name, name, figure) for name, figure in evaluation["figures"].items()]
    for baseline, values in evaluation["baselines"].items():
        figures += [(f"{name} ({baseline}, baseline)", name, figure) for name, figure in values.items()]
    rows = "".join(
        f'<tr><th>{html.escape(title.replace("_", " "))}</th><td class="number">{figure["mean"]:.3f}</td>'
        f'<td class="number">{_error(figure)}</td><td>{unit_of(name)}</td></tr>'
        for title, name, figure in figures
    )
    return (
        "<h2>Figures</h2><table><tr><th></th><th>mean</th><th>standard error</th><th></th></tr>"
        f"{rows}</table><h2>Protocol</h2>{_table(evaluation['protocol'])}"
    )


def _error(figure):
    error = figure.get("standard_error")
    return "" if error is None else f"{error:.3f}"


def _curves(rows):
    names = dict.fromkeys(name for row in rows for name in row)  # some figures are not of every epoch
    names = [name for name in names if not name.startswith("val_") and name not in ("epoch", "seconds", "loss")]
    charts = []
    for name in names:
        measured = [row for row in rows if name in row]
        series = {"training": [row[name] for row in measured], "validation": [row.get(f"val_{name}") for row in measured]}
        series = {label: values for label, values in series.items() if None not in values}
        charts.append(f"<h3>{html.escape(name.replace('_', ' '))}</h3>" + curve([row["epoch"] for row in measured], series))
    return "<h2>Learning curves</h2>" + "".join(charts)


def curve(epochs, series):
    """An SVG line chart.

    Args:
        epochs: numbers that do not fall, the horizontal axis.
        series: dict from label to values, one for each of them.
    """
    values = [value for line in series.values() for value in line]
    low, high = min(values), max(values)
    if high == low:
        low, high = low - 1, high + 1

    def x(epoch):
        return _LEFT + (_WIDTH - _LEFT - 8) * (epoch - epochs[0]) / ((epochs[-1] - epochs[0]) or 1)

    def y(value):
        return 8 + (_HEIGHT - _BOTTOM - 8) * (high - value) / (high - low)

    parts = []
    for index in range(5):
        value = low + (high - low) * index / 4
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y(value):.1f}" y2="{y(value):.1f}" stroke="#e5e5e5"/>'
            f'<text x="{_LEFT - 6}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.4g}</text>'
        )
    for epoch in sorted({epochs[0], epochs[len(epochs) // 2], epochs[-1]}):
        anchor = "end" if epoch == epochs[-1] else "middle"
        shown = epoch if isinstance(epoch, int) else f"{epoch:.4g}"
        parts.append(f'<text x="{x(epoch):.1f}" y="{_HEIGHT - 8}" text-anchor="{anchor}">{shown}</text>')
    for (label, line), colour in zip(series.items(), _COLOURS, strict=False):
        points = " ".join(f"{x(epoch):.1f},{y(value):.1f}" for epoch, value in zip(epochs, line, strict=True))
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        parts.append(f'<circle cx="{x(epochs[-1]):.1f}" cy="{y(line[-1]):.1f}" r="2.5" fill="{colour}"/>')
        shift = 90 * list(series).index(label)
        parts.append(f'<text x="{_LEFT + 8 + shift}" y="20" fill="{colour}">{html.escape(label)}</text>')
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" font-size="11" fill="#555" '
        f'font-family="system-ui, sans-serif">{"".join(parts)}</svg>'
    )
