"""Links to other brokers: nothing is lost, whoever is killed and however the link is cut."""

import time

import pytest

from bridged import BridgedMosquitto, Node, Reader, Sensors, Wire, judge, link

pytestmark = pytest.mark.cork_only

OUT = {"filter": "sensor/#", "qos": 2, "remote_prefix": "site-7/"}


@pytest.fixture
def running():
    """Whatever is put in is stopped when the test ends."""
    things = []
    yield lambda thing: things.append(thing) or thing
    for thing in reversed(things):
        (thing.stop if hasattr(thing, "stop") else thing.close)()


def kill_three_times(node, pause=0.5):
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
    time.sleep(0.5)
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
