"""`order = "live-first"`: what is published now passes beside what waited; nothing is lost, nothing is there twice."""

import signal
import time

import pytest

from bridged import Node, Reader, Sensors, Wire, link
from paho_client import PahoClient
from waiting import until

pytestmark = pytest.mark.cork_only

OUT = {"filter": "#", "qos": 2}


def client(node, name, **options):
    return PahoClient(node, name, user=None, **options)


def test_live_values_arrive_while_a_backlog_drains(workdir, running, figure):
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    keys = {"order": "live-first", "messages_per_second": 1000}
    config = link("cloud", cloud.port, OUT, **keys).replace('"1000"', "1000")
    local = running(Node(workdir / "local", config, durability="none"))
    local.start()
    cloud.kill()
    sender = running(client(local, "sender"))
    for number in range(8000):
        sender.paho.publish(f"backlog/{number % 3}", str(number), qos=1)
    sender.publish("backlog/end", "0", qos=1)
    cloud.start()
    old = running(Reader(cloud.port, "backlog/#", 1))
    live = running(client(cloud, "live"))
    live.subscribe("live/#", qos=1)
    until(lambda: old.count > 500, what="the backlog's beginning")
    watcher = running(client(local, "watch"))
    watcher.subscribe("$SYS/broker/bridge/cloud/second/state")
    until(lambda: watcher.payloads()[-1:] == ["online"], what="the second session")
    delays = []
    for number in range(20):
        began = time.monotonic()
        sender.publish("live/1", str(number), qos=1)
        live.wait_for(number + 1, timeout=5)
        delays.append(time.monotonic() - began)
    assert old.count < 7500, "the backlog was gone before live values could be looked at"
    until(lambda: old.different() == 8001, 40, "the whole backlog")
    figure(f"live-first: live values took {sorted(delays)[10] * 1000:.0f} ms (worst {max(delays) * 1000:.0f} ms) beside a backlog")
    assert max(delays) < 1.5
    # Back to one lane: nothing that waits in the other one is lost.
    local.configure(link("cloud", cloud.port, OUT))
    local.signal(signal.SIGHUP)
    until(lambda: "bridge cloud: changed" in local.log())
    sender.publish("live/1", "strict", qos=1)
    live.until(lambda: "strict" in live.payloads(), "the last value")


def test_at_qos_2_everything_arrives_once_through_kills_and_cuts(workdir, running):
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    wire = running(Wire(cloud.port))
    local = running(Node(workdir / "local", link("cloud", wire.port, {"filter": "sensor/#", "qos": 2}, order="live-first")))
    local.start()
    reader = running(Reader(cloud.port, "sensor/#", 2))
    sensors = Sensors(local.port, 2)
    for _ in range(3):
        cloud.kill()
        time.sleep(0.7)
        cloud.start()
        time.sleep(0.5)
        local.kill()
        local.start()
        wire.cut()
        time.sleep(0.3)
        wire.silence()
    sent = sensors.finish()
    reader.wait_for_different(sent)
    assert reader.count == sent, f"{reader.count - sent} of {sent} are there twice"
    assert "cloud/second" in local.log(), "the second lane never came up"


def test_an_alarm_does_not_wait_behind_a_backlog(workdir, running, figure):
    """The default order: a topic that has no backlog passes at once, the others stay in order."""
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    config = link("cloud", cloud.port, OUT, messages_per_second=1000).replace('"1000"', "1000")
    local = running(Node(workdir / "local", config, durability="none"))
    local.start()
    alarms = running(client(cloud, "alarms", clean=False, SessionExpiryInterval=3600))
    alarms.subscribe("alarm", qos=1)
    sender = running(client(local, "sender"))
    watcher = running(client(local, "watch"))
    watcher.subscribe("$SYS/broker/bridge/cloud/second/state")
    until(lambda: watcher.payloads()[-1:] == ["online"], what="the second session")
    # While it is up the broker learns that the second session can be relied on.
    sender.publish("sensor/0", "-1", qos=1)
    cloud.kill()
    for number in range(3000):
        sender.paho.publish(f"sensor/{number % 10}", str(number // 10), qos=1)
    sender.publish("sensor/0", "300", qos=1)
    sender.publish("alarm", "smoke", qos=1)
    cloud.start()
    alarms.connect()
    reader = running(Reader(cloud.port, "sensor/#", 1))
    until(lambda: reader.count > 100, what="the backlog's beginning")
    began = time.monotonic()
    sender.publish("sensor/0", "301", qos=1)
    sender.publish("alarm", "fire", qos=1)
    alarms.wait_for(2, timeout=5)
    figure(f"strict: an alarm took {(time.monotonic() - began) * 1000:.0f} ms beside a backlog")
    assert reader.count < 2800, "the backlog was gone before the alarm could be looked at"
    until(lambda: 301 in reader.readings["sensor/0"], 30, "the end of the backlog")
    numbers = list(dict.fromkeys(reader.readings["sensor/0"]))
    assert numbers == sorted(numbers)
