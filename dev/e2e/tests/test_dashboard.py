"""The dashboard of the real binary in a real browser: what web/test/*.mjs checks, against brokers that this starts."""

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from broker import HOST, PASSWORD, cork_bin, free_port
from test_http import ACL, ADMIN, VIEWER, Served, users_file  # noqa: F401

pytestmark = pytest.mark.cork_only

WEB = Path(__file__).resolve().parents[3] / "web"
SECONDS = 300


def node():
    return os.environ.get("E2E_NODE") or shutil.which("node")


def check(broker, script, **settings):
    """Runs one of the checks; fails with what it says."""
    environment = os.environ | {"CORK_HTTP": f"http://{HOST}:{broker.http}", "CORK_MQTT": str(broker.port)} | settings
    done = subprocess.run(
        [node(), str(WEB / "test" / script)], env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr + broker.log()[-3000:]


@pytest.fixture
def house(workdir):
    """A broker without users, and a house of simulated devices."""
    broker = Served(workdir)
    broker.start()
    devices = subprocess.Popen(
        [cork_bin(), "sim", "-b", f"mqtt://{HOST}:{broker.port}", "--quiet"], stderr=subprocess.DEVNULL
    )
    yield broker
    devices.kill()
    devices.wait()
    broker.stop()


def test_what_the_pages_compute():
    files = sorted(str(path) for path in (WEB / "test" / "unit").glob("*.test.mjs"))
    done = subprocess.run([node(), "--test", *files], capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stdout


def test_every_page_shows_what_the_broker_does(house):
    check(house, "pages.mjs")


def test_boards_show_and_switch(house):
    check(house, "boards.mjs")


def test_one_thing_in_detail(workdir):
    broker = Served(workdir)
    broker.command += ["--durability", "100ms"]
    broker.start()
    try:
        check(broker, "details.mjs")
        check(broker, "windows.mjs")
    finally:
        broker.stop()


def test_who_is_connected_and_what_goes_to_another_broker(workdir, authority):
    broker, port = Served(workdir), free_port()
    cert, key = authority.issue("dashboard")
    with open(workdir / "cork.toml", "a") as config:
        config.write(
            f'[[listener]]\nurl = "mqtts://{HOST}:{port}"\n'
            f'tls = {{ cert = "{cert}", key = "{key}", client_ca = "{authority.ca}", client_cert = "optional" }}\n'
        )
    (workdir / "remote").mkdir()
    remote = Served(workdir / "remote")
    broker.start()
    remote.start()
    try:
        check(
            broker, "connections.mjs", CORK_MQTTS=str(port), CORK_CA=str(authority.ca),
            REMOTE_MQTT=str(remote.port), REMOTE_HTTP=str(remote.http),
        )
    finally:
        remote.stop()
        broker.stop()


def test_roles_decide_what_a_page_offers(workdir, users_file):  # noqa: F811
    broker = Served(workdir, users_file, ACL)
    broker.start()
    try:
        check(broker, "roles.mjs", ADMIN=ADMIN, VIEWER=VIEWER, PASSWORD=PASSWORD)
    finally:
        broker.stop()


def test_a_page_outlives_its_broker(workdir):
    broker = Served(workdir)
    broker.start()
    environment = os.environ | {"CORK_HTTP": f"http://{HOST}:{broker.http}"}
    script = subprocess.Popen(
        [node(), str(WEB / "test" / "restart.mjs")], env=environment, stdout=subprocess.PIPE, text=True
    )
    said = []
    try:
        for line in script.stdout:
            said.append(line)
            if line == "kill\n":
                broker.child.kill()
                broker.wait()
            elif line == "start\n":
                broker.start()
        assert script.wait(30) == 0, "".join(said)
    finally:
        script.kill()
        broker.stop()


def test_the_bundle_is_what_its_sources_make(workdir):
    """Built anew from the lock file, byte for byte."""
    built, kept = workdir / "bundle", WEB.parent / "crates" / "http" / "assets"
    subprocess.run(
        [node(), str(WEB / "node_modules" / "vite" / "bin" / "vite.js"), "build"],
        cwd=WEB, env=os.environ | {"CORK_WEB_OUT": str(built)}, check=True, capture_output=True, timeout=SECONDS,
    )
    files = {path.relative_to(built): path.read_bytes() for path in built.rglob("*") if path.is_file()}
    there = {path.relative_to(kept): path.read_bytes() for path in kept.rglob("*") if path.is_file()}
    assert sorted(files) == sorted(there)
    assert [name for name in files if files[name] != there[name]] == []
    compressed = sum(len(zlib.compress(body, 9)) for body in files.values())
    print(f"bundle: {compressed / 1024:.0f} KiB compressed", file=sys.stderr)
    assert compressed < 300 * 1024
