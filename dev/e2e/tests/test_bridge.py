"""Links to other brokers: nothing is lost, whoever is killed and however the link is cut."""

import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest

from bridged import BridgedMosquitto, Node, Reader, Sensors, Wire, judge, link
from broker import HOST, connect_packet, cork_bin
from paho_client import PahoClient

pytestmark = pytest.mark.cork_only

OUT = {"filter": "sensor/#", "qos": 2, "remote_prefix": "site-7/"}


def kill_three_times(node, pause=0.3):
    for _ in range(3):
        time.sleep(pause)
        node.kill()
        node.start()


def silence_in_the_middle(wire, reader):
    """Lets a backlog drain and the wire fall silent under it."""
    before = reader.count
    wire.cut()
    reader.wait_for(before + 200)
    wire.silence()


@pytest.mark.parametrize("qos", [1, 2])
def test_local_to_cloud_through_kills_and_a_silent_cut(workdir, running, figure, qos):
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    wire = running(Wire(cloud.port))
    local = running(Node(workdir / "local", link("cloud", wire.port, {**OUT, "qos": qos})))
    local.start()
    reader = running(Reader(cloud.port, "site-7/sensor/#", qos))
    sensors = Sensors(local.port, qos)
    kill_three_times(local)
    kill_three_times(cloud)
    cloud.kill()
    time.sleep(1)
    cloud.start()
    silence_in_the_middle(wire, reader)
    time.sleep(0.5)
    sent = sensors.finish()
    reader.wait_for_different(sent)
    repetitions = judge(reader, sent, qos, prefix="site-7/")
    figure(f"bridge: {sent} readings at QoS {qos}, {repetitions} repetitions, {wire.connections} connections")
    assert local.resident_bytes() < 150e6 and cloud.resident_bytes() < 150e6


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_to_mosquitto_through_kills_and_cuts(workdir, running, version):
    mosquitto = running(BridgedMosquitto(workdir / "mosquitto"))
    mosquitto.start()
    wire = running(Wire(mosquitto.port))
    local = running(Node(workdir / "local", link("cloud", wire.port, OUT, version=version)))
    local.start()
    reader = running(Reader(mosquitto.port, "site-7/sensor/#", 2, version=311))
    sensors = Sensors(local.port, 2)
    kill_three_times(local)
    wire.cut()
    time.sleep(0.3)
    wire.silence()
    time.sleep(0.3)
    sent = sensors.finish()
    reader.wait_for_different(sent)
    judge(reader, sent, 2, prefix="site-7/")


def test_from_mosquitto_through_kills_and_cuts(workdir, running):
    mosquitto = running(BridgedMosquitto(workdir / "mosquitto"))
    mosquitto.start()
    wire = running(Wire(mosquitto.port))
    topic = {"filter": "sensor/#", "qos": 2, "direction": "in", "local_prefix": "site-7/"}
    local = running(Node(workdir / "local", link("cloud", wire.port, topic)))
    local.start()
    reader = running(Reader(local.port, "site-7/sensor/#", 2))
    state(watch(local, running), "cloud", "state", lambda text: text == "online")
    sensors = Sensors(mosquitto.port, 2)
    kill_three_times(local)
    wire.cut()
    time.sleep(0.3)
    wire.silence()
    time.sleep(0.3)
    sent = sensors.finish()
    reader.wait_for_different(sent)
    judge(reader, sent, 2, prefix="site-7/")


def test_mosquittos_own_bridge_to_here_through_kills_and_cuts(workdir, running):
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    wire = running(Wire(cloud.port))
    bridge = f"connection here\naddress 127.0.0.1:{wire.port}\ntopic sensor/# out 1 \"\" site-7/\ncleansession false\nrestart_timeout 1\nkeepalive_interval 5\n"
    mosquitto = running(BridgedMosquitto(workdir / "mosquitto", bridge))
    mosquitto.start()
    reader = running(Reader(cloud.port, "site-7/sensor/#", 1))
    sensors = Sensors(mosquitto.port, 1)
    kill_three_times(cloud)
    wire.cut()
    time.sleep(0.3)
    sent = sensors.finish()
    reader.wait_for_different(sent)
    judge(reader, sent, 1, prefix="site-7/")


