"""The results as Markdown, for the README. Imports nothing heavy."""

import statistics

from benchmarks.registry import cases

IMPORT_LIMIT = 0.2
#: The settings in which a step's work is linear.
LINEAR = ("batch", "samples", "steps")


def markdown(results, elsewhere=()):
    """Tables from the JSON values of a run: ratios against what must be reached, then every contender's figures.

    `elsewhere`: results of other machines, whose ratios and curves come last.
    """
    lines = [
        *ratio_table(results),
        "",
        "| | contender | ms a step (least to most) | s to the bound | first step s | peak MB |",
        "| --- | --- | --- | --- | --- | --- |",
        *contender_rows(results),
        "",
        "| step | GFLOP | GB | of peak FLOP/s | of peak bandwidth |",
        "| --- | --- | --- | --- | --- |",
        *count_rows(results),
    ]
    if "precision" in results:
        lines += [
            "",
            "| float32 / mixed bfloat16, 3 seeds | ms a step | bound after the same steps, nats (+- standard error) |",
            "| --- | --- | --- |",
            *precision_rows(results),
        ]
    lines += curve_table(results)
    for other in elsewhere:
        lines += ["", *ratio_table(other), *curve_table(other)]
    return "\n".join(lines) + "\n"


def curve_table(results):
    """Lines: the curves that should be straight, where there are any."""
    rows = list(curve_rows(results))
    title = "| our step where its work is linear | ms | peak MB | at the most off the line through the ends by: ms, MB |"
    return ["", title, "| --- | --- | --- | --- |", *rows] if rows else []


def ratio_table(results):
    """What was measured when and on what, and the ratios: lines."""
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items() if version)
    dates = sorted(own["date"] for own in measured(results).values()) or [machine["date"]]
    return [
        f"Measured {' to '.join(dict.fromkeys((dates[0], dates[-1])))}{_minutes(results)} on {machine['cores']} cores of "
        f"{machine['cpu']} ({results['threads']} threads, load {machine['load']:.1f} at the start; {results['mode']} mode): "
        "ratios of medians, the contenders of a case in turn in one run. "
        f"Measured peaks: {_peaks(results)}. {versions}.",
        "",
        "| our step over | ratio | must | aim | |",
        "| --- | --- | --- | --- | --- |",
        *ratio_rows(results),
    ]


def ratios(results):
    """Dicts of `what`, `ratio` (None where a peer did not run), `must` and `aim` (None where there is no limit)."""
    known, found = cases(), []
    for name, figures in results["cases"].items():
        ours = figures["keras_gen"]["median"]
        for what, peers, must, aim in known[name].limits:
            theirs = [figures[peer]["median"] for peer in peers if "median" in figures.get(peer, {})]
            ratio = ours / min(theirs) if theirs else None
            found.append({"what": f"{known[name].title} / {what}", "ratio": ratio, "must": must, "aim": aim})
        if "first" in figures["keras_gen"]:
            must, aim = known[name].first_limits
            what = f"{known[name].title}: first step, s, compilation included"
            found.append({"what": what, "ratio": figures["keras_gen"]["first"], "must": must, "aim": aim})
    seconds = {what: figures["median"] for what, figures in results["imports"].items()}
    for base in list(seconds)[1:]:
        must = IMPORT_LIMIT if base == "tensorflow + tensorflow_probability" else None
        more = seconds["keras_gen"] - seconds[base]
        found.append({"what": f"`import keras_gen`, s more than {base}", "ratio": more, "must": must, "aim": None})
    return found


def ratio_rows(results):
    for row in ratios(results):
        ratio, must, aim = row["ratio"], row["must"], row["aim"]
        verdict = "not run" if ratio is None else "" if must is None else "missed" if ratio > must else "reached"
        if verdict == "reached" and aim is not None and ratio <= aim:
            verdict = "aim reached"
        limits = " | ".join("" if limit is None else f"<= {limit:g}" for limit in (must, aim))
        yield f"| {row['what']} | {'' if ratio is None else f'{ratio:.2f}'} | {limits} | {verdict} |"


def failures(results):
    """A line for each contender that did not run."""
    return [
        f"{case}, {name} did not run: {own['error']}"
        for case, figures in results["cases"].items()
        for name, own in figures.items()
        if "error" in own
    ]


def contender_rows(results):
    known = cases()
    for case, figures in results["cases"].items():
        for name, own in figures.items():
            if name == "counts":
                continue
            if "error" in own:
                yield f"| {known[case].title} | {name} | did not run: {own['error']} | | | |"
                continue
            seconds = own.get("bound", {}).get("seconds")
            yield (
                f"| {known[case].title} | {name} | {own['median']:.2f} ({own['min']:.2f} to {own['max']:.2f}) | "
                f"{'' if seconds is None else f'{seconds:.1f}'} | {own['first']:.1f} | {own['memory'] / 2**20:.0f} |"
            )


def measured(results):
    """When each case was measured and the machine's peaks at that time: name to `date` and `peaks`."""
    here = {key: results["machine"][key] for key in ("date", "peaks")}
    return results.get("measured") or dict.fromkeys(results["cases"], here)


def _peaks(results):
    """The peaks of all days that the cases were measured on, each once."""
    found = [own["peaks"] for own in measured(results).values()] or [results["machine"]["peaks"]]
    return ", ".join(dict.fromkeys(f"{own['flops'] / 1e9:.0f} GFLOP/s and {own['bytes'] / 1e9:.0f} GB/s" for own in found))


def count_rows(results):
    known, when = cases(), measured(results)
    for case, figures in results["cases"].items():
        if "flops" in figures.get("counts", {}):
            peaks = when[case]["peaks"]
            counts, seconds = figures["counts"], figures["keras_gen"]["median"] / 1e3
            yield (
                f"| {known[case].title} | {counts['flops'] / 1e9:.3f} | {counts['bytes'] / 1e9:.3f} | "
                f"{counts['flops'] / seconds / peaks['flops']:.0%} | {counts['bytes'] / seconds / peaks['bytes']:.0%} |"
            )


def precision_rows(results):
    for case, policies in results["precision"].items():
        ms = " / ".join(f"{statistics.median(own['ms'] for own in runs):.2f}" for runs in policies.values())
        bounds = []
        for runs in policies.values():
            values = [own["bound"] for own in runs]
            bounds.append(f"{statistics.mean(values):.2f} +- {statistics.stdev(values) / len(values) ** 0.5:.2f}")
        yield f"| {cases()[case].title} | {ms} | {' / '.join(bounds)} |"


def curve_rows(results):
    for curve in results.get("curves", ()):
        if curve["setting"] in LINEAR:
            values, ms, megabytes = curve["values"], curve["ms"], [own / 2**20 for own in curve.get("bytes", ())]
            what = f"{cases()[curve['case']].title}, {curve['setting']} = {', '.join(map(str, values))}"
            off = [_off_line(values, measures) for measures in (ms, megabytes) if measures]
            yield (
                f"| {what} | {', '.join(f'{each:.2f}' for each in ms)} | {', '.join(f'{each:.0f}' for each in megabytes)} | "
                f"{', '.join(f'{each:.0%}' for each in off)} |"
            )


def _off_line(values, measures):
    """The largest relative distance of `measures` from the line through the first and the last."""
    slope = (measures[-1] - measures[0]) / (values[-1] - values[0])
    line = [measures[0] + slope * (value - values[0]) for value in values]
    return max(abs(each / straight - 1) for each, straight in zip(measures, line, strict=True))


def _minutes(results):
    return f", in one run of {results['minutes']:.0f} minutes," if "minutes" in results else ""
