"""Node-RED's MQTT nodes, unchanged, against the real binary: 3.1.1 and 5.0, with user and password."""

import json

import pytest

from broker import Cork
from node_red import NodeRed, broker_node, flow
from paho_client import PahoClient
from waiting import until

CLIMATE = "home/kitchen/climate"
ATTACHED = """
[[filter]]
name = "warm"
when = "payload.temperature > 25"
changed = "payload.temperature"
[[attach]]
client_id = "node-red"
topic = "home/+/climate"
filter = "warm"
"""

pytestmark = pytest.mark.parametrize("version", [311, 5], ids=["3.1.1", "5.0"])


def test_its_nodes_read_and_write_and_come_back(broker, client, version, workdir, running):
    paho = client("paho", version=version)
    paho.publish("home/kept", "first", retain=True)
    red = running(NodeRed(workdir / "red", flow(broker_node(broker, version, "node-red"), "home/#"))).start()
    assert red.wait_for(1)[0] == {"topic": "home/kept", "payload": "first", "qos": 1, "retain": True}

    paho.publish("home/number", "21.5")
    paho.publish("home/object", '{"on": true}', qos=2)
    assert red.wait_for(3)[1:] == [
        {"topic": "home/number", "payload": 21.5, "qos": 1, "retain": False},
        {"topic": "home/object", "payload": {"on": True}, "qos": 1, "retain": False},
    ]

    paho.subscribe("lamp/#", qos=2)
    red.send("lamp/1", {"brightness": 40}, qos=2, retain=True)
    paho.wait_for(1)  # what is sent at QoS 0 need not wait for the disk, and may come first
    red.send("lamp/2", "off", qos=0)
    one, two = paho.wait_for(2)
    assert (one.topic, json.loads(one.payload), one.qos, one.retain) == ("lamp/1", {"brightness": 40}, 2, False)
    assert (two.topic, two.payload, two.qos) == ("lamp/2", b"off", 0)
    late = client("late", version=version)
    late.subscribe("lamp/#")
    assert [(message.topic, message.retain) for message in late.wait_for(1)] == [("lamp/1", True)]

    # Its nodes find the broker again by themselves, and subscribe again.
    broker.stop()
    until(lambda: "connected" not in red.states().values(), what="Node-RED to notice")
    broker.start()
    until(lambda: set(red.states().values()) == {"connected"}, what="Node-RED to be back")
    client("again", version=version).publish("home/again", "1")
    assert until(lambda: [one for one in red.seen() if one["topic"] == "home/again"])[0]["payload"] == 1


def test_wills_reach_it_and_its_own_is_sent(broker, client, version, workdir, running):
    watcher = client("watcher", version=version)
    watcher.subscribe("red/status")
    device = client("device", version=version, will={"topic": "device/status", "payload": "offline", "qos": 1, "retain": True})
    words = {"birthTopic": "online", "closeTopic": "leaving", "willTopic": "lost"}
    dialog = {key: "red/status" for key in words}
    for key, payload in words.items():
        what = key.removesuffix("Topic")
        dialog |= {f"{what}Payload": payload, f"{what}Qos": "1", f"{what}Retain": "false", f"{what}Msg": {}}
    connection = broker_node(broker, version, "node-red", **dialog)
    red = running(NodeRed(workdir / "red", flow(connection, "device/+"))).start()
    device.cut()
    assert red.wait_for(1) == [{"topic": "device/status", "payload": "offline", "qos": 1, "retain": False}]
    watcher.wait_for(1)
    red.kill()
    watcher.wait_for(2)
    red.start()
    watcher.wait_for(3)
    assert red.wait_for(2)[1]["retain"], "retained, for who comes later"
    red.stop()
    watcher.wait_for(4)
    assert watcher.payloads() == ["online", "lost", "online", "leaving"]


def test_a_wrong_password_is_told(broker, version, workdir, running):
    red = running(NodeRed(workdir / "red", flow(broker_node(broker, version, "node-red"), "home/#"), password="wrong")).launch()
    until(lambda: "Connection failed" in red.log(), what="Node-RED's word of it")
    assert "connected" not in red.states().values()


@pytest.mark.cork_only
def test_an_attached_filter_lets_through_what_changed_above_25(version, workdir, password_file, running):
    """It subscribes to `home/#`, and could not be told a filter: it drops what does not fit its own topics."""
    broker = Cork(workdir, password_file, after=ATTACHED)
    broker.start()
    running(broker)
    red = running(NodeRed(workdir / "red", flow(broker_node(broker, version, "node-red"), "home/#"))).start()
    sensor, other = (running(PahoClient(broker, name, version=version)) for name in ("sensor", "other"))
    other.subscribe("home/#")
    for temperature in (26.5, 26.5, 19, 26.5, 27, 24, 31):
        sensor.publish(CLIMATE, json.dumps({"temperature": temperature}))
    sensor.publish(CLIMATE, "hello")
    sensor.publish("home/kitchen/light", "on")
    other.wait_for(9)
    got = [(one["topic"], one["payload"]) for one in red.wait_for(4)]
    warm = [(CLIMATE, {"temperature": value}) for value in (26.5, 27, 31)]
    assert got == [*warm, ("home/kitchen/light", "on")]
