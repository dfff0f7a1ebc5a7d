"""What the speed comparisons share: one run of a command with its conditions, the figures of both lanes, the machine they ran on."""
import json
import os
import pathlib
import platform
import shlex
import statistics
import subprocess
import time

import statistic

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class Unavailable(Exception):
    """A program or a measurement that can't be had here; the text says why."""


def load_average():
    """Processes that wanted a processor in the last minute, None where the system doesn't say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else None


def busy_processors(seconds):
    """Sleeps so long; how many processors' worth of time others used meanwhile, None where the system doesn't say."""

    def used():
        try:
            fields = [int(word) for word in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
            return sum(fields) - fields[3] - fields[4]  # all but idle and waiting for a disk
        except (OSError, ValueError, IndexError):
            return None

    before = used()
    time.sleep(seconds)
    after = used()
    return None if before is None or after is None or not seconds else (after - before) / os.sysconf("SC_CLK_TCK") / seconds


def run(command, timeout=None):
    """One run of a program that prints JSON: its output and the conditions it ran under."""
    load = load_average()
    began = time.monotonic()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Unavailable(f"took longer than {timeout:.0f} s") from None
    if done.returncode != 0:
        raise Unavailable(failure(done.returncode, done.stderr))
    return {"load_1min_before": load, "wall_s": time.monotonic() - began, "output": json.loads(done.stdout)}


def failure(status, complaint):
    """One line about a program that failed."""
    lines = complaint.strip().splitlines()
    return lines[0] if lines else f"ended with status {status}"


def summary(values):
    """Median, least, most and the values themselves."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "samples": values}


def ratios(ours, theirs):
    """Ours over theirs pair by pair, with the spread and (from 8 pairs on) the median's bootstrap interval."""
    each = [a / b for a, b in zip(ours, theirs)]
    return {
        "ratios": each,
        "ratio_median": statistics.median(each),
        "ratio_min": min(each),
        "ratio_max": max(each),
        "ratio_median_ci95": statistic.median_interval(each),
    }


def portable(command):
    """A command line without this machine's directories: paths relative to the repository, others by their last part."""

    def part(text):
        path = pathlib.Path(text)
        if not path.is_absolute():
            return text
        # The environment's python may lie in the repository or anywhere; only what it is matters.
        return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else path.name

    return shlex.join(part(str(argument)) for argument in command)


def processor():
    """The processor's name as the system gives it, None where it doesn't."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or None


def memory_bytes():
    """The machine's memory, None where the system doesn't say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def last_level_cache_bytes():
    """The size of the largest cache, None where the system doesn't say."""
    sizes = []
    for file in pathlib.Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        text = file.read_text().strip()
        sizes.append(int(text.rstrip("KMG")) << {"K": 10, "M": 20, "G": 30}.get(text[-1], 0))
    return max(sizes, default=None)


def host():
    """The machine, without its name."""
    return {
        "processor": processor(),
        "processors": os.cpu_count(),
        "last_level_cache_bytes": last_level_cache_bytes(),
        "memory_bytes": memory_bytes(),
        "machine": platform.machine(),
        "system": platform.system(),
        "release": platform.release(),
    }
