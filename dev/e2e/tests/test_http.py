"""The HTTP API of the real binary: who may, what it says, what it refuses, and what other people's tools say of it."""

import base64
import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from broker import HOST, PASSWORD, USER, Process, add_user, cork_bin, free_port
import raw_mqtt
from certificates import Authority
from waiting import until

pytestmark = pytest.mark.cork_only

ADMIN, VIEWER, NOBODY = USER, "bob", "sensor"


class Served(Process):
    """`cork serve` with an HTTP listener; with users if there is a password file."""

    def __init__(self, directory, password_file=None, acl=None):
        directory, port, self.http = Path(directory), free_port(), free_port()
        config = directory / "cork.toml"
        auth = f'[auth]\npassword_file = "{password_file}"\n' if password_file else ""
        if acl:
            (directory / "acl.toml").write_text(acl)
            auth += 'acl_file = "acl.toml"\n'
        config.write_text(
            f'data_dir = "{directory}/data"\nshards = {os.environ.get("E2E_SHARDS", 1)}\n{auth}'
            f'[[listener]]\nurl = "mqtt://{HOST}:{port}"\n[[listener]]\nurl = "http://{HOST}:{self.http}"\n'
        )
        super().__init__([cork_bin(), "serve", "--config", str(config)], directory, port, None)

    def start(self, probe=None):
        super().start(probe)
        deadline = time.monotonic() + 10
        while True:  # MQTT is there first
            try:
                return self.ask("GET", "/healthz")
            except ConnectionRefusedError:
                assert time.monotonic() < deadline
                time.sleep(0.01)

    def ask(self, method, path, body=None, headers=(), raw=None):
        """Status, headers, and the body: JSON if it is."""
        connection = http.client.HTTPConnection(HOST, self.http, timeout=20)
        headers = dict(headers)
        data = raw if raw is not None else None if body is None else json.dumps(body)
        if body is not None:
            headers.setdefault("Content-Type", "application/json")
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        is_json = "json" in (answer.getheader("Content-Type") or "")
        return answer.status, answer.headers, json.loads(text) if is_json and text else text

    def get(self, path, **headers):
        status, _, value = self.ask("GET", "/api/v1" + path, headers=headers)
        assert status == 200, value
        return value


ACL = f"""
default = "deny"
[groups]
admin = ["{ADMIN}"]
viewer = ["{VIEWER}"]
[[rule]]
group = "admin"
allow = ["read", "write"]
topic = "#"
[[rule]]
user = "{VIEWER}"
allow = ["read"]
topic = "public/#"
[[rule]]
user = "{VIEWER}"
allow = ["write"]
topic = "lamp/set"
"""


@pytest.fixture
def open_broker(workdir):
    """Without users."""
    process = Served(workdir)
    process.start()
    yield process
    process.stop()


@pytest.fixture(scope="module")
def users_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("users") / "passwords"
    for user in (ADMIN, VIEWER, NOBODY):
        add_user(path, user)
    return path


@pytest.fixture
def closed_broker(workdir, users_file):
    """With an administrator, a viewer, and a user without a role."""
    process = Served(workdir, users_file, ACL)
    process.start()
    yield process
    process.stop()


def log_in(broker, user, password=PASSWORD):
    """The headers of a login."""
    status, headers, login = broker.ask("POST", "/api/v1/session", {"user": user, "password": password})
    assert status == 200, login
    cookie = headers["Set-Cookie"]
    assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
    return {"Cookie": cookie.split(";")[0], "X-Csrf-Token": login["csrf"]}


def events(broker, path, enough, headers=(), after=lambda: None):
    """The first events of a stream, so many or until `enough` holds of them; `after` is called once it has begun."""
    deadline = time.monotonic() + 20
    connection = http.client.HTTPConnection(HOST, broker.http, timeout=10)
    connection.request("GET", "/api/v1" + path, headers=dict(headers))
    answer = connection.getresponse()
    assert answer.status == 200, answer.read()
    found, name, begun = [], None, False
    while not enough(found) if callable(enough) else len(found) < enough:
        assert time.monotonic() < deadline, found
        line = answer.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            found.append((name, json.loads(line[6:])))
            if not begun:
                begun = True
                after()
    connection.close()
    return found


def batches(found):
    return [data for name, data in found if name == "batch"]


def items_of(found):
    return [item for batch in batches(found) for item in batch["items"]]


def behind(last):
    """Until there is a batch behind the one with an item that is the `last` one."""
    return lambda found: any(last(item) for item in items_of(found[:-1]))


# What it says


def test_overview_metrics_and_health(open_broker):
    assert open_broker.ask("GET", "/healthz")[2] == b"ok\n"
    assert open_broker.ask("GET", "/readyz")[2] == b"ready\n"
    time.sleep(1.1)
    overview = open_broker.get("/overview")
    assert overview["gauges"]["clients"] == 0 and overview["counters"]["connects"] >= 1
    assert overview["listeners"] == [f"mqtt://{HOST}:{open_broker.port}"]
    assert overview["process"]["memory_bytes"] > 1_000_000
    past = open_broker.get("/overview/history?seconds=60")
    assert len(past["series"]["messages_in"]) == 60 and past["series"]["cpu"][-1] is not None
    second = events(open_broker, "/overview/stream", 2)
    assert [name for name, _ in second] == ["overview", "overview"]


