"""Figures by part, kept in the page of benchmarks between two marks."""

import platform
import re
import statistics
import textwrap
import time

BEGIN, END = "<!-- dev/bench-links: begin; what stands here is replaced -->", "<!-- dev/bench-links: end -->"
PART = "<!-- dev/bench-links {}: begin -->\n{}<!-- dev/bench-links {}: end -->\n"
PARTS = ("links", "latency", "sinks")


def median(values):
    return statistics.median(values)


def short(value):
    """Three digits."""
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:.3g}{unit}" if value < 1000 * limit else f"{value / limit:.0f}{unit}"
    return f"{value:.3g}"


def paragraph(text):
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False) + "\n\n"


def table(head, rows):
    aligned = ["---"] + ["--:"] * (len(head) - 1)
    return "".join("| " + " | ".join(row) + " |\n" for row in [head, aligned, *rows])


def machine():
    cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
    count = len(re.findall(r"^processor", open("/proc/cpuinfo").read(), re.M))
    load = open("/proc/loadavg").read().split()[0]
    return f"{count} CPUs ({cpu[1] if cpu else platform.machine()}), Linux {platform.release()}, load {load} at the start, {time.strftime('%B %Y')}"


def write(path, parts):
    """Replaces these parts, and leaves the rest as it is."""
    page = open(path).read()
    if BEGIN not in page:
        empty = "".join(PART.format(name, "", name) for name in PARTS)
        page = page.rstrip("\n") + f"\n\n{BEGIN}\n## Links and sinks\n\n```sh\ndev/bench-links\n```\n\n{empty}{END}\n"
    for name, text in parts.items():
        begin, end = PART.format(name, "\0", name).split("\0")
        before, rest = page.split(begin)
        page = before + begin + text + end + rest.split(end)[1]
    with open(path, "w") as file:
        file.write(page)
