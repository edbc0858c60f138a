"""Draws the dashboard from a live Prometheus, because the picture in the documentation must show real values, and a
machine without Grafana must be able to make it: `make dashboard-picture`. Writes SVG."""

import argparse
import html
import json
import math
import pathlib
import time
import urllib.parse
import urllib.request

COLUMN, ROW, GAP, FONT = 66, 30, 6, 12
COLOURS = ["#73bf69", "#5794f2", "#f2cc0c", "#ff9830", "#b877d9", "#f2495c", "#8ab8ff", "#37872d"]
NAMED = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2"}


def ask(prometheus, path, **parameters):
    with urllib.request.urlopen(f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}") as response:
        return json.load(response)["data"]["result"]


def filled(expression):
    return expression.replace("$namespace", ".*").replace("$__rate_interval", "1m")


def legend(template, labels):
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value)
    return template


def amount(value, unit):
    """A number with its unit, as short as Grafana shows it."""
    if math.isnan(value):
        return "none"
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "bytes":
        for name in ("B", "KiB", "MiB"):
            if abs(value) < 1024:
                return f"{value:.3g} {name}"
            value /= 1024
        return f"{value:.3g} GiB"
    if unit == "s":
        if value == 0:
            return "0 s"
        if abs(value) < 1:
            return f"{value * 1000:.3g} ms"
        return f"{value:.3g} s" if abs(value) < 60 else f"{value / 60:.3g} min"
    suffix = {"eps": " events/s", "reqps": " requests/s"}.get(unit, "")
    if abs(value) >= 1_000_000:
        return f"{value / 1_000_000:.3g} M{suffix}"
    if abs(value) >= 1_000:
        return f"{value / 1_000:.3g} K{suffix}"
    return f"{value:.3g}{suffix}"


def text(x, y, content, size=FONT, colour="#ccccdc", anchor="start", weight="normal"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{html.escape(content)}</text>'
    )


def colour_of(value, defaults):
    colour = "green"
    for step in defaults["thresholds"]["steps"]:
        if step["value"] is None or value >= step["value"]:
            colour = step["color"]
    return NAMED[colour]


def stat(panel, box, prometheus):
    x, y, width, height = box
    defaults, found = panel["fieldConfig"]["defaults"], []
    for target in panel["targets"]:
        for result in ask(prometheus, "query", query=filled(target["expr"])):
            value = float(result["value"][1])
            if not math.isnan(value):
                found.append((legend(target["legendFormat"], result["metric"]), value))
    if not found:
        return [text(x + width / 2, y + height / 2 + 14, defaults["noValue"], 18, "#8e8e99", "middle")]
    if len(found) == 1:
        name, value = found[0]
        shown = amount(value, defaults["unit"])
        return [text(x + width / 2, y + height / 2 + 18, shown, 24, colour_of(value, defaults), "middle", "bold")]
    lines, step = [], min(24, (height - 34) / len(found))
    for index, (name, value) in enumerate(found):
        line = y + 46 + index * step
        lines.append(text(x + 10, line, name))
        shown = amount(value, defaults["unit"])
        lines.append(text(x + width - 10, line, shown, 14, colour_of(value, defaults), "end", "bold"))
    return lines


def curves(panel, prometheus, start, end, step):
    found = []
    for target in panel["targets"]:
        results = ask(prometheus, "query_range", query=filled(target["expr"]), start=start, end=end, step=step)
        for result in results:
            points = [(float(at), float(value)) for at, value in result["values"]]
            points = [(at, value) for at, value in points if math.isfinite(value)]
            if points:
                found.append((legend(target["legendFormat"], result["metric"]), points))
    return found


