"""What a measurement was made on and with, as far as a reader has to know."""

import datetime
import os
import pathlib
import platform
import re
import resource
import signal
import subprocess

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent.parent
RESULTS = REPOSITORY / "perf" / "results"


def output_of(*command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    except FileNotFoundError:
        return ""
    return run.stdout.strip()


def processor():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def cores():
    return len(os.sched_getaffinity(0))


def memory_bytes():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def filesystem(folder):
    """The kind of the file system that holds a folder."""
    found = output_of("stat", "--file-system", "--format", "%T", str(folder))
    return "ext4" if found == "ext2/ext3" else found


def short_name():
    """Two words for file names: who made the processor, and how many cores there are."""
    words = re.findall(r"[a-z]+", processor().lower())
    known = [word for word in words if word in ("epyc", "xeon", "ryzen", "core", "graviton", "neoverse", "ampere")]
    return f"{known[0] if known else platform.machine()}-{cores()}-cores"


def result_name(given, kind=""):
    """Where results go unless told: the day and the machine."""
    day = datetime.date.today().isoformat()
    return given or "-".join(part for part in (day, short_name(), kind) if part)


def describe(scratch):
    return {
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": memory_bytes(),
        "kernel": platform.release(),
        "filesystem": filesystem(scratch),
        "load_average_before": os.getloadavg()[0],
        "commit": output_of("git", "rev-parse", "--short", "HEAD"),
        "compiler": output_of("rustc", "--version"),
    }


def sentence(machine):
    gigabytes = machine["memory_bytes"] / 2**30
    return (
        f"{machine['processor']}, {machine['cores']} cores, {gigabytes:.0f} GiB, Linux {machine['kernel']}, data on "
        f"{machine['filesystem']}, loopback; load generator and brokers share the cores. Load average before the run: "
        f"{machine['load_average_before']:.2f}."
    )


def end_in_order_when_told():
    """Lets SIGINT and SIGTERM end the program as ctrl-c does, brokers and all, also where a shell has it ignore them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def raise_open_file_limit():
    """Thousands of connections are thousands of files, here and in every broker that is started from here."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