def test_messages_are_published_streamed_and_kept(open_broker):
    def publish():
        body = {"topic": "home/a b/ä", "payload": "21.5", "qos": 1, "retain": True,
                "properties": {"content_type": "text/plain", "user": [["k", "v"], ["k", "w"]]}}
        status, _, outcome = open_broker.ask("POST", "/api/v1/publish", body)
        assert (status, outcome["reason_code"]) == (200, 0), outcome
        binary = {"topic": "home/binary", "payload": base64.b64encode(b"\xff\0").decode(), "encoding": "base64"}
        assert open_broker.ask("POST", "/api/v1/publish", [binary, binary])[2]["results"][1]["reason_code"] == 0

    ready, first, second, third = events(open_broker, "/messages?filter=home/%23&qos=2", 4, after=publish)
    assert ready == ("ready", {"filters": [{"filter": "home/#", "granted": True}]})
    assert first[0] == "message" and first[1]["payload"] == "21.5" and first[1]["retain"] is False
    assert first[1]["properties"] == {"content_type": "text/plain", "user": [["k", "v"], ["k", "w"]]}
    assert (second[1]["encoding"], base64.b64decode(third[1]["payload"])) == ("base64", b"\xff\0")
    page = open_broker.get("/retained?filter=%23")
    assert [item["topic"] for item in page["items"]] == ["home/a b/ä"] and page["next"] is None
    assert page["items"][0]["author"]["user"] is None and page["items"][0]["qos"] == 1
    assert open_broker.ask("DELETE", "/api/v1/retained?filter=home/%23&dry_run=true")[2] == {"deleted": 1}
    assert open_broker.ask("DELETE", "/api/v1/retained?filter=home/%23")[2] == {"deleted": 1}
    assert open_broker.get("/retained?filter=%23")["items"] == []


def test_batches_have_the_last_message_of_each_topic_and_count_the_others(open_broker):
    def publish():
        many = [{"topic": f"t/{number % 3}", "payload": str(number)} for number in range(300)]
        assert open_broker.ask("POST", "/api/v1/publish", many)[0] == 200

    def all_seen(found):
        return sum(batch["seen"] for batch in batches(found)) >= 300 and found[-1][1]["waiting"] == 0

    found = events(open_broker, "/messages?filter=t/%23&interval=300&topics_max=2", all_seen, after=publish)
    assert sum(batch["seen"] for batch in batches(found)) == 300
    assert all(len(batch["items"]) <= 2 for batch in batches(found))
    items = items_of(found)
    assert sum(item["count"] for item in items) == 300
    assert sum(batch["skipped"] for batch in batches(found)) + len(items) == 300
    latest = {item["topic"]: item["payload"] for item in items}
    assert latest == {"t/0": "297", "t/1": "298", "t/2": "299"}


def test_a_page_of_all_topics_begins_with_what_is_retained_and_then_follows(open_broker):
    # At QoS 0 nobody says when the broker has them: they could come live.
    kept = [{"topic": f"kept/{number}", "payload": str(number), "qos": 1, "retain": True} for number in range(5)]
    assert open_broker.ask("POST", "/api/v1/publish", kept)[0] == 200

    def publish():
        wide = {"topic": "live/a", "payload": "ä" * 3000, "qos": 1, "properties": {"content_type": "text/plain"}}
        binary = {"topic": "live/b", "payload": base64.b64encode(b"\xff\0").decode(), "encoding": "base64"}
        assert open_broker.ask("POST", "/api/v1/publish", [wide, binary, {"topic": "kept/1", "payload": "new"}])[0] == 200

    query = "/messages?filter=%23&filter=other/%2B&interval=300&payload_max=101&qos=1"
    found = events(open_broker, query, behind(lambda item: item["payload"] == "new"), after=publish)
    assert [one["filter"] for one in found[0][1]["filters"]] == ["#", "other/+"]
    assert all(one["granted"] for one in found[0][1]["filters"])
    latest = {item["topic"]: item for item in items_of(found)}
    assert {topic for topic, item in latest.items() if item["retain"]} == {"kept/0", "kept/2", "kept/3", "kept/4"}
    assert (latest["kept/1"]["payload"], latest["kept/1"]["retain"]) == ("new", False), "never the older one behind the newer"
    wide = latest["live/a"]
    assert (wide["payload"], wide["size"], wide["truncated"], wide["qos"]) == ("ä" * 50, 6000, True, 1)
    assert wide["properties"] == {"content_type": "text/plain"} and wide["time"].endswith("Z")
    assert (latest["live/b"]["encoding"], base64.b64decode(latest["live/b"]["payload"])) == ("base64", b"\xff\0")
    assert open_broker.get("/subscriptions")["items"] == [], "nobody has subscribed"


def test_a_page_shows_a_viewer_what_it_may_read(closed_broker):
    admin, viewer = log_in(closed_broker, ADMIN), log_in(closed_broker, VIEWER)

    def publish():
        topics = ("public/a", "secret/b", "public/b/c")
        body = [{"topic": topic, "payload": "x", "qos": 1, "retain": True} for topic in topics]
        assert closed_broker.ask("POST", "/api/v1/publish", body, admin)[0] == 200

    publish()
    for plain in ("/messages?filter=%23", "/messages?filter=secret/b&interval=200"):
        status, _, problem = closed_broker.ask("GET", "/api/v1" + plain, headers=viewer)
        assert (status, problem["code"]) == (403, "denied") and "default of the rights" in problem["detail"]
    # A page of many topics gets of each filter what may be read, whichever way the broker collects it.
    live = behind(lambda item: item["topic"] == "public/b/c" and not item["retain"])
    watched, subscribed = "filter=public/%23&filter=%23", "filter=public/%23&filter=$where/true/%23&filter=$SYS/%23"
    cases = [(query, headers) for query in (watched, subscribed) for headers in (viewer, admin)]
    for query, headers in cases:
        expected = {"public/a", "public/b/c"} | ({"secret/b"} if headers is admin else set())
        found = events(closed_broker, f"/messages?{query}&interval=200", live, headers, after=publish)
        granted = [one["granted"] for one in found[0][1]["filters"]]
        assert granted == [True] + [headers is admin] * (len(granted) - 1)
        items = items_of(found)
        assert {item["topic"] for item in items if not item["topic"].startswith("$SYS/")} == expected
        assert headers is admin or not any(item["topic"].startswith("$SYS/") for item in items)
        seen, skipped = (sum(batch[count] for batch in batches(found)) for count in ("seen", "skipped"))
        assert len(items) + skipped == seen


