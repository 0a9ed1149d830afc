"""A client of the size that fits a microcontroller."""

import time

from broker import MOSQUITTO
from minimal_client import MinimalClient


def test_minimal_client_talks_byte_by_byte(broker, client):
    dashboard = client("dashboard", version=311)
    dashboard.subscribe("arduino/out")
    board = MinimalClient(broker.port, "arduino")
    board.subscribe("arduino/in")
    board.publish("arduino/out", b"hello world", retain=True)
    assert dashboard.wait_for(1)[0].payload == b"hello world"
    for number in range(10):
        dashboard.publish("arduino/in", str(number))
    assert [board.message() for _ in range(10)] == [("arduino/in", str(number).encode()) for number in range(10)]
    board.ping()
    board.disconnect()


def test_what_does_not_fit_its_buffer_disturbs_nothing(broker, client):
    dashboard = client("dashboard")
    board = MinimalClient(broker.port, "arduino")
    board.subscribe("arduino/in")
    dashboard.publish("arduino/in", b"x" * 500, qos=0)
    dashboard.publish("arduino/in", b"fits", qos=0)
    assert board.message() == ("arduino/in", b"fits")
    assert board.dropped == 1
    board.ping()


def test_many_packets_in_one_segment(broker, client):
    dashboard = client("dashboard")
    dashboard.subscribe("a")
    board = MinimalClient(broker.port, "arduino", byte_by_byte=False)
    board.stream.sendall(b"\x30\x04\x00\x01a1" * 500 + b"\xc0\x00")
    assert board.read() == (0xD0, b"")
    assert len(dashboard.wait_for(500)) == 500


def test_silent_client_is_dropped_after_one_and_a_half_keep_alives(broker):
    board = MinimalClient(broker.port, "arduino", keep_alive=1)
    start = time.monotonic()
    assert board.stream.recv(1) == b"", "3.1.1 has no DISCONNECT from the broker"
    latest = 8.0 if MOSQUITTO else 3.0
    assert 1.2 <= time.monotonic() - start <= latest
