"""What a link costs the broker and its clients while the other broker is no good; its limits; how it logs in."""

import socket
import threading
import time

import pytest

from bridged import Node, Reader, link
from broker import HOST, PASSWORD, USER, add_user, connect_packet
from paho_client import PahoClient
from test_bridge import Strange
from test_bridge_remotes import client, told, watch
from waiting import until

pytestmark = pytest.mark.cork_only

OUT = {"filter": "sensor/#", "qos": 1}
BATCH, BYTES = 200, 1000
# Messages a second: what a link may hold, 1 GB, must not be full before the test has seen what it wants to see.
PACE = 60_000


class Deaf(Strange):
    """Lets a link in and never reads again; the connection stays."""

    def __init__(self):
        super().__init__(None)
        self._kept = []

    def _serve(self, stream):
        try:
            stream.recv(4096)
            stream.sendall(b"\x20\x02\x01\x00")
        except OSError:
            pass
        self._kept.append(stream)


class Flood:
    """Publishes on many topics at QoS 1, as fast as it is acknowledged but for `PACE`, until told to stop."""

    def __init__(self, port):
        self.sent, self._stop = 0, False
        self._stream = socket.create_connection((HOST, port), timeout=10)
        self._stream.sendall(connect_packet("flood"))
        assert len(self._stream.recv(4)) == 4
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _packet(self, number):
        topic, mid = f"sensor/{number % 50:02}".encode(), number % 60_000 + 1
        body = len(topic).to_bytes(2, "big") + topic + mid.to_bytes(2, "big") + b"x" * BYTES
        return bytes([0x32, len(body) & 127 | 128, len(body) >> 7]) + body

    def _run(self):
        began = time.monotonic()
        while not self._stop:
            time.sleep(max(0, began + self.sent / PACE - time.monotonic()))
            self._stream.sendall(b"".join(self._packet(self.sent + at) for at in range(BATCH)))
            left = BATCH * 4
            while left:
                left -= len(self._stream.recv(left))
            self.sent += BATCH

    def finish(self):
        self._stop = True
        self._thread.join(20)
        self._stream.close()
        return self.sent


def round_trips(node, running, seconds):
    """How long messages of one client of the broker take to another one, sorted."""
    sender, reader = running(client(node, f"a{time.monotonic()}")), running(client(node, f"b{time.monotonic()}"))
    reader.subscribe("local/ping", qos=1)
    times, ends = [], time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.monotonic()
        sender.publish("local/ping", "x", qos=1)
        reader.wait_for(len(times) + 1)
        times.append(time.monotonic() - began)
        time.sleep(0.01)
    return sorted(times)


@pytest.mark.parametrize("kind", ["never acknowledges", "closes at every message", "is silently gone"])
def test_a_bad_remote_costs_neither_memory_nor_the_brokers_clients(workdir, running, figure, kind):
    makers = {"never acknowledges": lambda: Strange(lambda *_: True), "closes at every message": lambda: Strange(lambda *_: False)}
    strange = running(makers.get(kind, Deaf)())
    local = running(Node(workdir / "local", link("there", strange.port, OUT, version="3.1.1"), durability="none"))
    local.start()
    flood = Flood(local.port)
    until(lambda: flood.sent > 10_000, what="the backlog's beginning")
    before = local.resident_bytes()
    times = round_trips(local, running, 4)
    until(lambda: flood.sent > 40_000, 60, "a backlog")
    sent, connections = flood.finish(), strange.connections
    until(lambda: strange.connections > max(connections, 2), what="another attempt")
    grown, worst = local.resident_bytes() - before, times[len(times) * 99 // 100]
    figure(
        f"bridge: a broker that {kind}: {sent * BYTES // 1_000_000} MB wait, {grown / 1e6:.1f} MB more in memory, "
        f"p99 of the broker's own clients {worst * 1000:.0f} ms, {strange.connections} attempts"
    )
    assert grown < 20e6, f"{grown / 1e6:.1f} MB for {sent} messages"
    assert worst < 0.5, f"{worst:.3f} s beside the link"
    watcher = watch(local, running)
    until(lambda: told(watcher, "there", "backlog/messages") == str(sent), what=f"a backlog of {sent} messages")
    assert sum('bridge="there"' in line and " WARN " in line for line in local.log().splitlines()) < 20


def test_what_does_not_fit_or_is_too_old_is_dropped_and_counted(workdir, running):
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    config = link("small", cloud.port, {"filter": "small/#"}, queue_max_bytes="20KB") + link(
        "brief", cloud.port, {"filter": "brief/#"}, max_age="2s"
    )
    local = running(Node(workdir / "local", config))
    local.start()
    watcher, sender = watch(local, running), running(client(local, "sender"))
    for name in ("small", "brief"):
        until(lambda: told(watcher, name, "state") == "online", what=name)
    cloud.kill()
    until(lambda: told(watcher, "small", "state") != "online", what="the outage")
    for number in range(100):
        sender.publish("small/1", f"{number:0500}", qos=1)
    sender.publish("brief/1", "0", qos=1)
    until(lambda: int(told(watcher, "small", "backlog/messages") or 0) > 10, what="a backlog")
    until(lambda: int(told(watcher, "brief", "backlog/age") or 0) > 2, what="its age")
    kept = int(told(watcher, "small", "backlog/messages"))
    assert kept < 60 and 5_000 < int(told(watcher, "small", "backlog/bytes")) <= 40_000
    sender.publish("brief/1", "1", qos=1)
    cloud.start()
    reader = running(client(cloud, "reader", clean=False))
    reader.subscribe("#", qos=1)
    until(lambda: told(watcher, "brief", "messages/dropped/too_old") == "1", what="the one that is too old")
    until(lambda: told(watcher, "small", "backlog/messages") == "0", what="the end of the backlog")
    until(lambda: told(watcher, "small", "messages/out") == str(kept), what="the oldest, which are kept")
    assert any("$cork/bridge/small" in line and "full" in line for line in local.log().splitlines())


def test_a_link_logs_in_with_a_password_from_each_place(workdir, running, monkeypatch):
    cloud = Node(workdir / "cloud")
    users = workdir / "cloud" / "passwords"
    add_user(users)
    cloud.head = cloud.head.replace("allow_anonymous = true", f'password_file = "{users}"')
    cloud.configure("")
    running(cloud).start(connect_packet(user=USER, password=PASSWORD))
    (workdir / "key").write_text(f"{PASSWORD}\n")
    monkeypatch.setenv("CLOUD_PASSWORD", PASSWORD)
    places = {"text": {"password": PASSWORD}, "file": {"password_file": str(workdir / "key")}, "env": {"password_env": "CLOUD_PASSWORD"}}
    config = "".join(link(name, cloud.port, {"filter": f"{name}/#"}, username=USER, **keys) for name, keys in places.items())
    local = running(Node(workdir / "local", config))
    local.start()
    watcher, sender = watch(local, running), running(client(local, "sender"))
    reader = running(PahoClient(cloud, "reader"))
    reader.subscribe("#", qos=1)
    for name in places:
        until(lambda: told(watcher, name, "state") == "online", what=name)
        sender.publish(f"{name}/1", name, qos=1)
    reader.until(lambda: sorted(reader.payloads()) == sorted(places), "a message from each")
    assert PASSWORD not in local.log()
