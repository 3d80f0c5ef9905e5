"""Turns the figures of perf/compare into its table, its charts and its file of raw results."""

import json
import re
import statistics

from . import chart, load, machine, scenarios

# What a chart of a group shows: title, unit, how to get the figure from a run.
CHARTS = {
    scenarios.RATE: [
        ("Throughput", "messages consumed per second", lambda run: load.rate_of(run)[1]),
        ("Broker's processor time", "microseconds per message", load.processor_time_of),
    ],
    scenarios.DISK: [("Durable: throughput", "messages per second", lambda run: load.rate_of(run)[1])],
    scenarios.EXTENSIONS: [
        ("RabbitMQ's extensions: throughput", "messages per second", lambda run: load.rate_of(run)[1]),
        ("Broker's processor time", "microseconds per message", load.processor_time_of),
    ],
    scenarios.ENCRYPTED: [
        ("Over TLS: throughput", "messages per second", lambda run: load.rate_of(run)[1]),
        ("Broker's processor time", "microseconds per message", load.processor_time_of),
    ],
    scenarios.LATENCY: [("Latency, 99th percentile", "microseconds", lambda run: load.latency_of(run, "p99"))],
    scenarios.SCALE: [("Memory", "bytes for each connection or queue", lambda run: load.thing_of(run)[1])],
    scenarios.CHURN: [("Made and unmade", "per second", lambda run: load.rate_of(run)[1])],
    scenarios.START: [("From start to an open channel", "milliseconds", lambda run: run["ready_us"] / 1e3)],
}


def spread_of(result, pick):
    """Median, least and most over the runs that have the figure, or None."""
    values = [value for value in map(pick, result["runs"]) if value is not None]
    return (statistics.median(values), min(values), max(values)) if values else None


def rate(value):
    return f"{chart.readable(value)}/s"


def bytes_in_words(value):
    return f"{chart.readable(value)}B".replace("  ", " ")


def row_of(result):
    """The cells of a result: scenario, broker, and its figures in words."""
    cells = [result["label"], result["broker"]]
    if not result["runs"]:
        return [*cells, f"failed: {result['failed']}", "", "", "", ""]
    start = spread_of(result, lambda run: run.get("ready_us"))
    rates = spread_of(result, lambda run: load.rate_of(run)[1])
    if start:
        cells += [f"ready in {start[0] / 1e3:,.0f} ms", f"{start[1] / 1e3:,.0f} – {start[2] / 1e3:,.0f} ms"]
    elif rates:
        cells += [rate(rates[0]), f"{rate(rates[1])} – {rate(rates[2])}"]
    else:
        cells += ["", ""]
    processor = spread_of(result, load.processor_time_of)
    cells.append(f"{chart.readable(processor[0])} µs" if processor else "")
    p50 = spread_of(result, lambda run: load.latency_of(run, "p50"))
    p99 = spread_of(result, lambda run: load.latency_of(run, "p99"))
    cells.append(f"{p50[0]:,.0f} / {p99[0]:,.0f} µs" if p50 else "")
    thing = load.thing_of(result["runs"][0])[0]
    each = spread_of(result, lambda run: load.thing_of(run)[1])
    resident = spread_of(result, lambda run: run.get("broker_resident_bytes"))
    memory = bytes_in_words(resident[0]) if resident else ""
    if each:
        memory = ", ".join(part for part in (memory, f"{bytes_in_words(each[0])} a {thing}") if part)
    cells.append(memory)
    return cells


def share_of_plain(result, results):
    """How much of the rate of the same without an extension is left with it, and how much more processor time it takes."""
    plain = [one for one in results if (one["label"], one["broker"]) == (result["plain"], result["broker"])]
    pairs = [(spread_of(result, pick), spread_of(one, pick)) for one in plain
             for pick in (lambda run: load.rate_of(run)[1], load.processor_time_of)]
    return [own[0] / other[0] if own and other and other[0] else None for own, other in pairs] or [None, None]


def of_plain(result, results):
    rate_share, processor_share = share_of_plain(result, results)
    if rate_share is None:
        return ""
    return f"{rate_share:.2f}" + ("" if processor_share is None else f", CPU × {processor_share:.2f}")