def test_messages_over_websocket(open_broker):
    with socket.create_connection((HOST, open_broker.http), timeout=10) as stream:
        stream.sendall(
            f"GET /api/v1/messages?filter=w HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        received = b""
        while b"ready" not in received:
            received += stream.recv(4096)
        assert received.startswith(b"HTTP/1.1 101")
        open_broker.ask("POST", "/api/v1/publish", {"topic": "w", "payload": "hi"})
        while b'"payload":"hi"' not in received:
            received += stream.recv(4096)
        assert b'{"event":"message","data":{"topic":"w"' in received


def closed(stream):
    try:
        return stream.recv(65536) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("path, event", [
    ("messages?filter=w", b'{"event":"message","data":{"topic":"w"'),
    ("overview/stream", b'{"event":"overview","data":{"version"'),
    ("log/stream?level=info", b'{"event":"line","data":{"time"'),
    ("trace?topic=w&seconds=60&limit=10", b'{"event":"packet","data":{"time"'),
])
def test_other_streams_over_websocket(open_broker, path, event):
    with socket.create_connection((HOST, open_broker.http), timeout=10) as stream:
        stream.sendall(
            f"GET /api/v1/{path} HTTP/1.1\r\nHost: {HOST}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        received = b""
        while b"\r\n\r\n" not in received:
            received += stream.recv(4096)
        assert received.startswith(b"HTTP/1.1 101"), received
        # Something for the log and for the trace.
        assert open_broker.ask("PUT", "/api/v1/log/level", {"level": "info"})[0] == 204
        assert open_broker.ask("POST", "/api/v1/publish", {"topic": "w", "payload": "hi"})[0] == 200
        while event not in received:
            more = stream.recv(4096)
            assert more, received
            received += more
        # A frame of 1 MiB, unfinished: nobody waits for what was never asked for.
        stream.sendall(b"\x01\xff" + (1 << 20).to_bytes(8, "big") + b"\0\0\0\0" + b"x" * 8192)
        until(lambda: closed(stream), what="the end of a stream that is sent too much")


@pytest.mark.parametrize("client_id", [".", "..", "a/b?c#d%2F", "x" * 65535], ids=["one dot", "two dots", "signs", "the longest"])
def test_a_client_is_named_in_the_body(open_broker, client_id):
    import paho.mqtt.client as paho

    ended = []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, protocol=paho.MQTTv5)
    client.on_disconnect = lambda _client, _data, _flags, reason, _properties: ended.append(str(reason))
    client.connect(HOST, open_broker.port)
    client.loop_start()
    client.subscribe("named/#")
    named = {"client_id": client_id}
    deadline = time.monotonic() + 10
    while open_broker.ask("POST", "/api/v1/client/subscriptions", named)[2]["items"] == []:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    status, _, found = open_broker.ask("POST", "/api/v1/client", named)
    assert (status, found["client_id"], found["subscriptions"]) == (200, client_id, 1)
    assert open_broker.ask("POST", "/api/v1/client/kick", named | {"reason": "go"})[0] == 204
    while not ended:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    client.disconnect()
    client.loop_stop()
    for path in ("client", "client/kick", "client/delete"):
        status, _, problem = open_broker.ask("POST", f"/api/v1/{path}", {"client_id": "nobody"})
        assert (status, problem["code"]) == (404, "not-found")


def test_the_overview_counts_the_clients_that_are_listed(open_broker):
    import paho.mqtt.client as paho

    # The API publishes as a client within the program, and keeps its connection.
    assert open_broker.ask("POST", "/api/v1/publish", {"topic": "a", "payload": "1"})[0] == 200
    assert len(open_broker.get("/sessions?inside=true")["items"]) == 1 and open_broker.get("/clients")["items"] == []
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, "lamp")
    client.connect(HOST, open_broker.port)
    client.loop_start()
    for expected in (1, 0):
        until(lambda: open_broker.get("/overview")["gauges"]["clients"] == expected, what=f"{expected} connected")
        gauges = open_broker.get("/overview")["gauges"]
        assert (gauges["sessions"], len(open_broker.get("/clients")["items"])) == (expected, expected)
        client.disconnect()
    client.loop_stop()
    assert "cork_clients_connected 1" in open_broker.ask("GET", "/metrics")[2].decode()


