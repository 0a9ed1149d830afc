"""Every command of docs/operate.md, run as it stands there, and the files of deploy/."""

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from broker import HOST, PASSWORD, cork_bin
from test_http import Served

pytestmark = pytest.mark.cork_only

ROOT = Path(__file__).resolve().parents[3]
PAGE = ROOT / "docs" / "operate.md"


def commands():
    """The lines of its shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.S)
    return [line for block in blocks for line in block.splitlines()]


@pytest.fixture
def lively(workdir):
    """A broker with a client that is there, and a retained message."""
    import paho.mqtt.client as paho

    process = Served(workdir)
    process.start()
    lamp = paho.Client(paho.CallbackAPIVersion.VERSION2, "lamp", clean_session=False)
    lamp.on_connect = lambda client, *_: client.subscribe("home/#", 1)
    lamp.connect(HOST, process.port)
    lamp.loop_start()
    lamp.publish("home/lamp", "on", 1, retain=True).wait_for_publish(5)
    yield process
    lamp.loop_stop()
    process.stop()


def test_each_command_of_the_page_does_what_it_says(lively, tmp_path):
    passwords = {"CORK_NEW_PASSWORD": PASSWORD, "CORK_PASSWORD": PASSWORD}
    environment = os.environ | {"CORK_URL": f"http://{HOST}:{lively.http}"} | passwords
    lines = commands()
    assert len(lines) > 50
    for line in lines:
        words = shlex.split(line)
        assert words[0] == "cork", line
        for _ in range(50):  # who was kicked comes back by itself
            command = [cork_bin(), *words[1:]]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, cwd=tmp_path)
            if "there is no session" not in done.stderr and "not connected" not in done.stderr:
                break
            time.sleep(0.1)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert done.stdout, line


def test_the_page_shows_what_is_there(lively):
    environment = os.environ | {"CORK_URL": f"http://{HOST}:{lively.http}"}

    def run(*words):
        return subprocess.run([cork_bin(), *words], capture_output=True, text=True, timeout=30, env=environment).stdout

    assert "lamp" in run("ctl", "clients")
    assert "home/#" in run("ctl", "subscriptions", "lamp")
    assert re.search(r"home/lamp +on +2 ", run("ctl", "retained", "list", "home/#"))
    assert "1 clients" in run("top", "--seconds", "2") or "2 clients" in run("top", "--seconds", "2")


def test_alert_rules_and_the_dashboard_name_what_metrics_there_are(lively):
    time.sleep(1.1)
    text = lively.ask("GET", "/metrics")[2].decode()
    there = set(re.findall(r"^([a-z_]+)[ {]", text, re.M))
    named = set()
    for file in ("alerts.yml", "grafana-dashboard.json"):
        text = (ROOT / "deploy" / file).read_text().replace("\\n", " ")
        named |= set(re.findall(r"\b(?:cork|process)_[a-z_]+\b", text))
    assert named and named <= there | {"cork_build_info"}, named - there
    json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
    promtool = os.environ.get("PROMTOOL")
    if promtool:
        done = subprocess.run([promtool, "check", "rules", str(ROOT / "deploy" / "alerts.yml")], capture_output=True, timeout=20)
        assert done.returncode == 0, done.stderr