# What is retained when a link is new


def retain(node, count):
    """Every second one at QoS 1, each of a thousand bytes."""
    with socket.create_connection((HOST, node.port), timeout=10) as stream:
        stream.sendall(connect_packet("publisher", clean=True))
        packets = stream.makefile("rb")
        packets.read(4)
        for number in range(count):
            topic = f"sensor/{number:04}".encode()
            head = len(topic).to_bytes(2, "big") + topic + (number + 1).to_bytes(2, "big") * (number % 2)
            body = head + f"{number:01000}".encode()
            length = bytes([len(body) & 127 | 128, len(body) >> 7])
            stream.sendall(bytes([0x31 | number % 2 << 1]) + length + body)
        packets.read(4 * (count // 2))


def retained(node, running, count):
    """Waits until so much is retained."""
    reader = running(client(node, "reader"))
    reader.subscribe("site-7/#", qos=1)
    reader.until(lambda: len({one.topic for one in reader.all_received}) == count, "all that is retained", timeout=30)
    return reader


def test_all_that_is_retained_gets_through_a_new_link_whoever_is_killed_meanwhile(workdir, running):
    count = 3000
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    local = running(Node(workdir / "local"))
    local.start()
    retain(local, count)
    # Three seconds' worth, more than buffers on the way take; kills come in the middle.
    local.configure(link("cloud", cloud.port, OUT, messages_per_second=1000))
    local.signal(signal.SIGHUP)
    time.sleep(0.8)
    for kills in range(4):
        (cloud if kills == 1 else local).kill()
        (cloud if kills == 1 else local).start()
        time.sleep(0.8)
    reader = retained(cloud, running, count)
    # That is the end of it: a start sends nothing once more.
    state(watch(local, running), "cloud", "backlog/messages", lambda text: text == "0")
    time.sleep(1)
    came = len(reader.all_received)
    local.kill()
    local.start()
    state(watch(local, running), "cloud", "state", lambda text: text == "online")
    time.sleep(1)
    assert len(reader.all_received) == came


@pytest.mark.parametrize("then", ["kill", "reload"])
def test_what_was_retained_before_the_other_broker_was_there_gets_through(workdir, running, then):
    """The other broker has a session of an earlier link, so it does not say that all is new."""
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    config = link("cloud", cloud.port, OUT)
    local = running(Node(workdir / "local", config))
    local.start()
    watcher = watch(local, running)
    state(watcher, "cloud", "state", lambda text: text == "online")
    local.configure("")
    local.signal(signal.SIGHUP)
    state(watcher, "cloud", "state", lambda text: not text)
    cloud.stop()
    retain(local, 100)
    local.configure(config)
    local.signal(signal.SIGHUP)
    state(watcher, "cloud", "state", lambda text: text == "waiting")
    if then == "reload":
        local.configure(config.replace('ack_timeout = "2s"', 'ack_timeout = "3s"'))
        local.signal(signal.SIGHUP)
        time.sleep(0.5)
    else:
        local.kill()
        local.start()
    cloud.start()
    retained(cloud, running, 100)


# Circles

EVERYTHING = {"filter": "#", "qos": 1, "direction": "both"}


def client(node, name, **options):
    return PahoClient(node, name, user=None, **options)


def state(one, name, key, wanted, seconds=15):
    """Waits until `$SYS` says so of a link; `one` subscribes to it."""
    topic = f"$SYS/broker/bridge/{name}/{key}"
    one.until(lambda: any(wanted(text) for text in one.payloads(topic)[-1:]), f"{key} of link {name}", seconds)


def watch(node, running):
    one = running(client(node, "watch"))
    one.subscribe("$SYS/broker/bridge/#")
    return one


def quiet(reader, most, seconds=1):
    """Nothing more comes after a while, and not much came."""
    time.sleep(seconds)
    count = len(reader.received)
    time.sleep(seconds)
    assert len(reader.received) == count, "it goes on and on"
    assert count <= most, f"{count} messages"


def test_two_brokers_with_links_to_each_other_do_not_storm(workdir, running):
    one, two = (running(Node(workdir / name)) for name in ("one", "two"))
    for node, other in ((one, two), (two, one)):
        node.configure(link("other", other.port, EVERYTHING))
    one.start()
    two.start()
    for node in (one, two):
        state(watch(node, running), "other", "state", lambda text: text == "online")
    reader = running(client(two, "reader"))
    reader.subscribe("a/#")
    running(client(one, "publisher")).publish("a/b", "x", qos=1)
    reader.wait_for(1)
    quiet(reader, 10)


@pytest.mark.parametrize("opposed", [False, True])
def test_mosquitto_bridged_with_everything_does_not_storm(workdir, running, opposed):
    local = running(Node(workdir / "local"))
    back = f"connection back\naddress {HOST}:{local.port}\ntopic # both 1\nrestart_timeout 1\n" if opposed else ""
    mosquitto = running(BridgedMosquitto(workdir / "mosquitto", back))
    local.configure(link("there", mosquitto.port, EVERYTHING))
    local.start()
    mosquitto.start()
    state(watch(local, running), "there", "state", lambda text: text == "online")
    if opposed:
        time.sleep(2)
    reader = running(client(mosquitto, "reader", version=311))
    reader.subscribe("a/#")
    running(client(local, "publisher")).publish("a/b", "x", qos=1)
    reader.wait_for(1)
    quiet(reader, 2000 if opposed else 1)
    assert not opposed or "messages go round" in local.log()


# What can be wrong with the other broker

def test_a_reload_touches_only_the_links_that_differ(workdir, running):
    clouds = [running(Node(workdir / f"cloud{n}")) for n in range(3)]
    for cloud in clouds:
        cloud.start()
    names, wire = ["a", "b", "c"], running(Wire(clouds[0].port))
    ports = [wire.port, clouds[1].port, clouds[2].port]
    config = [link(name, port, {"filter": f"{name}/#"}) for name, port in zip(names, ports)]
    local = running(Node(workdir / "local", config[0] + config[1]))
    local.start()
    watcher = watch(local, running)
    for name in "ab":
        state(watcher, name, "state", lambda text: text == "online")
    deadline = time.monotonic() + 10
    while wire.connections < 2:  # two sessions
        assert time.monotonic() < deadline, "the second session is missing"
        time.sleep(0.05)
    clouds[1].stop()
    publisher = running(client(local, "publisher"))
    publisher.publish("b/1", "kept", qos=1)
    untouched = running(client(clouds[0], "untouched"))
    untouched.subscribe("#")
    publisher.publish("a/1", "before", qos=1)
    # `b` gets another filter besides, `c` is new.
    more = config[1] + '[[bridge.topic]]\nfilter = "d/#"\n'
    local.configure(config[0] + more + config[2])
    local.signal(signal.SIGHUP)
    state(watcher, "c", "state", lambda text: text == "online")
    publisher.publish("d/1", "new", qos=1)
    clouds[1].start()
    reader = running(client(clouds[1], "reader"))
    reader.subscribe("#")
    state(watcher, "b", "state", lambda text: text == "online")
    reader.wait_for(2)
    assert reader.payloads() == ["kept", "new"]
    assert watcher.payloads("$SYS/broker/bridge/a/state").count("online") == 1, "not touched"
    # `b` is gone: its session, too.
    local.configure(config[0] + config[2])
    local.signal(signal.SIGHUP)
    state(watcher, "b", "state", lambda text: not text)
    clouds[1].stop()
    publisher.publish("b/2", "nobody's", qos=1)
    local.configure(config[0] + more + config[2])
    local.signal(signal.SIGHUP)
    clouds[1].start()
    state(watcher, "b", "state", lambda text: text == "online")
    publisher.publish("b/3", "wanted", qos=1)
    reader = running(client(clouds[1], "reader2"))
    reader.subscribe("b/#")
    publisher.publish("b/4", "last", qos=1)
    reader.until(lambda: "last" in reader.payloads(), "the last message")
    assert "nobody's" not in reader.payloads()
    publisher.publish("a/1", "after", qos=1)
    untouched.wait_for(2)
    assert (untouched.payloads(), wire.connections) == (["before", "after"], 2), "`a` was touched"


class Strange:
    """A broker of 3.1.1 that lets a link in and then does what `answer` says with each packet."""

    def __init__(self, answer):
        self.answer, self.connections = answer, 0
        self.listener = socket.create_server((HOST, 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                stream, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(stream,), daemon=True).start()

    def _serve(self, stream):
        try:
            stream.recv(4096)
            stream.sendall(b"\x20\x02\x01\x00")
            while data := stream.recv(4096):
                if not self.answer(stream, data):
                    break
        except OSError:
            pass
        stream.close()

    def close(self):
        self.listener.close()


@pytest.mark.parametrize(
    "answer, told",
    [
        (lambda _stream, _data: True, "acknowledged nothing for 2s"),
        (lambda _stream, _data: False, "closed the connection"),
        (lambda stream, _data: stream.sendall(b"\xff" * 6) is None, "broke the protocol"),
    ],
    ids=["never acknowledges", "closes at every message", "talks nonsense"],
)
def test_a_strange_broker_costs_nothing_but_a_line(workdir, running, answer, told):
    strange = running(Strange(answer))
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    config = link("there", strange.port, OUT, version="3.1.1")
    local = running(Node(workdir / "local", config))
    local.start()
    watcher = watch(local, running)
    publisher = running(client(local, "publisher"))
    for number in range(10):
        publisher.publish("sensor/1", str(number), qos=2)
    state(watcher, "there", "last_error", lambda text: told in text)
    state(watcher, "there", "backlog/messages", lambda text: text == "10")
    deadline = time.monotonic() + 15
    while strange.connections < 3:
        assert time.monotonic() < deadline, "it does not try again"
        time.sleep(0.1)
    local.configure(link("there", cloud.port, OUT))
    local.signal(signal.SIGHUP)
    reader = running(client(cloud, "reader", clean=False))
    reader.subscribe("site-7/#", qos=2)
    state(watcher, "there", "backlog/messages", lambda text: text == "0")


def test_what_cannot_be_reached_or_refuses_is_one_line_without_the_password(workdir, running, password_file):
    cloud = running(Node(workdir / "cloud"))
    cloud.head = cloud.head.replace("allow_anonymous = true", f'password_file = "{password_file}"')
    cloud.configure("")
    cloud.start()
    config = link("refused", cloud.port, OUT, username="ann", password="sesame")
    config += link("nowhere", 1883, OUT).replace(HOST, "no-such-host.invalid")
    local = running(Node(workdir / "local", config))
    local.start()
    watcher = watch(local, running)
    state(watcher, "refused", "last_error", lambda text: "refuses the connection" in text)
    state(watcher, "nowhere", "last_error", lambda text: "no-such-host.invalid" in text)
    time.sleep(2)
    log = local.log()
    for name in ("refused", "nowhere"):
        assert sum(f'bridge="{name}"' in line and "link is down" in line for line in log.splitlines()) == 1
    assert "sesame" not in log and not any("sesame" in text for text in watcher.payloads())


def test_the_five_lines_of_the_page_are_enough(workdir, running):
    page = (Path(__file__).parents[3] / "docs" / "bridge.md").read_text()
    five = page.split("```toml\n")[1].split("```")[0]
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    local = running(Node(workdir / "local", five.replace("mqtts://cloud.example", f"mqtt://{HOST}:{cloud.port}")))
    checked = subprocess.run([cork_bin(), "check", str(local.file)], capture_output=True, text=True, timeout=30)
    assert checked.returncode == 0 and "`sensors/#` to mqtt://" in checked.stdout, checked
    local.start()
    reader = running(client(cloud, "reader"))
    reader.subscribe("sensors/#")
    running(client(local, "publisher")).publish("sensors/hall", "21.5", qos=1)
    assert reader.wait_for(1)[0].payload == b"21.5"