def test_request_and_response(open_broker):
    body = {"topic": "nobody/there", "payload": "?", "qos": 1, "timeout_seconds": 1}
    status, _, problem = open_broker.ask("POST", "/api/v1/request", body)
    assert (status, problem["code"]) == (504, "timeout")

    import paho.mqtt.client as paho
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    def answer(client, _, message):
        properties = Properties(PacketTypes.PUBLISH)
        properties.CorrelationData = message.properties.CorrelationData
        client.publish(message.properties.ResponseTopic, b"pong", 1, properties=properties)

    lamp = paho.Client(paho.CallbackAPIVersion.VERSION2, "lamp", protocol=paho.MQTTv5)
    ready = threading.Event()
    lamp.on_message, lamp.on_subscribe = answer, lambda *_: ready.set()
    lamp.connect(HOST, open_broker.port)
    lamp.loop_start()
    lamp.subscribe("lamp/get", 1)
    assert ready.wait(5)
    status, _, message = open_broker.ask("POST", "/api/v1/request", {"topic": "lamp/get", "payload": "ping", "qos": 1})
    lamp.loop_stop()
    assert (status, message["payload"]) == (200, "pong"), message


# Clients and sessions


@pytest.fixture
def paho(open_broker):
    """Makes connected clients."""
    import paho.mqtt.client as paho

    made = []

    def make(client_id, clean=True, filters=()):
        client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id, clean_session=clean)
        events = {"connected": threading.Event(), "subscribed": threading.Event(), "gone": threading.Event()}
        client.on_connect = lambda *_: events["connected"].set()
        client.on_subscribe = lambda *_: events["subscribed"].set()
        client.on_disconnect = lambda *_: events["gone"].set()
        client.reconnect_delay_set(60)
        client.connect(HOST, open_broker.port)
        client.loop_start()
        assert events["connected"].wait(5)
        if filters:
            client.subscribe([(one, 1) for one in filters])
            assert events["subscribed"].wait(5)
        made.append(client)
        return client, events

    yield make
    for client in made:
        client.loop_stop()


def everything(broker, path, limit):
    """All items of a list, page by page."""
    items, cursor = [], ""
    while True:
        page = broker.get(f"{path}{'&' if '?' in path else '?'}limit={limit}{cursor}")
        assert len(page["items"]) <= limit
        items += page["items"]
        if page["next"] is None:
            return items
        cursor = "&cursor=" + quote(page["next"])


def test_sessions_are_listed_shown_kicked_and_deleted(open_broker, paho):
    for number in range(12):
        paho(f"c{number}", clean=False, filters=["a/#", f"b/{number}", "$share/g/x/+"])
    assert {item["client_id"] for item in everything(open_broker, "/clients", 5)} == {f"c{n}" for n in range(12)}
    subscriptions = everything(open_broker, "/subscriptions", 7)
    assert len(subscriptions) == 36 == len({(one["client_id"], one["filter"], one["share"]) for one in subscriptions})
    shared = [one for one in subscriptions if one["share"] == "g"]
    assert len(shared) == 12 and shared[0]["filter"] == "x/+" and shared[0]["qos"] == 1
    assert [one["filter"] for one in open_broker.get("/subscriptions?search=b/7")["items"]] == ["b/7"]
    assert len(open_broker.get("/sessions/c3/subscriptions")["items"]) == 3

    client, seen = paho("kick/me", clean=False, filters=["q"])
    shown = open_broker.get("/sessions/" + quote("kick/me", safe=""))
    assert shown["connected"] and shown["connection"]["protocol"] == "3.1.1"
    kick = "/api/v1/clients/" + quote("kick/me", safe="") + "/kick"
    client.loop_stop()
    assert open_broker.ask("POST", kick, {"reason": "test"})[0] == 204
    deadline = time.monotonic() + 5
    while open_broker.get("/sessions/" + quote("kick/me", safe=""))["connected"]:
        assert time.monotonic() < deadline
    assert open_broker.ask("POST", kick, {})[0] == 404
    open_broker.ask("POST", "/api/v1/publish", [{"topic": "q", "payload": "later", "qos": 1}])
    away = open_broker.get("/sessions?connected=false")["items"]
    assert [(one["client_id"], one["queued_messages"]) for one in away] == [("kick/me", 1)]
    assert away[0]["queued_since"] and away[0]["expires"] > away[0]["since"]
    assert open_broker.ask("DELETE", "/api/v1/sessions/" + quote("kick/me", safe=""))[0] == 204
    assert open_broker.ask("GET", "/api/v1/sessions/" + quote("kick/me", safe=""))[0] == 404
    actions = [change["action"] for change in open_broker.get("/audit")["items"]]
    assert actions == ["kick", "delete session"]


def test_a_trace_shows_every_packet_of_one_client(open_broker, paho):
    def act():
        client, _ = paho("traced", filters=["t"])
        paho("other", filters=["t"])
        client.publish("t", "hello", 1).wait_for_publish(5)

    results = []
    reader = threading.Thread(
        target=lambda: results.extend(events(open_broker, "/trace?client_id=traced&seconds=8&limit=8", 8))
    )
    reader.start()
    time.sleep(0.3)
    act()
    reader.join(15)
    assert all(packet["client_id"] == "traced" for _, packet in results)
    told = {(packet["direction"], packet["packet"]) for _, packet in results}
    assert told == {
        ("in", "CONNECT"), ("out", "CONNACK"), ("in", "SUBSCRIBE"), ("out", "SUBACK"),
        ("in", "PUBLISH"), ("out", "PUBACK"), ("out", "PUBLISH"), ("in", "PUBACK"),
    }
    message = next(packet["message"] for _, packet in results if packet["packet"] == "PUBLISH")
    assert (message["topic"], message["payload"]) == ("t", "hello")


# Who may


DESCRIBED_BUT_OPEN = {("get", "/healthz"), ("get", "/readyz"), ("post", "/api/v1/session")}