def graph(panel, box, prometheus, times):
    x, y, width, height = box
    start, end, step = times
    unit = panel["fieldConfig"]["defaults"]["unit"]
    found = curves(panel, prometheus, start, end, step)
    if not found:
        return [text(x + width / 2, y + height / 2, "no data", 14, "#8e8e99", "middle")]
    highest = max(value for _, points in found for _, value in points)
    lowest = min(0.0, min(value for _, points in found for _, value in points))
    span = (highest - lowest) or 1.0
    left, right, top, bottom = x + 78, x + width - 12, y + 34, y + height - 44
    drawn = []
    for quarter in range(3):
        value = lowest + span * quarter / 2
        line = bottom - (bottom - top) * quarter / 2
        drawn.append(f'<line x1="{left}" y1="{line:.1f}" x2="{right}" y2="{line:.1f}" stroke="#2c3235"/>')
        drawn.append(text(left - 6, line + 4, amount(value, unit), 10, "#8e8e99", "end"))
    for minutes in (0, 0.5, 1):
        at = start + (end - start) * minutes
        place = left + (right - left) * minutes
        anchor = {0: "start", 0.5: "middle", 1: "end"}[minutes]
        drawn.append(text(place, bottom + 14, time.strftime("%H:%M:%S", time.gmtime(at)), 10, "#8e8e99", anchor))
    names = left
    for index, (name, points) in enumerate(found):
        colour = COLOURS[index % len(COLOURS)]
        across, up = (right - left) / (end - start), (bottom - top) / span
        places = [(left + across * (at - start), bottom - up * (value - lowest)) for at, value in points]
        path = " ".join(f"{at:.1f},{value:.1f}" for at, value in places)
        drawn.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        length = 18 + 6.2 * len(name)
        if names + length < right + 10:
            drawn.append(f'<rect x="{names:.1f}" y="{y + height - 20}" width="10" height="3" fill="{colour}"/>')
            drawn.append(text(names + 14, y + height - 15, name, 11))
            names += length
    return drawn


def draw(dashboard, prometheus, minutes):
    end = time.time()
    times = (end - minutes * 60, end, max(5, minutes * 60 / 120))
    drawn, offset, bottom = [], 0, 0
    for outer in dashboard["panels"]:
        # Folded rows are drawn unfolded: what follows moves down, as Grafana does it.
        grid = outer["gridPos"]
        inner = outer.get("panels", [])
        for panel in [outer, *inner]:
            grid = panel["gridPos"]
            box = (grid["x"] * COLUMN + GAP, (grid["y"] + offset) * ROW + GAP + 30)
            box = (*box, grid["w"] * COLUMN - GAP, grid["h"] * ROW - GAP)
            x, y, width, height = box
            bottom = max(bottom, y + height)
            if panel["type"] == "row":
                drawn.append(text(x + 4, y + 18, panel["title"], 15, weight="bold"))
                continue
            size = f'x="{x}" y="{y}" width="{width}" height="{height}"'
            drawn.append(f'<rect {size} rx="3" fill="#181b1f" stroke="#2c3235"/>')
            drawn.append(text(x + 10, y + 20, panel["title"], 13, weight="bold"))
            drawn += stat(panel, box, prometheus) if panel["type"] == "stat" else graph(panel, box, prometheus, times)
        if inner:
            last = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in inner)
            offset += last - outer["gridPos"]["y"] - 1
    width, height = 24 * COLUMN + GAP, bottom + GAP
    shown = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(end))
    title = text(GAP + 4, 24, f"{dashboard['title']} · the last {minutes} minutes before {shown}", 17, weight="bold")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
        f'viewBox="0 0 {width} {height:.0f}" font-family="DejaVu Sans, Arial, sans-serif">'
        f'<rect width="100%" height="100%" fill="#111217"/>{title}{"".join(drawn)}</svg>\n'
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--out", default="dashboard.svg")
    options = parser.parse_args()
    file = pathlib.Path(__file__).parent / "dashboards" / "customerio-aep.json"
    picture = draw(json.loads(file.read_text()), options.prometheus.rstrip("/"), options.minutes)
    pathlib.Path(options.out).write_text(picture)


main()
