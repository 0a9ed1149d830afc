"""docs/walkthrough.md, typed as it stands: sensor, link, database, gauge; brokers killed; PostgreSQL."""

import os
import re
import subprocess
import threading
import time
from pathlib import Path

import pytest

from broker import HOST, cork_bin, free_port
from databases import Postgres
from waiting import until

pytestmark = pytest.mark.cork_only

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "walkthrough.md"
BUILD = "cargo build --release\n"
STAYS = re.compile(r"target/release/cork (serve|sim) ")


class Folder:
    """The folder of the project, and what somebody typed there. Ports and the name of the demo are others than on the page:
    several tests run at once."""

    def __init__(self, path):
        self.path, self.terminals = path, {}
        (path / "target/release").mkdir(parents=True)
        os.symlink(cork_bin(), path / "target/release/cork")
        self.demo = f"demo-{os.getpid()}"
        self.ports = {word: str(free_port()) for word in ("1883", "1884", "8080")}
        self.environment = os.environ | {"CORK_URL": f"http://{HOST}:{self.ports['8080']}"}

    def here(self, text):
        for word, port in self.ports.items():
            text = re.sub(rf"\b{word}\b", port, text)
        text = text.replace("sub -t", f"sub -p {self.ports['1883']} -t")
        return re.sub(r"\bdemo\b", self.demo, text)

    def script(self, block):
        file = self.path / "typed.sh"
        file.write_text("set -e\n" + self.here(block))
        return ["bash", str(file)]

    def type(self, block):
        """Types a block and returns what it says; a program that stays gets a terminal of its own."""
        if STAYS.match(block):
            program = ["bash", "-c", "exec " + self.here(block)]
            log = open(self.path / f"terminal-{len(self.terminals)}.log", "ab")
            self.terminals[block] = subprocess.Popen(program, cwd=self.path, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            return ""
        done = subprocess.run(self.script(block), cwd=self.path, env=self.environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (block, done.stdout, done.stderr)
        return done.stdout + done.stderr

    def log(self):
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.path.glob("terminal-*.log")))

    def close(self):
        for child in self.terminals.values():
            child.kill()
            child.wait()


def blocks():
    return re.findall(r"```(sh|toml)\n(.*?)```", PAGE.read_text(), re.S)


@pytest.fixture
def folder(workdir, running):
    return running(Folder(workdir / "corkboard"))


def test_from_a_sensor_to_a_gauge_through_two_kills(folder, workdir, running, figure):
    begun = time.monotonic()
    shell = [text for kind, text in blocks() if kind == "sh"]
    build, home, field, temperature, meter, look, rows, kill, count, reload = shell
    assert build.startswith(BUILD)
    said = folder.type(build.removeprefix(BUILD))
    assert f"would create file {folder.demo}/home/iot.db, table messages" in said
    folder.type(home)
    until(lambda: "Stop with Ctrl-C" in folder.log())
    folder.type(field)
    until(lambda: folder.log().count("Stop with Ctrl-C") == 2)
    folder.type(temperature)
    folder.type(meter)
    said = folder.type(look)
    assert len(re.findall(r"^field/sensors/(temperature|meter) \d", said, re.M)) == 5, said
    assert re.search(r"^readings .*working", said, re.M), said
    assert until(lambda: re.findall(r"'field/sensors/temperature', \d+\.\d\)", folder.type(rows)))
    gauge = subprocess.Popen(
        [os.environ["E2E_NODE"], str(ROOT / "web/test/walk.mjs"), f"http://127.0.0.1:{folder.ports['8080']}"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    running(Ended(gauge))
    heard = []
    listening = threading.Thread(target=lambda: heard.extend(iter(gauge.stdout.readline, "")), daemon=True)
    listening.start()
    until(lambda: any(line.startswith("moves") for line in heard) or gauge.poll() is not None, 60, "a gauge that moves")
    assert gauge.poll() is None, heard
    folder.type(kill)
    until(lambda: any(line.startswith("away") for line in heard), 30, "a page that knows it")
    folder.type(field)
    folder.type(home)
    until(lambda: "readings: " in folder.type(count))
    gauge.wait(60)
    assert gauge.returncode == 0, heard
    assert heard[-1].startswith("moves again"), heard
    until(lambda: int(re.search(r"readings: (\d+)", folder.type(count))[1]) > 10, 30, "the meter's readings after the kill")
    assert "missing: 0 twice: 0" in folder.type(count)
    figure(f"walkthrough: from the first command to readings that outlived two kills {time.monotonic() - begun:.0f} s")


class Ended:
    def __init__(self, child):
        self.child = child

    def stop(self):
        self.child.kill()
        self.child.wait()


def test_the_same_into_postgresql(folder, workdir, running):
    shell = [text for kind, text in blocks() if kind == "sh"]
    build, home, field, temperature = shell[:4]
    reload = shell[-1]
    (addition,) = [text for kind, text in blocks() if kind == "toml"]
    folder.type(build.removeprefix(BUILD))
    for block in (home, field, temperature):
        folder.type(block)
    until(lambda: "Stop with Ctrl-C" in folder.log())
    server = running(Postgres(workdir / "postgres"))
    server.start()
    config = folder.path / folder.demo / "home"
    assert "postgresql://USER@127.0.0.1/DATABASE" in addition
    with open(config / "cork.toml", "a") as file:
        file.write("\n" + addition.replace("postgresql://USER@127.0.0.1/DATABASE", server.url))
    (config / "postgres.password").write_text("any\n")
    assert "sink postgres (postgresql)" in folder.type(reload)
    until(lambda: "reloaded: sink postgres: new" in folder.log() and "created table messages" in folder.log())
    until(lambda: int(server.query("SELECT count(*) FROM messages")[0]) > 2)
    server.stop()
    until(lambda: "cannot save, messages wait" in folder.log(), 40)
    server.start()
    until(lambda: "saves again" in folder.log(), 40)