def test_every_path_wants_a_login_where_there_are_users(closed_broker):
    headers = log_in(closed_broker, ADMIN)
    document = closed_broker.get("/openapi.json", **headers)
    assert document["openapi"].startswith("3.1") and len(document["paths"]) > 40
    for path, methods in document["paths"].items():
        for method in methods:
            if (method, path) in DESCRIBED_BUT_OPEN:
                continue
            filled = re.sub(r"\{[a-z_]+\}", "x", path)
            for bad in ({}, {"Authorization": "Bearer cork_x"}, {"Cookie": "cork_session=x"}, {"Authorization": "Basic eDp5"}):
                status, _, problem = closed_broker.ask(method.upper(), filled, headers=bad)
                assert (status, problem["code"]) == (401, "login-required"), (method, path, bad)
    assert closed_broker.ask("GET", "/api/v1/nix")[0] == 401, "not even which paths there are"
    assert closed_broker.ask("GET", "/")[0] == 200, "the page itself is no secret"


def with_will(broker, topic):
    """A client that is there and has a Will."""
    import paho.mqtt.client as paho

    client = paho.Client(paho.CallbackAPIVersion.VERSION2, topic.replace("/", "-"))
    client.username_pw_set(ADMIN, PASSWORD)
    client.will_set(topic, "gone")
    there = threading.Event()
    client.on_connect = lambda *_: there.set()
    client.connect(HOST, broker.port)
    client.loop_start()
    assert there.wait(5)
    return client


def test_a_viewer_looks_on_within_its_rights(closed_broker):
    admin, viewer = log_in(closed_broker, ADMIN), log_in(closed_broker, VIEWER)
    assert closed_broker.get("/session", **viewer)["role"] == "viewer"
    for topic in ("public/a", "secret/b"):
        body = {"topic": topic, "payload": "x", "qos": 1, "retain": True}
        assert closed_broker.ask("POST", "/api/v1/publish", body, admin)[0] == 200
        assert closed_broker.ask("POST", "/api/v1/publish", body, viewer)[2]["code"] == "denied"
    assert closed_broker.ask("POST", "/api/v1/publish", {"topic": "lamp/set", "payload": "1"}, viewer)[0] == 200
    topics = [item["topic"] for item in closed_broker.get("/retained?filter=%23", **viewer)["items"]]
    assert topics == ["public/a"]
    topics = [item["topic"] for item in closed_broker.get("/retained?filter=%23", **admin)["items"]]
    assert topics == ["public/a", "secret/b"]
    assert closed_broker.ask("GET", "/api/v1/messages?filter=%23", headers=viewer)[2]["code"] == "denied"
    first = events(closed_broker, "/messages?filter=public/%23", 2, viewer)[1]
    assert first[1]["topic"] == "public/a"
    for method, path, body in (
        ("POST", "/clients/x/kick", {}), ("DELETE", "/sessions/x", None), ("POST", "/reload", None),
        ("GET", "/log", None), ("GET", "/config", None), ("GET", "/audit", None), ("GET", "/trace?client_id=x", None),
        ("DELETE", "/retained?filter=%23", None), ("PUT", "/boards/x", {"name": "x", "content": {}, "revision": 0}),
        ("POST", "/tokens", {"name": "x", "role": "admin"}), ("PUT", "/log/level", {"level": "debug"}),
        ("GET", "/tokens", None), ("DELETE", "/tokens/x", None), ("GET", "/log/stream", None), ("GET", "/backup", None),
        ("GET", "/trace?topic=%23", None), ("DELETE", "/boards/x", None), ("GET", "/users", None),
        ("PUT", "/users/x", {"password": "x", "groups": ["admin"]}), ("DELETE", "/users/x", None), ("GET", "/acl", None),
        ("POST", "/user", {"user": "x", "password": "x", "groups": ["admin"]}), ("POST", "/user/delete", {"user": "x"}),
        ("PUT", "/acl", {"revision": 0, "rules": []}), ("GET", "/bans", None), ("PUT", "/bans", {"user": ADMIN}),
        ("DELETE", "/bans?user=x", None), ("GET", "/sinks/x/dead-letters", None), ("DELETE", "/sinks/x/dead-letters", None),
        ("POST", "/sinks/x/dead-letters/replay", {}), ("PUT", "/filters/x", {"when": "true"}), ("DELETE", "/filters/x", None),
        *((method, f"/{kind}/x", {} if method == "PUT" else None) for kind in ("bridges", "sinks")
          for method in ("GET", "PUT", "DELETE")),
    ):
        status, _, problem = closed_broker.ask(method, "/api/v1" + path, body, viewer)
        assert (status, problem["code"]) == (403, "forbidden"), path
    clients = [with_will(closed_broker, topic) for topic in ("public/will", "secret/will")]
    for headers, expected in ((viewer, {"public/will", None}), (admin, {"public/will", "secret/will"})):
        assert {one["will"] for one in closed_broker.get("/clients", **headers)["items"]} == expected
        one = closed_broker.get("/sessions/secret-will", **headers)
        assert one["will"] == (None if headers is viewer else "secret/will")
    for client in clients:
        client.disconnect()
        client.loop_stop()
    explain = "/acl/explain?action=read&topic=secret/b&user="
    assert closed_broker.get(explain + VIEWER, **viewer)["allowed"] is False
    assert closed_broker.ask("GET", "/api/v1" + explain + ADMIN, headers=viewer)[0] == 403
    assert closed_broker.get(explain + ADMIN, **admin)["rule"].endswith("acl.toml:6")


