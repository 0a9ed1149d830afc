"""History: clients that know nothing of it, unchanged, against the real binary; every example of docs/history.md."""

import csv
import http.client
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker import HOST, PASSWORD, USER, Cork, add_user, cork_bin, free_port
from mosquitto_tools import Subscriber, publish

pytestmark = pytest.mark.cork_only
PAGE = (Path(__file__).parents[3] / "docs" / "history.md").read_text()
TOPIC = "sensor/kitchen/temperature"
PATIENCE = 20


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def broker(workdir, password_file):
    port = free_port()
    after = f'{blocks("toml")[0]}\n[[listener]]\nurl = "http://{HOST}:{port}"\n'
    process = Cork(workdir, password_file, after=after)
    process.http = port
    process.start()
    yield process
    process.stop()


def client(broker, version=paho.MQTTv311, client_id="", **more):
    one = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=version, **more)
    one.username_pw_set(USER, PASSWORD)
    one.connect(HOST, broker.port)
    one.loop_start()
    return one


def send(broker, payloads, topic=TOPIC, qos=1):
    one = client(broker)
    for payload in payloads:
        one.publish(topic, payload, qos).wait_for_publish(PATIENCE)
    one.disconnect()
    one.loop_stop()


def eventually(what):
    deadline = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def history(broker, *arguments, data_dir=None, check=True):
    command = [cork_bin(), "history", *arguments]
    if data_dir is None:
        command += ["--url", f"http://{HOST}:{broker.http}", "--user", USER]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, env={**os.environ, "CORK_PASSWORD": PASSWORD})
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout


def rows(broker, *arguments):
    return list(csv.DictReader(io.StringIO(history(broker, *arguments, "--csv").decode())))


def test_mosquitto_sub_gets_the_last_100_then_live(broker):
    send(broker, [str(n) for n in range(150)])
    command = next(line for line in blocks("sh") if "$history" in line)
    filter_ = shlex.split(command)[2]
    published = [str(n) for n in range(150)]
    for version in (311, 5):
        reader = Subscriber(broker, filter_, count=102, version=version, form="%p|%r")
        send(broker, ["now", "and now"])
        assert reader.lines() == [f"{payload}|0" for payload in [*published[-100:], "now", "and now"]]
        published += ["now", "and now"]


def test_the_paho_script_of_the_page(broker, workdir):
    send(broker, ["20.5", "21"])
    script = blocks("python")[0].replace("1883", str(broker.port))
    script = script.replace("client.connect(", f"client.username_pw_set({USER!r}, {PASSWORD!r})\nclient.connect(")
    child = subprocess.Popen([sys.executable, "-u", "-c", script], stdout=subprocess.PIPE, text=True)
    try:
        assert [child.stdout.readline().strip() for _ in range(2)] == [f"{TOPIC} 20.5", f"{TOPIC} 21"]
        send(broker, ["22"])
        assert child.stdout.readline().strip() == f"{TOPIC} 22"
    finally:
        child.kill()
        child.wait()


def test_mosquitto_sub_by_user_property(broker):
    send(broker, ["1", "2"])
    command = shlex.split(next(line for line in blocks("sh") if "replay" in line))
    more = command[3:-2]
    reader = Subscriber(broker, command[-1], count=3, form="%p", more=more)
    send(broker, ["3"])
    assert reader.lines() == ["1", "2", "3"]


def test_a_v5_client_finds_the_original_time(broker):
    before = time.time()
    send(broker, ["1"])
    came, ready = [], threading.Event()
    reader = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    reader.username_pw_set(USER, PASSWORD)
    reader.on_message = lambda _c, _u, message: came.append(message)
    reader.on_subscribe = lambda *_: ready.set()
    reader.connect(HOST, broker.port)
    reader.loop_start()
    asked = Properties(PacketTypes.SUBSCRIBE)
    asked.UserProperty = ("replay", "since=1h")
    reader.subscribe("sensor/#", 1, properties=asked)
    assert ready.wait(PATIENCE)
    send(broker, ["2"])
    eventually(lambda: len(came) == 2)
    reader.loop_stop()
    assert [one.payload for one in came] == [b"1", b"2"]
    name, text = came[0].properties.UserProperty[0]
    assert name == "time" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    assert text >= time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(before))
    assert getattr(came[1].properties, "UserProperty", None) is None


