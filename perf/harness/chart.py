"""SVG charts without dependencies: bars for comparisons, lines for curves. Light, labelled, with units.

It owns the drawing and the ticks of axes; what is drawn, and in which unit, its callers say.
"""

import html
import math

COLOURS = ["#2166ac", "#d6604d", "#4d9221", "#8c6bb1", "#bf812d", "#35978f", "#c51b7d", "#737373", "#67a9cf"]
INK, GRID, PAPER = "#222222", "#e3e3e3", "#ffffff"
FONT = "font-family='Helvetica, Arial, sans-serif'"


def readable(value):
    """Three digits with a decimal prefix."""
    for size, prefix in ((1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= size:
            return f"{value / size:.{3 if value < 999.5 * size else 4}g}{prefix}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def text(x, y, words, size=12, anchor="start", colour=INK, weight="normal", turn=""):
    return (
        f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' text-anchor='{anchor}' fill='{colour}' "
        f"font-weight='{weight}' {turn} {FONT}>{html.escape(str(words))}</text>"
    )


def line(x1, y1, x2, y2, colour=GRID, width=1.0):
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}' stroke-width='{width}'/>"


def page(width, height, parts):
    body = "\n".join(parts)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {width:.0f} {height:.0f}' width='{width:.0f}' "
        f"height='{height:.0f}'>\n<rect width='100%' height='100%' fill='{PAPER}'/>\n{body}\n</svg>\n"
    )


class Axis:
    """Where a value lies between two ends, in equal steps or in powers of ten."""

    def __init__(self, values, start, end, log):
        values = [value for value in values if value > 0 or not log] or [1]
        self.start, self.end, self.log = start, end, log
        if log:
            self.low = math.floor(math.log10(min(values)))
            self.high = max(math.ceil(math.log10(max(values))), self.low + 1)
        else:
            self.low, self.high = min(0, *values), max(*values, 1e-9) * 1.05

    def place(self, value):
        value = math.log10(max(value, 10.0**self.low)) if self.log else value
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self):
        if self.log and self.high - self.low <= 2:
            return [first * 10.0**power for power in range(self.low, self.high) for first in (1, 2, 5)] + [10.0**self.high]
        if self.log:
            step = max(1, math.ceil((self.high - self.low) / 8))
            return [10.0**power for power in range(self.low, self.high + 1, step)]
        raw = (self.high - self.low) / 5
        size = 10 ** math.floor(math.log10(raw))
        step = min((factor * size for factor in (1, 2, 5, 10)), key=lambda width: abs(width - raw))
        return [step * number for number in range(int(self.high / step) + 1)]


def bars(title, unit, groups, log=True):
    """Horizontal bars. `groups` are (label, [(series, median, least, most)]); a series has one colour throughout."""
    series = list(dict.fromkeys(name for _, values in groups for name, *_ in values))
    left, right, bar, gap, top = 300, 110, 15, 12, 74 + 18 * math.ceil(len(series) / 5)
    width = 1000
    height = top + sum(len(values) * bar + gap for _, values in groups) + 40
    axis = Axis([most for _, values in groups for _, _, _, most in values], left, width - right, log)
    if log:
        smallest = min((least for _, values in groups for _, _, least, _ in values if least > 0), default=1)
        axis = Axis([smallest / 2, *(most for _, values in groups for _, _, _, most in values)], left, width - right, log)
    parts = [text(16, 28, title, 17, weight="bold"), text(16, 48, unit + (", logarithmic" if log else ""), 12)]
    for number, name in enumerate(series):
        x, y = 16 + 196 * (number % 5), 66 + 18 * (number // 5)
        parts.append(f"<rect x='{x}' y='{y - 9}' width='10' height='10' fill='{COLOURS[number % len(COLOURS)]}'/>")
        parts.append(text(x + 15, y, name, 12))
    for tick in axis.ticks():
        x = axis.place(tick)
        parts += [line(x, top - 6, x, height - 34), text(x, height - 16, readable(tick), 11, "middle")]
    y = top
    for label, values in groups:
        parts.append(text(left - 10, y + len(values) * bar / 2 + 4, label, 12, "end"))
        for name, median, least, most in values:
            colour = COLOURS[series.index(name) % len(COLOURS)]
            end = axis.place(median)
            parts.append(f"<rect x='{left}' y='{y + 1}' width='{max(end - left, 1):.1f}' height='{bar - 3}' fill='{colour}'/>")
            if most > least:
                parts.append(line(axis.place(least), y + bar / 2 - 0.5, axis.place(most), y + bar / 2 - 0.5, INK, 1.2))
            parts.append(text(max(end, axis.place(most)) + 5, y + bar - 4, readable(median), 11))
            y += bar
        y += gap
    return page(width, height, parts)


def curves(title, x_label, y_label, lines, log_x=True, log_y=False):
    """Lines through points: `lines` are (series, [(x, y)])."""
    width, left, right, bottom = 760, 84, 24, 58
    top = 74 + 18 * math.ceil(len(lines) / 4)
    height = top + 270 + bottom
    xs = [x for _, points in lines for x, _ in points]
    ys = [y for _, points in lines for _, y in points]
    across = Axis(xs, left, width - right, log_x)
    up = Axis(ys, height - bottom, top, log_y)
    parts = [text(16, 28, title, 16, weight="bold")]
    for number, (name, _) in enumerate(lines):
        x = 16 + 184 * (number % 4)
        y = 52 + 18 * (number // 4)
        parts.append(line(x, y - 4, x + 16, y - 4, COLOURS[number % len(COLOURS)], 3))
        parts.append(text(x + 21, y, name, 12))
    for tick in across.ticks():
        x = across.place(tick)
        parts += [line(x, top, x, height - bottom), text(x, height - bottom + 18, readable(tick), 11, "middle")]
    for tick in up.ticks():
        y = up.place(tick)
        parts += [line(left, y, width - right, y), text(left - 8, y + 4, readable(tick), 11, "end")]
    parts.append(text((left + width - right) / 2, height - 14, x_label + (", logarithmic" if log_x else ""), 12, "middle"))
    middle = (top + height - bottom) / 2
    turn = f"transform='rotate(-90 18 {middle:.1f})'"
    parts.append(text(18, middle, y_label + (", logarithmic" if log_y else ""), 12, "middle", turn=turn))
    for number, (_, points) in enumerate(lines):
        colour = COLOURS[number % len(COLOURS)]
        places = [(across.place(x), up.place(y)) for x, y in points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f"<polyline points='{path}' fill='none' stroke='{colour}' stroke-width='2'/>")
        if len(places) <= 60:
            parts += [f"<circle cx='{x:.1f}' cy='{y:.1f}' r='3' fill='{colour}'/>" for x, y in places]
    return page(width, height, parts)


def stack(charts):
    """Several charts of one width, one below the other."""
    parts, y, width = [], 0.0, 0.0
    for chart in charts:
        head, body = chart.split(">", 1)
        size = [float(part) for part in head.split("viewBox='")[1].split("'")[0].split()]
        parts.append(f"<g transform='translate(0 {y:.0f})'>{body.rsplit('</svg>', 1)[0]}</g>")
        y, width = y + size[3], max(width, size[2])
    # A background of one chart would be as high as all of them, and hide those above it.
    return page(width, y, [part.replace("height='100%'", "height='1'", 1) for part in parts])
