"""Builds leveret and leveret-perf, and runs scenarios of the latter."""

import json
import os
import pathlib
import subprocess
import tempfile

from . import machine

# A run may take its duration, its warm-up, its preparation and the brokers' slowness; this is for what hangs.
PREPARATION_LIMIT_S = 240


class Failed(Exception):
    """A scenario that gave no result; says why, in one line."""


def build(profile="release"):
    """The folder of the programs."""
    command = ["cargo", "build", "--locked", "--profile", profile, "--bin", "leveret", "--bin", "leveret-perf"]
    subprocess.run(command, cwd=machine.REPOSITORY, check=True)
    target = os.environ.get("CARGO_TARGET_DIR", machine.REPOSITORY / "target")
    return pathlib.Path(target) / profile


class Load:
    """leveret-perf with the options that all scenarios of a measurement share."""

    def __init__(self, programs, duration, warmup):
        self.program = programs / "leveret-perf"
        self.duration = duration
        self.warmup = warmup

    def run(self, arguments, uri=None, pid=None, trailing=(), duration=None):
        """One run of a scenario: its figures, and its warnings under the key `warnings`."""
        duration = duration or self.duration
        with tempfile.NamedTemporaryFile(suffix=".json") as output:
            command = [self.program, *arguments, "--duration", str(duration), "--warmup", str(self.warmup)]
            command += ["--output", output.name]
            if uri:
                command += ["--uri", uri]
            if pid:
                command += ["--pid", str(pid)]
            if trailing:
                command += ["--", *trailing]
            limit = PREPARATION_LIMIT_S + 2 * duration
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False)
            except subprocess.TimeoutExpired as late:
                raise Failed(f"no result in {limit:.0f} s") from late
            if done.returncode != 0:
                lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
                raise Failed(lines[-1].removeprefix("leveret-perf: "))
            result = json.loads(pathlib.Path(output.name).read_text())
        return {**result["median"], "warnings": result["warnings"]}


def rate_of(figures):
    """The figure that a scenario is about, with its name: what came out, or what was done."""
    names = ["consume_per_s", "requests_per_s", "cycles_per_s", "syncs_per_s", "dead_letters_per_s", "drain_per_s", "fill_per_s"]
    names += ["queues_declared_per_s", "connections_opened_per_s"]
    names += [name for name in figures if name.startswith("relay_") and name.endswith("_per_s")]
    for name in names:
        if figures.get(name):
            return name, figures[name]
    if figures.get("publish_per_s"):
        return "publish_per_s", figures["publish_per_s"]
    return None, None


def processor_time_of(figures):
    """Microseconds of the broker's processor time for each message, or whatever was counted."""
    for name, value in figures.items():
        if "cpu_us_per" in name and "generator" not in name:
            return value
    return next((value for name, value in figures.items() if name.startswith("relay_") and "cpu" in name), None)


def latency_of(figures, percentile):
    for prefix in ("latency", "round_trip", "sync", "cycle"):
        value = figures.get(f"{prefix}_{percentile}_us")
        if value is not None:
            return value
    return None


def thing_of(figures):
    """Bytes of the broker's memory for each thing that was made, with the thing's name."""
    for name, value in figures.items():
        if name.startswith("resident_bytes_per_"):
            return name.removeprefix("resident_bytes_per_"), value
    return None, None