def test_numbers_over_time_by_the_commands_of_the_page(broker, workdir):
    send(broker, ["20", "21", "25"])
    send(broker, ['{"temperature": 19.5, "in": {"h": 40}}'], topic="sensor/bath/climate")
    eventually(lambda: len(rows(broker, "sensor/#")) == 5)
    command = [shlex.split(line) for block in blocks("sh") for line in block.splitlines()]
    commands = [words[2:] for words in command if words[:2] == ["cork", "history"]]
    steps = history(broker, *commands[0]).decode().splitlines()
    assert steps[0].split("\t") == ["topic", "field", "time", "min", "max", "mean", "last", "count"]
    assert sum(int(line.split("\t")[-1]) for line in steps[1:]) == 3
    [climate] = list(csv.DictReader(io.StringIO(history(broker, *commands[1]).decode())))
    assert (climate["topic"], climate["field"], climate["last"]) == ("sensor/bath/climate", "temperature", "19.5")
    file = workdir / "h.parquet"
    history(broker, "sensor/#", "--parquet", "--output", str(file))
    assert file.read_bytes()[:4] == file.read_bytes()[-4:] == b"PAR1"
    broker.stop()
    at_rest = [word if word != "data" else str(workdir / "data") for word in commands[2]]
    series = json.loads(history(broker, *at_rest, data_dir=True))["series"]
    assert [(one["topic"], one["field"]) for one in series] == [
        ("sensor/bath/climate", "in.h"),
        ("sensor/bath/climate", "temperature"),
        (TOPIC, ""),
    ]


def ask(broker, path, accept="application/json"):
    connection = http.client.HTTPConnection(HOST, broker.http, timeout=PATIENCE)
    body = json.dumps({"user": USER, "password": PASSWORD})
    connection.request("POST", "/api/v1/session", body, {"Content-Type": "application/json"})
    answer = connection.getresponse()
    cookie = answer.getheader("set-cookie").split(";")[0]
    answer.read()
    connection.request("GET", path, headers={"Cookie": cookie, "Accept": accept})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_the_http_paths_of_the_page(broker):
    send(broker, ["1", "2", "3"])
    numbers, messages = (path[4:] for path in re.findall(r"`(GET /api/v1/history[^`]*)`", PAGE))
    eventually(lambda: json.loads(ask(broker, numbers)[1])["series"])
    [series] = json.loads(ask(broker, numbers)[1])["series"]
    assert (series["topic"], series["field"], series["columns"][0]) == (TOPIC, "", "time")
    assert sum(point[-1] for point in series["points"]) == 3
    assert ask(broker, numbers, "text/csv")[1].startswith("topic,field,time,min,max,mean,last,count\r\n")
    page = json.loads(ask(broker, messages + "&limit=2")[1])
    assert [one["payload"] for one in page["items"]] == ["1", "2"] and page["items"][0]["time"].endswith("Z")
    page = json.loads(ask(broker, f"{messages}&limit=2&cursor={page['next']}")[1])
    assert [one["payload"] for one in page["items"]] == ["3"] and page["next"] is None
    for wrong in ("filter=a/%23/b", "filter=a&since=soon", "filter=a&step=0s"):
        assert ask(broker, f"/api/v1/history?{wrong}")[0] == 400


