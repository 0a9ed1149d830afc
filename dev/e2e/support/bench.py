"""Runs `cork bench` and reads its JSON."""

import json
import subprocess

from broker import HOST, PASSWORD, USER, cork_bin

SECONDS = 60


def run(arguments, *, code=0):
    """`cork bench` with these arguments; what it printed, after its exit code was the right one."""
    command = [cork_bin(), "bench", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    assert result.returncode == code, f"{command}: exit code {result.returncode}: {result.stdout}{result.stderr}"
    return result.stdout if code == 0 else result.stderr


def measure(port, line, *, scheme="mqtt", extra=()):
    """One scenario with everything checked, as the user of the broker on `port`: what it measured."""
    target = ["--url", f"{scheme}://{HOST}:{port}", "--user", USER, "--password", PASSWORD]
    return json.loads(run([*line.split(), *target, "--verify", "--json", *extra]))
