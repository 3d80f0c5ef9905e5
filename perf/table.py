"""Turns the results of perf/compare into a table: one row a scenario and broker, medians of the runs."""

import json
import pathlib
import platform
import statistics
import subprocess
import sys

raw, seconds, repeats, skipped, *scenarios = sys.argv[1:]


def version(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def runs(index, broker):
    files = sorted(pathlib.Path(raw).glob(f"{index}-{broker}-*.json"))
    return [run for file in files for run in json.loads(file.read_text())["runs"]]


def median(results, key):
    values = [run[key] for run in results if key in run]
    return statistics.median(values) if values else None


def rate(value):
    if value is None:
        return ""
    for unit, size in (("M/s", 1e6), ("k/s", 1e3)):
        if value >= size:
            return f"{value / size:.2f} {unit}"
    return f"{value:.0f} /s"


def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


COLUMNS = "| scenario | broker | rate | least to most | broker CPU per message | latency p50 / p99 | resident |"

commit = version("git", "rev-parse", "--short", "HEAD")
print(f"# {pathlib.Path(raw).name}\n")
print(f"Machine: {processor()}, {len(__import__('os').sched_getaffinity(0))} cores, Linux {platform.release()}, loopback.  ")
print(f"Leveret {commit}; {version('nats-server', '--version')}; "
      f"RabbitMQ {version('dpkg-query', '-W', '-f', '${Version}', 'rabbitmq-server')} (Debian).  ")
print(f"Command: `perf/compare {pathlib.Path(raw).name} {seconds} {repeats}`; medians of {repeats} runs of {seconds} s, "
      "interleaved. Load generator and brokers share the cores.  ")
if skipped:
    print(f"Skipped: {skipped}  ")
print("\nThe rate is what consumers received (for rpc: round trips). RabbitMQ confirms classic queues before the disk has "
      "the message; Leveret after fdatasync. NATS is core NATS: no acknowledgements, nothing kept. The relay moves the "
      "same bytes with no broker at all.\n")
print(COLUMNS)
print("|---|---|---|---|---|---|---|")
for index, scenario in enumerate(scenarios):
    label, _, brokers = scenario.split("|")
    for broker in brokers.split():
        results = runs(index, broker)
        if not results:
            continue
        keys = ["consume_per_s", "requests_per_s", "round_trips_per_s"]
        keys += [key for key in results[0] if key.startswith("relay_") and key.endswith("_per_s")]
        key = next((key for key in keys if key in results[0]), None)
        rates = [run[key] for run in results] if key else []
        cpu = next((median(results, key) for key in results[0] if "cpu_us_per" in key and "generator" not in key), None)
        p50 = median(results, "latency_p50_us") or median(results, "round_trip_p50_us")
        p99 = median(results, "latency_p99_us") or median(results, "round_trip_p99_us")
        latency = f"{p50:.0f} / {p99:.0f} µs" if p50 else ""
        resident = median(results, "broker_resident_bytes")
        print(f"| {label} | {broker} | {rate(statistics.median(rates)) if rates else ''} "
              f"| {rate(min(rates)) + ' – ' + rate(max(rates)) if rates else ''} "
              f"| {number(cpu, 3) + ' µs' if cpu else ''} | {latency} "
              f"| {number(resident / 1e6, 0) + ' MB' if resident else ''} |")