def test_killed_and_started_again_nothing_acknowledged_is_missing(broker):
    # A persistent session makes acknowledgements wait for the disk.
    keeper = client(broker, client_id="keeper", clean_session=False)
    keeper.subscribe("sensor/#", 1)
    time.sleep(0.3)
    keeper.disconnect()
    keeper.loop_stop()
    acknowledged = 0
    for round_ in range(4):
        sender = client(broker)
        acked = set()
        sender.on_publish = lambda _c, _u, mid, *_: acked.add(mid)
        sent = [sender.publish(TOPIC, f"{round_} {n}", 1).mid for n in range(400)]
        eventually(lambda: len(acked) > 100)
        broker.signal(signal.SIGKILL)
        broker.wait()
        done = [n for n, mid in enumerate(sent) if mid in acked]
        sender.loop_stop()
        broker.start()
        reader = Subscriber(broker, f"$history/since=1h/{TOPIC}", count=10_000, form="%p", version=311)
        wanted = [f"{round_} {n}" for n in done]
        eventually(lambda: set(wanted) <= set(reader.messages()))
        reader.kill()
        came = [text for text in reader.messages() if text.startswith(f"{round_} ")]
        assert len(came) == len(set(came)), "nothing twice"
        assert came == sorted(came, key=lambda text: int(text.split()[1]))
        acknowledged += len(done)
    assert acknowledged > 400


def test_rights_hold_for_the_past(workdir, password_file):
    add_user(password_file, "bob", "bob's")
    (workdir / "acl.toml").write_text(
        f'default = "deny"\n[[rule]]\nuser = "{USER}"\nallow = ["read", "write"]\ntopic = "#"\n'
        '[[rule]]\nuser = "bob"\nallow = ["read"]\ntopic = "sensor/open"\n'
    )
    broker = Cork(workdir, password_file, auth='acl_file = "acl.toml"', after=blocks("toml")[0])
    broker.start()
    try:
        send(broker, ["yes"], topic="sensor/open")
        send(broker, ["no"], topic="sensor/shut")
        command = ["mosquitto_sub", "-h", HOST, "-p", str(broker.port), "-u", "bob", "-P", "bob's", "-W", "1"]
        for filter_, wanted in [("sensor/open", b"yes\n"), ("sensor/shut", b""), ("sensor/#", b"")]:
            done = subprocess.run([*command, "-t", f"$history/last=9/{filter_}"], capture_output=True, timeout=PATIENCE)
            assert done.stdout == wanted, filter_
    finally:
        broker.stop()


def test_retained_values_have_a_past_by_default(workdir, password_file):
    broker = Cork(workdir, password_file)
    broker.start()
    try:
        for value in ("1", "2", "3"):
            publish(broker, "lamp/power", value, "-r", version=311)
            publish(broker, "lamp/event", value, version=311)
        reader = Subscriber(broker, "$history/last=9/lamp/#", count=4, form="%t %p %r", version=311)
        publish(broker, "lamp/power", "4", version=311)
        assert reader.lines() == [f"lamp/power {n} 0" for n in (1, 2, 3, 4)]
    finally:
        broker.stop()


def test_a_reload_begins_and_ends_a_history(workdir, password_file):
    broker = Cork(workdir, password_file)
    broker.start()
    try:
        config = workdir / "cork.toml"
        before = config.read_text()
        send(broker, ["before"])
        config.write_text(before + blocks("toml")[0])
        broker.signal(signal.SIGHUP)
        eventually(lambda: "history: sensor/#: 7d, 1GB (was none)" in broker.log())
        send(broker, ["within"])
        reader = Subscriber(broker, "$history/last=9/sensor/#", count=2, form="%p", version=311)
        config.write_text(before)
        broker.signal(signal.SIGHUP)
        eventually(lambda: "history: none (was sensor/#" in broker.log())
        send(broker, ["after"])
        assert reader.lines() == ["within", "after"]
        again = Subscriber(broker, "$history/last=9/sensor/#", count=2, form="%p", version=311)
        send(broker, ["live"])
        assert again.lines() == ["within", "live"], "what was kept stays as long as it was promised"
    finally:
        broker.stop()
