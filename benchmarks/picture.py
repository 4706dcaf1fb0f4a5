"""The results as one SVG: bars of milliseconds a step for each case, and the curves of a full run."""

from html import escape

from benchmarks.registry import cases

WIDTH, LEFT, BAR, ROW = 760, 150, 480, 18


def svg(results):
    """The picture's text."""
    parts, y = [], 10
    for name, figures in results["cases"].items():
        measured = {each: own for each, own in figures.items() if "median" in own}
        longest = max(own["max"] for own in measured.values())
        y += 24
        parts.append(_text(10, y, f"{cases()[name].title}: ms a step, median (line: least to most)", bold=True))
        for each, own in measured.items():
            y += ROW
            scale = BAR / longest
            colour = "#d9480f" if each == "keras_gen" else "#adb5bd"
            parts += [
                _text(LEFT - 8, y, each, anchor="end"),
                f'<rect x="{LEFT}" y="{y - 11}" width="{own["median"] * scale:.1f}" height="12" fill="{colour}"/>',
                _line([(LEFT + own["min"] * scale, y - 5), (LEFT + own["max"] * scale, y - 5)], "#212529"),
                _text(LEFT + own["max"] * scale + 6, y, f"{own['median']:.2f}"),
            ]
    for curve in results.get("curves", ()):
        y += 24
        title = f"{cases()[curve['case']].title}: ms a step against {curve['setting']}"
        parts.append(_text(10, y, title, bold=True))
        sizes = [value[0] if isinstance(value, list) else value for value in curve["values"]]
        top, height = y + 14, 120
        points = [
            (LEFT + BAR * size / sizes[-1], top + height * (1 - ms / max(curve["ms"])))
            for size, ms in zip(sizes, curve["ms"], strict=True)
        ]
        parts += [_line([(LEFT, top), (LEFT, top + height), (LEFT + BAR, top + height)], "#868e96"), _line(points, "#d9480f")]
        for (px, py), size, ms in zip(points, sizes, curve["ms"], strict=True):
            parts += [f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3" fill="#d9480f"/>', _text(px + 5, py - 4, f"{ms:.2f}")]
            parts.append(_text(px, top + height + 14, str(size), anchor="middle"))
        y = top + height + 18
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 16}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="100%" height="100%" fill="white"/>\n{body}\n</svg>\n'
    )


def _text(x, y, text, anchor="start", bold=False):
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _line(points, colour):
    return f'<polyline points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}" fill="none" stroke="{colour}"/>'
