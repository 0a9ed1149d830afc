"""See dev/bench-links."""

import argparse
import atexit
import subprocess
import tempfile
import time
from pathlib import Path

import links
import report
import sinks

parser = argparse.ArgumentParser(prog="dev/bench-links", description="Links against Mosquitto's bridge, sinks against a Python saver.")
parser.add_argument("--quick", action="store_true", help="small sizes, one round, nothing is written")
parser.add_argument("--only", action="append", choices=report.PARTS, help="one part (may be repeated)")
parser.add_argument("--rounds", type=int, help="rounds in turns (3; 1 with --quick)")
parser.add_argument("--output", default="docs/benchmarks.md", help="the page whose part is replaced; - for none")
options = parser.parse_args()

rounds = options.rounds or (1 if options.quick else 3)
messages = 20_000 if options.quick else 200_000
backlog = 50_000 if options.quick else 1_000_000
# Of the sink and of the saver.
rows = {"postgresql": (20_000, 1000), "mongodb": (1000, 1000), "sqlite": (20_000, 1000)}
if options.quick:
    rows = {kind: (sink // 10, saver // 10) for kind, (sink, saver) in rows.items()}


def say(line):
    print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)


began, on, found, started = time.monotonic(), report.machine(), {}, []


class Popen(subprocess.Popen):
    """Is remembered, so that nothing goes on when something goes wrong."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        started.append(self)


subprocess.Popen = Popen
atexit.register(lambda: [child.kill() for child in started if child.poll() is None])
with tempfile.TemporaryDirectory(prefix="cork-links-", ignore_cleanup_errors=True) as folder:
    folder = Path(folder)
    folder.chmod(0o755)  # PostgreSQL runs as its own user
    for part in options.only or report.PARTS:
        made = {
            "links": lambda: links.throughput(folder, messages, rounds, say),
            "latency": lambda: links.latency(folder, backlog, say),
            "sinks": lambda: sinks.compare(folder, rows, rounds, say),
        }[part]()
        titles = {"links": "Throughput of a link", "latency": "Live topics beside a backlog", "sinks": "Rows into databases"}
        found[part] = f"\n### {titles[part]}\n\n{on}.\n\n{made}"
        print(found[part])
if not options.quick and options.output != "-":
    report.write(options.output, found)
say("done")