def test_without_a_role_nobody_logs_in(closed_broker):
    body = {"user": NOBODY, "password": PASSWORD}
    assert closed_broker.ask("POST", "/api/v1/session", body)[2]["code"] == "no-role"


def test_changes_need_the_csrf_token_and_the_same_origin(closed_broker):
    headers = log_in(closed_broker, ADMIN)
    body = {"topic": "a", "payload": "b"}
    without = {"Cookie": headers["Cookie"]}
    assert closed_broker.ask("POST", "/api/v1/publish", body, without)[2]["code"] == "csrf"
    assert closed_broker.ask("POST", "/api/v1/publish", body, without | {"X-Csrf-Token": "x"})[2]["code"] == "csrf"
    for foreign in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        for path in ("/api/v1/messages?filter=%23", "/api/v1/backup", "/metrics"):
            assert closed_broker.ask("GET", path, headers=headers | foreign)[2]["code"] == "cross-origin", (foreign, path)
        assert closed_broker.ask("POST", "/api/v1/publish", body, headers | foreign)[2]["code"] == "cross-origin"
    own = {"Origin": f"http://{HOST}:{closed_broker.http}", "Sec-Fetch-Site": "same-origin"}
    assert closed_broker.ask("POST", "/api/v1/publish", body, headers | own)[0] == 200
    form = headers | {"Content-Type": "text/plain"}
    assert closed_broker.ask("POST", "/api/v1/publish", headers=form, raw=json.dumps(body))[0] == 415
    assert closed_broker.ask("DELETE", "/api/v1/session", headers=headers)[0] == 204
    assert closed_broker.ask("GET", "/api/v1/overview", headers=headers)[0] == 401


def test_guesses_are_slowed_down(closed_broker):
    wrong = {"user": ADMIN, "password": "wrong"}
    codes = [closed_broker.ask("POST", "/api/v1/session", wrong)[2]["code"] for _ in range(6)]
    assert codes[:5] == ["login-failed"] * 5 and codes[5] == "too-many-attempts"
    right = {"user": ADMIN, "password": PASSWORD}
    status, headers, _ = closed_broker.ask("POST", "/api/v1/session", right)
    assert status == 429 and int(headers["Retry-After"]) >= 1
    unknown = {"user": "nobody", "password": "wrong"}
    assert closed_broker.ask("POST", "/api/v1/session", unknown)[0] == 429, "one answer, whoever it is"


def test_tokens_let_programs_in_and_survive_a_restart(closed_broker):
    admin = log_in(closed_broker, ADMIN)
    status, _, made = closed_broker.ask("POST", "/api/v1/tokens", {"name": "prometheus", "role": "viewer"}, admin)
    assert status == 201 and made["token"].startswith("cork_")
    bearer = {"Authorization": "Bearer " + made["token"]}
    closed_broker.stop()
    kept = (closed_broker.directory / "data" / "managed.toml").read_text()
    assert made["token"] not in kept and "prometheus" in kept
    closed_broker.start()
    status, _, text = closed_broker.ask("GET", "/metrics", headers=bearer)
    assert status == 200 and b"cork_clients_connected " in text
    assert closed_broker.ask("GET", "/api/v1/config", headers=bearer)[0] == 403, "a viewer, as was asked for"
    admin = log_in(closed_broker, ADMIN)
    listed = closed_broker.get("/tokens", **admin)["items"]
    assert [one["name"] for one in listed] == ["prometheus"] and "token" not in listed[0]
    assert closed_broker.ask("DELETE", "/api/v1/tokens/" + made["id"], headers=admin)[0] == 204
    assert closed_broker.ask("GET", "/metrics", headers=bearer)[0] == 401


def test_without_users_other_names_and_pages_are_refused(open_broker):
    port = open_broker.http
    for host in ("evil.example", f"evil.example:{port}", "192.0.2.7", "127.0.0.1.evil.example", ""):
        status, _, problem = open_broker.ask("GET", "/api/v1/overview", headers={"Host": host})
        assert (status, problem["code"]) == (421, "wrong-host"), host
    for host in (f"localhost:{port}", f"127.0.0.1:{port}", f"[::1]:{port}", "LOCALHOST"):
        assert open_broker.ask("GET", "/api/v1/overview", headers={"Host": host})[0] == 200, host
    body = {"topic": "a", "payload": "b"}
    evil = {"Origin": "http://evil.example"}
    assert open_broker.ask("POST", "/api/v1/publish", body, evil)[2]["code"] == "cross-origin"
    upgrade = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "x" * 24}
    assert open_broker.ask("GET", "/api/v1/messages?filter=a", headers=upgrade | evil)[2]["code"] == "cross-origin"


def test_every_answer_shields_the_browser(open_broker):
    for path in ("/", "/api/v1/overview", "/api/v1/nix", "/metrics", "/nix.js"):
        _, headers, _ = open_broker.ask("GET", path)
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert headers["X-Frame-Options"] == "DENY" and headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers


