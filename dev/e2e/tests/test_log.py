"""The log: where it goes, which lines are written, and that it never stops the broker."""

import json
import os
import signal
import subprocess
import time

import pytest

from broker import Cork, cork_bin, connect_packet, first_connack, free_port, HOST
from paho_client import PahoClient

pytestmark = pytest.mark.cork_only

WITHIN = 3.0


def wait_for(text, read):
    """Waits until `read()` has `text`; returns what it read."""
    deadline = time.monotonic() + WITHIN
    while text not in read():
        assert time.monotonic() < deadline, f"no `{text}` in: {read()}"
        time.sleep(0.01)
    return read()


class Logging:
    """A broker with a [log] section."""

    def __init__(self, workdir, password_file, log):
        self.broker = Cork(workdir, password_file, after=log)
        self.config, self.file = workdir / "cork.toml", workdir / "cork.log"
        self.broker.start()

    def reload(self, old, new):
        self.config.write_text(self.config.read_text().replace(old, new))
        self.broker.signal(signal.SIGHUP)

    def read(self):
        return self.file.read_text() if self.file.exists() else ""


@pytest.fixture
def logging(workdir, password_file):
    made = []

    def make(log):
        made.append(Logging(workdir, password_file, log))
        return made[-1]

    yield make
    for one in made:
        one.broker.stop()


def visit(one, name):
    client = PahoClient(one.broker, name)
    client.leave()
    client.close()


def test_a_file_is_opened_again_after_it_was_moved_away(logging, workdir):
    one = logging("[log]\noutput = { file = 'cork.log' }\n")
    visit(one, "first")
    wait_for("first", one.read)
    assert "first" not in one.broker.log(), "and not on standard error"
    assert one.file.stat().st_mode & 0o137 == 0, "others may neither read nor write it"
    one.file.rename(workdir / "cork.log.1")
    one.broker.signal(signal.SIGHUP)
    wait_for("reloaded: nothing changed", one.read)
    visit(one, "second")
    assert "first" not in wait_for("second", one.read)
    assert "second" not in (workdir / "cork.log.1").read_text()


def test_a_file_that_cannot_be_written_stops_nothing(logging, workdir):
    one = logging("[log]\noutput = { file = 'nowhere/cork.log' }\n")
    visit(one, "first")
    log = wait_for("first", one.broker.log)
    assert "nowhere/cork.log` can't be written" in log and "the log goes to standard error" in log
    (workdir / "nowhere").mkdir()
    one.broker.signal(signal.SIGHUP)
    visit(one, "second")
    wait_for("second", (workdir / "nowhere" / "cork.log").read_text)


def test_a_full_disk_stops_nothing(logging):
    one = logging("[log]\noutput = { file = '/dev/full' }\n")
    for number in range(20):
        visit(one, f"visitor{number}")
    wait_for("visitor19", one.broker.log)


def test_subsystems_have_levels_which_change_while_it_runs(logging):
    one = logging("[log]\noutput = { file = 'cork.log' }\nlevels = { client = 'warn' }\n")
    visit(one, "quiet")
    one.reload("client = 'warn'", "client = 'info'")
    wait_for("log.levels: client info (was client warn)", one.read)
    visit(one, "heard")
    assert "quiet" not in wait_for("heard", one.read)
    one.reload("levels = { client = 'info' }", "level = 'error'\nlevels = { broker = 'info' }")
    wait_for("log.level: error (was info)", one.read)
    visit(one, "silent")
    one.reload("'info'", "'warn'")
    one.broker.stop()
    assert "silent" not in one.read()


def test_json_text_and_place_change_while_it_runs(logging):
    one = logging("[log]\noutput = { file = 'cork.log' }\nformat = 'json'\n")
    visit(one, "first")
    wait_for("first", one.read)
    lines = [json.loads(line) for line in one.read().splitlines()]
    visits = [line for line in lines if line["target"] == "client" and line["fields"]["client"] == "first"]
    assert visits and visits[0]["level"] == "INFO"
    one.reload("'json'", "'text'")
    assert "INFO broker: reloaded: log.format: text (was json)" in wait_for("was json", one.read)
    one.reload("{ file = 'cork.log' }", "'stderr'")
    visit(one, "second")
    wait_for("second", one.broker.log)
    assert "second" not in one.read()


def test_a_pipe_that_nobody_reads_stops_nothing(workdir):
    port = free_port()
    command = [cork_bin(), "serve", "--listen", f"mqtt://{HOST}:{port}", "--data-dir", str(workdir / "data")]
    child = subprocess.Popen(command, cwd=workdir, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        alive = lambda: child.poll() is None  # noqa: E731
        for number in range(1500):  # three lines each, far more than a pipe and the queue take
            name = f"{number:04}" + "x" * 100
            packet = connect_packet(name) + b"\xe0\x00"
            assert first_connack(port, packet, deadline=time.monotonic() + 5, alive=alive) == b"\x20\x02\x00\x00"
        child.send_signal(signal.SIGHUP)
        child.send_signal(signal.SIGTERM)
        begin = time.monotonic()
        time.sleep(0.5)
        child.stderr.read()
        assert child.wait(10) == 0 and time.monotonic() - begin < 8
    finally:
        child.kill()


def test_the_journal_reads_how_important_a_line_is(workdir):
    log = workdir / "stream"
    with open(log, "wb") as stream:
        made = os.fstat(stream.fileno())
        environment = dict(os.environ, JOURNAL_STREAM=f"{made.st_dev}:{made.st_ino}")
        port = free_port()
        command = [cork_bin(), "serve", "--listen", f"mqtt://{HOST}:{port}", "--data-dir", str(workdir / "data")]
        child = subprocess.Popen(command, cwd=workdir, stdout=subprocess.DEVNULL, stderr=stream, env=environment)
        try:
            alive = lambda: child.poll() is None  # noqa: E731
            first_connack(port, connect_packet(), deadline=time.monotonic() + 5, alive=alive)
            child.send_signal(signal.SIGTERM)
            assert child.wait(10) == 0
        finally:
            child.kill()
    lines = log.read_text().splitlines()
    assert lines and all(line.startswith("<6> INFO ") for line in lines), lines
