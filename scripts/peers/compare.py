"""From the lines of both sides to the rows of the table. Runs nothing and measures nothing."""

import json
import re
from typing import NamedTuple, Optional


class Figure(NamedTuple):
    median: float
    low: float  # lower quartile
    high: float  # upper quartile
    samples: int


class Result(NamedTuple):
    row: object
    ours: Optional[Figure]
    theirs: Optional[Figure]
    ratio: Optional[float]
    reached: Optional[bool]


def quantile(sorted_values, share):
    """Between two values: in proportion. Of one value: that value."""
    at = share * (len(sorted_values) - 1)
    low = int(at)
    high = min(low + 1, len(sorted_values) - 1)
    return sorted_values[low] + (sorted_values[high] - sorted_values[low]) * (at - low)


def figure(values):
    values = sorted(values)
    return Figure(*(quantile(values, share) for share in (0.5, 0.25, 0.75)), len(values))


def parse(text):
    """(bench, params, values) of each line that is a figure; others are skipped."""
    found = []
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                read = json.loads(line)
            except ValueError:
                continue
            values = read.get("samples") or [read.get("ns_per_op", read.get("value"))]
            if values[0] is not None:
                found.append((read["bench"], read["params"], values))
            continue
        # What `--example forward` prints: port, ns a packet with the upgrade machinery, without.
        match = re.match(r"net_(null|ring)\s+(\d+\.\d+)\s", line)
        if match:
            found.append((f"fwd.{match[1]}", "gateway", [float(match[2])]))
    return found


def pool(parsed):
    """All repetitions of all turns by (bench, params)."""
    all_ = {}
    for bench, params, values in parsed:
        all_.setdefault((bench, params), []).extend(values)
    return all_


def pattern(params):
    escaped = re.escape(params)
    return re.compile(escaped.replace(r"\#", r"\d+").replace("#", r"\d+").replace(r"\*", ".*"))


def side(lines, pooled, worst=False):
    """The figure of the best (or worst) line among those a row names."""
    figures = []
    for line in lines:
        wanted = pattern(line.params)
        for (bench, params), values in pooled.items():
            if bench == line.bench and wanted.fullmatch(params):
                figures.append(figure(values))
    if not figures:
        return None
    return (max if worst else min)(figures, key=lambda figure: figure.median)


def join(rows, ours, theirs):
    """A result for each row; without one side's lines it has no ratio."""
    results = []
    for row in rows:
        mine, peer = side(row.ours, ours, row.worst), side(row.theirs, theirs)
        ratio = reached = None
        if mine and peer and peer.median > 0:
            ratio = mine.median / peer.median
            reached = ratio <= row.goal
        results.append(Result(row, mine, peer, ratio, reached))
    return results


def number(value):
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 0.1 else f"{value:.2g}"


def spread(figure_):
    return f"{number(figure_.low)}..{number(figure_.high)}" if figure_ else "-"


HEAD = ("row", "ours, ns", "quartiles", "DPDK, ns", "quartiles", "ratio", "goal", "reached")


def table(results):
    cells = [HEAD]
    for row, ours, theirs, ratio, reached in results:
        name = row.name if row.unit is None else f"{row.name} ({row.unit})"
        said = {True: "yes", False: "NO", None: "not measured"}[reached]
        mine, peer = (number(f.median) if f else "-" for f in (ours, theirs))
        cells.append((name, mine, spread(ours), peer, spread(theirs), number(ratio), f"{row.goal:g}", said))
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    text = []
    for line in cells:
        padded = (c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths)))
        text.append("  ".join(padded).rstrip())
    return "\n".join(text)


def summary(results):
    measured = [result for result in results if result.reached is not None]
    reached = sum(result.reached for result in measured)
    return f"{reached} of {len(measured)} measured rows reach their ratio; {len(results) - len(measured)} not measured"


def as_json(results, conditions):
    def plain(figure_):
        if figure_ is None:
            return None
        return {"median": figure_.median, "q1": figure_.low, "q3": figure_.high, "samples": figure_.samples}

    rows = [
        {
            "row": row.name,
            "group": row.group,
            "unit": row.unit or "ns",
            "ours": plain(ours),
            "dpdk": plain(theirs),
            "ratio": ratio,
            "goal": row.goal,
            "reached": reached,
        }
        for row, ours, theirs, ratio, reached in results
    ]
    return json.dumps({"conditions": conditions, "rows": rows}, indent=1)