def test_an_http_listener_for_everybody_needs_users(workdir):
    command = [cork_bin(), "serve", "--allow-anonymous", "--data-dir", str(workdir / "d"), "--listen"]
    done = subprocess.run([*command, f"http://0.0.0.0:{free_port()}"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "everybody there would be an administrator" in done.stderr


def test_a_named_port_that_is_taken_is_an_error(workdir):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        url = f"http://{HOST}:{taken.getsockname()[1]}"
        command = [cork_bin(), "serve", "--data-dir", str(workdir / "d"), "--listen", url]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and url in done.stderr


# Operating


def test_boards_are_kept_and_conflicts_told(open_broker):
    board = {"name": "Kitchen", "content": {"tiles": [1]}, "revision": 0}
    status, _, head = open_broker.ask("PUT", "/api/v1/boards/kitchen", board)
    assert (status, head["revision"]) == (201, 1)
    assert open_broker.ask("PUT", "/api/v1/boards/kitchen", board)[2]["code"] == "conflict"
    assert open_broker.ask("PUT", "/api/v1/boards/kitchen", board | {"revision": 1})[0] == 200
    assert open_broker.ask("PUT", "/api/v1/boards/Nix", board)[0] == 400
    open_broker.stop()
    open_broker.start()
    assert open_broker.get("/boards/kitchen")["content"] == {"tiles": [1]}
    assert open_broker.ask("DELETE", "/api/v1/boards/kitchen")[0] == 204
    assert open_broker.get("/boards")["items"] == []


def test_reload_log_and_configuration(open_broker):
    config = open_broker.directory / "cork.toml"
    entries = {entry["key"]: entry for entry in open_broker.get("/config")["items"]}
    assert entries["data_dir"]["origin"] == f"{config}:1" and entries["log.level"]["origin"] == "default"
    text = config.read_text()
    config.write_text(text + "[limits]\nqueue_qos0 = true\n")
    done = open_broker.ask("POST", "/api/v1/reload")[2]
    assert done == {"changed": ["limits.queue_qos0: true (was false)"], "needs_restart": []}
    config.write_text(text + "[limits]\nqueue_qos1 = true\n")
    status, _, problem = open_broker.ask("POST", "/api/v1/reload")
    assert (status, problem["code"]) == (409, "conflict") and "queue_qos1" in problem["detail"]
    assert open_broker.ask("PUT", "/api/v1/log/level", {"level": "debug", "subsystem": "net"})[0] == 204
    # Lines are written by a thread of their own, a moment later.
    lines = until(lambda: open_broker.get("/log?search=reloaded&level=info")["items"])
    assert lines and all("reloaded" in line["message"] for line in lines)


def ctl(broker, *arguments):
    command = [cork_bin(), "ctl", "--url", f"http://{HOST}:{broker.http}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=20)


def test_the_same_from_a_terminal(open_broker, paho):
    paho("lamp", clean=False, filters=["a/#"])
    open_broker.ask("POST", "/api/v1/publish", {"topic": "a/b", "payload": "\x1b[2Jx", "qos": 1, "retain": True})
    assert "lamp" in ctl(open_broker, "clients").stdout
    assert json.loads(ctl(open_broker, "--json", "sessions", "list", "lamp").stdout)["client_id"] == "lamp"
    assert "a/#" in ctl(open_broker, "subscriptions", "lamp").stdout
    shown = ctl(open_broker, "retained", "list", "a/#").stdout
    assert "\\u{1b}[2Jx" in shown and "\x1b" not in shown, "a payload does not command the terminal"
    assert ctl(open_broker, "retained", "delete", "a/#").stdout.split() == ["deleted", "1"]
    assert ctl(open_broker, "kick", "nobody").returncode == 1
    assert ctl(open_broker, "sessions", "delete", "lamp").stdout == "done\n"


def test_a_trace_of_a_topic_shows_who_sends_and_gets_it(open_broker, paho):
    paho("reader", clean=True, filters=["home/+"])
    paho("other", clean=True, filters=["garden/#"])

    def act():
        paho("late", clean=True, filters=["home/lamp", "garden/x"])
        for topic in ("garden/gate", "home/lamp"):
            open_broker.ask("POST", "/api/v1/publish", {"topic": topic, "payload": topic, "qos": 1})

    found = []
    connection = http.client.HTTPConnection(HOST, open_broker.http, timeout=10)
    connection.request("GET", "/api/v1/trace?topic=home/%23&seconds=3&limit=4")
    answer = connection.getresponse()
    time.sleep(0.2)
    act()
    name = None
    while name != "end":
        line = answer.readline().decode().rstrip("\n")
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: ") and name == "packet":
            found.append(json.loads(line[6:]))
    connection.close()
    told = sorted((one["packet"], one["direction"], one["client_id"]) for one in found)
    publisher = [one[2] for one in told if one[:2] == ("PUBLISH", "in")]
    assert len(publisher) == 1 and told == sorted([
        ("PUBLISH", "in", publisher[0]), ("PUBLISH", "out", "late"), ("PUBLISH", "out", "reader"), ("SUBSCRIBE", "in", "late"),
    ]), told
    assert all(one["message"]["topic"] == "home/lamp" for one in found if one["packet"] == "PUBLISH")
    for wrong in ("/trace", "/trace?topic=a&client_id=b", "/trace?topic=a/%23/b"):
        assert open_broker.ask("GET", "/api/v1" + wrong)[0] == 400, wrong


def test_a_trace_names_the_topic_of_an_alias_that_was_defined_before_it(open_broker):
    def alias(number):
        return bytes([0x23]) + raw_mqtt.u16(number)

    with raw_mqtt.RawClient(open_broker) as writer, raw_mqtt.RawClient(open_broker) as reader:
        writer.login("short-spoken", 5)
        # It takes aliases, too: eight of them.
        reader.login("listener", 5, props=bytes([0x22]) + raw_mqtt.u16(8))
        reader.send(raw_mqtt.subscribe(["hall/lamp"], 5))
        reader.read()
        writer.send(raw_mqtt.publish("hall/lamp", b"on", 5, props=alias(2)))
        reader.read()
        for query in ("client_id=short-spoken", "client_id=listener", "topic=hall/%2B"):
            found = []
            tracer = threading.Thread(
                target=lambda: found.extend(events(open_broker, f"/trace?{query}&seconds=8&limit=1", 1))
            )
            tracer.start()
            time.sleep(0.3)
            writer.send(raw_mqtt.publish("", b"off", 5, props=alias(2)))
            reader.read()
            tracer.join(15)
            (_, packet), = found
            assert packet["packet"] == "PUBLISH" and packet["message"]["topic"] == "hall/lamp", packet
            assert '"hall/lamp"' in packet["text"] and "by its alias" in packet["text"], packet


def test_the_brokers_own_parts_are_shown_only_to_who_asks(open_broker, paho):
    paho("lamp", clean=True, filters=["a"])
    connection = http.client.HTTPConnection(HOST, open_broker.http, timeout=10)
    connection.request("GET", "/api/v1/messages?filter=%23")
    connection.getresponse().readline()
    names = lambda query: [(one["client_id"], one["inside"]) for one in open_broker.get("/clients" + query)["items"]]  # noqa: E731
    assert names("") == [("lamp", False)]
    with_them = names("?inside=true")
    assert ("lamp", False) in with_them and sum(inside for _, inside in with_them) == 1
    connection.close()
    open_broker.ask("POST", "/api/v1/publish", {"topic": "a"})
    assert open_broker.ask("POST", "/api/v1/clients/lamp/kick", {"reason": "enough"})[0] == 204
    deadline = time.monotonic() + 5
    while "enough" not in open_broker.log():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    lines = [line for line in open_broker.log().splitlines() if "client" in line]
    assert not any("in-process" in line or "peer=inside" in line for line in lines), lines
    kicked = next(line for line in lines if "enough" in line)
    assert "an administrator" in kicked and "certificate" not in kicked and "let in" not in kicked


def test_histograms_tell_how_long_things_take(open_broker):
    for _ in range(3):
        open_broker.ask("POST", "/api/v1/publish", {"topic": "a", "payload": "x", "qos": 1, "retain": True})
    text = open_broker.ask("GET", "/metrics")[2].decode()
    for name in ("cork_shard_turn_seconds", "cork_acknowledgement_wait_seconds", "cork_store_commit_seconds"):
        buckets = [float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "_bucket")]
        counts = [float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "_count")]
        assert counts and counts[0] >= 3 and len(buckets) == 17 * len(counts), name
        shard = buckets[:17]
        assert shard == sorted(shard) and shard[-1] == counts[0], "they add up"


def test_the_api_inside_tls(workdir):
    authority = Authority(workdir)
    certificate, key = authority.issue("broker")
    process, port = Served(workdir), free_port()
    config = workdir / "cork.toml"
    tls = f'tls = {{ cert = "{certificate}", key = "{key}" }}\n'
    config.write_text(config.read_text() + f'[[listener]]\nurl = "https://{HOST}:{port}"\n{tls}')
    process.start()
    assert f"https://{HOST}:{port}" in process.log()
    trusting = ssl.create_default_context(cafile=str(authority.ca))

    def ask(method, path, body=None, headers=()):
        connection = http.client.HTTPSConnection(HOST, port, timeout=10, context=trusting)
        connection.request(method, path, body, dict(headers))
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, answer.headers, text

    assert ask("GET", "/api/v1/overview")[0] == 200
    url, ca = f"https://{HOST}:{port}", str(authority.ca)
    for arguments, environment in (["--cafile", ca], {}), ([], {"CORK_CAFILE": ca}):
        command = [cork_bin(), "ctl", "--url", url, *arguments, "overview"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=os.environ | environment)
        assert (done.returncode, done.stderr) == (0, "") and "clients" in done.stdout, done
    command = [cork_bin(), "top", "--url", url, "--cafile", ca, "--seconds", "1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "TOPIC" in done.stdout, done
    done = subprocess.run([cork_bin(), "ctl", "--url", url, "overview"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 1 and "--cafile" in done.stderr, done
    user = json.dumps({"password": PASSWORD, "groups": ["admin"]})
    assert ask("PUT", "/api/v1/users/ann", user, {"Content-Type": "application/json"})[0] == 201
    login = json.dumps({"user": "ann", "password": PASSWORD})
    status, headers, _ = ask("POST", "/api/v1/session", login, {"Content-Type": "application/json"})
    assert status == 200 and "; Secure" in headers["Set-Cookie"]
    with pytest.raises(ssl.SSLError):
        http.client.HTTPSConnection(HOST, port, timeout=10, context=ssl.create_default_context()).request("GET", "/")
    process.stop()


# What other people's tools say


def test_promtool_finds_nothing_to_say(open_broker):
    promtool = os.environ.get("PROMTOOL")
    if not promtool:
        pytest.skip("PROMTOOL is not set: dev/e2e/run sets it")
    time.sleep(1.1)
    _, headers, text = open_broker.ask("GET", "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, timeout=20)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_schemathesis_finds_no_undocumented_answer(open_broker, workdir):
    schemathesis = Path(sys.executable).parent / "schemathesis"
    url = f"http://{HOST}:{open_broker.http}/api/v1/openapi.json"
    command = [
        str(schemathesis), "run", url, "--checks",
        "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
        "--exclude-path-regex", "stream|/messages|/trace|/request", "--max-examples", "8", "--seed", "7",
        "--phases", "examples,fuzzing", "--workers", "2", "--request-timeout", "10",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=workdir)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