def table(results):
    head = ["scenario", "broker", "median", "least – most", "broker CPU each", "p50 / p99", "broker's memory"]
    extended = any(result["plain"] for result in results)
    if extended:
        head.append("of plain")
    durable = any(result["durable"] for result in results)
    if durable:
        head += ["what its confirm promises", "syncs seen"]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for result in results:
        if result["arguments"] is None:
            continue
        cells = row_of(result)
        if extended:
            cells.append(of_plain(result, results))
        if durable:
            syncs = result.get("syncs_per_s")
            cells += [result["promise"], "" if syncs is None else f"{syncs:,.0f}/s"]
        if result["failed"] and result["runs"]:
            cells[1] += f" (then failed: {result['failed']})"
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def summary(results, order):
    """Every scenario in a line, every broker in a column: the median, and the broker's processor time for each."""
    names = list(dict.fromkeys(result["broker"] for result in results))
    names.sort(key=lambda name: order.index(name) if name in order else len(order))
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for group, label in dict.fromkeys((result["group"], result["label"]) for result in results):
        cells = []
        for name in names:
            own = [one for one in results if (one["group"], one["label"], one["broker"]) == (group, label, name)]
            cells.append(in_short(group, own[0], results) if own else "")
        lines.append(f"| {group}: {label} | {' | '.join(cells)} |")
    return lines


def in_short(group, result, results):
    if result["arguments"] is None:
        return "–"
    if not result["runs"]:
        return "failed"
    _, _, _, _, processor, late, memory = row_of(result)
    if group == scenarios.LATENCY:
        return late
    if group == scenarios.SCALE:
        return memory
    median = row_of(result)[2].removeprefix("ready in ")
    rate_share = share_of_plain(result, results)[0]
    share = f"{rate_share:.2f} of plain" if rate_share else ""
    return ", ".join(part for part in (median, processor, share) if part)


def notes(document):
    lines = []
    for name, broker in document["brokers"].items():
        parts = [f"**{name}**: {broker['version']}."]
        if broker["settings"]:
            parts.append(f"Settings: {broker['settings']}.")
        parts.append(f"A confirmed persistent message is {broker['promise']} ({broker['source']}).")
        lines.append("- " + " ".join(parts))
    return lines + [f"- Skipped: {reason}." for reason in document["skipped"]]


def warnings(results):
    found = []
    for result in results:
        for run in result["runs"]:
            for warning in run["warnings"]:
                entry = f"- {result['label']}, {result['broker']}: {re.sub(r'[0-9]{4,}', lambda n: f'{int(n[0]):,}', warning)}"
                if entry not in found:
                    found.append(entry)
    return found


def write_comparison(name, document):
    results, made = document["results"], document["machine"]
    machine.RESULTS.mkdir(exist_ok=True)
    (machine.RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    lines = [f"# {name}", "", machine.sentence(made), ""]
    lines += [f"Leveret {made['commit']}, built with {made['compiler']}. Command: `{document['command']}`.", ""]
    lines += [
        f"Medians of {document['repeats']} runs of {document['duration_s']:g} s, brokers in turn. A rate is what consumers "
        "received (where nobody consumes, what was published; for rpc, round trips; for what comes and goes, how often). "
        "Confirmed persistent messages may be confirmed without the disk once they were delivered and acknowledged; "
        "where nobody consumes, that is no way out. Syncs seen are fsync, fdatasync, msync, sync_file_range and syncfs "
        "calls of the broker, counted by strace in a run of their own. What is said \"of plain\" is the rate's share of the row "
        "without the extension, and beside it the broker's processor time for each message, as a multiple; – is what a broker "
        "does not have.", "",
    ]
    lines += [*notes(document), "", "## Summary", "", *summary(results, list(document["brokers"])), ""]
    for group in dict.fromkeys(result["group"] for result in results):
        own = [result for result in results if result["group"] == group]
        lines += [f"## {group}", ""]
        drawing = draw(group, own)
        if drawing:
            file = f"{name}-{re.sub('[^a-z]+', '-', group.lower())}.svg"
            (machine.RESULTS / file).write_text(drawing)
            lines += [f"![{group}]({file})", ""]
        lines += [*table(own), ""]
    warned = warnings(results)
    if warned:
        lines += ["## Warnings of the load generator", "", *warned, ""]
    (machine.RESULTS / f"{name}.md").write_text("\n".join(lines))


def draw(group, results):
    charts = []
    for title, unit, pick in CHARTS[group]:
        groups = {}
        for result in results:
            spread = spread_of(result, pick)
            if spread and spread[0] > 0:
                groups.setdefault(result["label"], []).append((result["broker"], *spread))
        if groups:
            charts.append(chart.bars(title, unit, list(groups.items())))
    return chart.stack(charts) if charts else None
