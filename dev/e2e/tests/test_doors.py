"""Limits per address and client on the real binary: rates, bans that end, logins by turns, memory before the login.

Addresses of the world come by the PROXY protocol; on loopback there are 127.0.0.1 to 127.255.255.254.
"""

import contextlib
import socket
import time

import pytest

from broker import HOST, PASSWORD, USER, Cork, connect_packet, free_port
from raw_mqtt import PINGREQ, PINGRESP, publish, subscribe

pytestmark = pytest.mark.cork_only

ACCEPTED, WRONG_PASSWORD = b"\x20\x02\x00\x00", b"\x20\x02\x00\x04"
CLOSED = b""
GOOD = connect_packet("good", user=USER, password=PASSWORD)
BAD = connect_packet("bad", user=USER, password="wrong")
LOGIN_SECONDS_MAX = 3.0


@pytest.fixture
def doors(workdir, password_file):
    """`doors(limits)` starts a broker with a plain listener and one behind a balancer."""
    with contextlib.ExitStack() as ends:

        def start(limits):
            proxied = free_port()
            after = f'[[listener]]\nurl = "mqtt://{HOST}:{proxied}"\nproxy = true\n'
            extra = f'[limits]\nsys_interval = "1s"\n{limits}\n'
            process = Cork(workdir, password_file, extra=extra, after=after)
            process.proxied = proxied
            ends.callback(process.stop)
            process.start()
            return process

        yield start


def through(process, address, packet):
    """The first four bytes of the answer to a packet from `address`, as a balancer tells it; none: closed."""
    family = "TCP6" if ":" in address else "TCP4"
    with socket.create_connection((HOST, process.proxied), timeout=10) as stream:
        try:
            stream.sendall(f"PROXY {family} {address} {address} 5000 1883\r\n".encode() + packet)
            return stream.recv(4)
        except ConnectionError:
            return CLOSED


def from_loopback(process, address, packet):
    stream = socket.create_connection((HOST, process.port), timeout=10, source_address=(address, 0))
    stream.sendall(packet)
    return stream


def sys_value(process, name, least=1):
    """What `$SYS` says, as soon as it says enough: shards report one after the other."""
    deadline = time.monotonic() + 10
    with from_loopback(process, HOST, GOOD + subscribe([f"$SYS/broker/{name}"])) as stream:
        received = b""
        while time.monotonic() < deadline:
            received += stream.recv(4096)
            value = received.rpartition(name.encode())[2]
            if value.isdigit() and int(value) >= least:
                return int(value)
    raise AssertionError(f"{name}: {received}")


def test_an_address_that_fails_is_banned_and_the_ban_ends(doors):
    process = doors('ban_failures = 3\nban_time = "2s"\nban_time_max = "10s"')
    thief, honest = "203.0.113.7", "203.0.113.8"
    assert [through(process, thief, BAD) for _ in range(3)] == [WRONG_PASSWORD] * 3
    begin = time.monotonic()
    assert through(process, thief, GOOD) == CLOSED
    assert through(process, honest, GOOD) == ACCEPTED
    while through(process, thief, GOOD) != ACCEPTED:
        assert time.monotonic() < begin + 8, "the ban does not end"
        time.sleep(0.1)
    assert time.monotonic() > begin + 1.5
    log = process.log()
    assert log.count("address banned") == 1 and log.count("ban of an address is over") == 1, log
    assert sys_value(process, "connections/refused/banned", 2)
    assert sys_value(process, "addresses/banned") == 1
    assert sys_value(process, "connections/refused/login", 3) == 3


def test_an_ipv6_address_stands_for_its_64(doors):
    process = doors("ban_failures = 3")
    assert [through(process, f"2001:db8::{n}", BAD) for n in range(1, 4)] == [WRONG_PASSWORD] * 3
    assert through(process, "2001:db8::99", GOOD) == CLOSED
    assert through(process, "2001:db8:0:1::1", GOOD) == ACCEPTED


def test_flapping_brings_a_ban(doors):
    process = doors("ban_flaps = 5")
    for _ in range(5):
        assert through(process, "203.0.113.7", GOOD) == ACCEPTED
    time.sleep(0.3)
    assert through(process, "203.0.113.7", GOOD) == CLOSED
    assert through(process, "203.0.113.8", GOOD) == ACCEPTED


def test_an_address_that_connects_too_often_is_turned_away(doors):
    process = doors("connects_per_second_per_address = 5")
    began = time.monotonic()
    answers = [through(process, "203.0.113.7", GOOD) for _ in range(20)]
    # Those that are let in take their time, so that the rate gives some more meanwhile.
    took = time.monotonic() - began
    assert 5 <= answers.count(ACCEPTED) <= 6 + 5 * took and answers.count(CLOSED) > 0, (took, answers)
    assert through(process, "203.0.113.8", GOOD) == ACCEPTED
    assert process.log().count("connects too often") == 1
    closed = answers.count(CLOSED)
    assert sys_value(process, "connections/refused/rate", closed) == closed


def test_loopback_is_spared_unless_asked_for(doors):
    process = doors("ban_failures = 3\nban_flaps = 3")
    for _ in range(6):
        with from_loopback(process, HOST, BAD) as stream:
            assert stream.recv(4) == WRONG_PASSWORD
    with from_loopback(process, HOST, GOOD) as stream:
        assert stream.recv(4) == ACCEPTED


def test_loopback_has_limits_when_asked_for(doors):
    process = doors("ban_failures = 3\nloopback = true")
    for _ in range(3):
        with from_loopback(process, "127.0.0.2", BAD) as stream:
            assert stream.recv(4) == WRONG_PASSWORD
    with contextlib.suppress(ConnectionError), from_loopback(process, "127.0.0.2", GOOD) as stream:
        assert stream.recv(4) == CLOSED
    with from_loopback(process, "127.0.0.3", GOOD) as stream:
        assert stream.recv(4) == ACCEPTED


def test_a_flood_of_logins_leaves_others_their_turn(doors, figure):
    process = doors("")
    with contextlib.ExitStack() as flood:
        for _ in range(300):
            flood.enter_context(from_loopback(process, "127.0.0.2", BAD))
        begin = time.monotonic()
        with from_loopback(process, "127.0.0.3", GOOD) as stream:
            assert stream.recv(4) == ACCEPTED
        seconds = time.monotonic() - begin
    figure(f"login beside 300 wrong ones from another address: {seconds * 1000:.0f} ms")
    assert seconds < LOGIN_SECONDS_MAX


def test_too_many_logins_of_one_address_are_told_to_come_back(doors):
    process = doors("loopback = true\nban_failures = 0")
    with contextlib.ExitStack() as flood:
        streams = [flood.enter_context(from_loopback(process, "127.0.0.2", BAD)) for _ in range(1300)]
        streams[-1].settimeout(5)
        assert streams[-1].recv(4) == b"\x20\x02\x00\x03"
        with from_loopback(process, "127.0.0.3", GOOD) as stream:
            assert stream.recv(4) == ACCEPTED
    assert sys_value(process, "connections/refused/busy", 100)


def test_who_publishes_too_fast_is_slowed_and_loses_nothing(doors):
    process = doors("messages_per_second = 100")
    with from_loopback(process, HOST, GOOD + subscribe(["fast"])) as stream:
        begin = time.monotonic()
        stream.sendall(b"".join(publish("fast", b"%03d" % n) for n in range(300)) + PINGREQ)
        received = b""
        while not received.endswith(PINGRESP):
            data = stream.recv(4096)
            assert data, "closed"
            received += data
        assert 1.5 < time.monotonic() - begin < 8
        assert all(b"fast%03d" % n in received for n in range(300))
    assert process.log().count("publishes faster than it may") == 1
    assert sys_value(process, "clients/slowed", 2)


def test_a_thousand_that_never_finish_their_connect_fill_no_memory(doors, figure):
    process = doors('login_memory_max = "16MiB"')
    before = process.resident_bytes()
    begun = b"\x10\xff\xff\x1e\x00\x04MQTT\x04\xc2\x00\x3c" + b"\xff\xff" + b"c" * 65_535 + b"\xff\xff" + b"u" * 65_000
    with contextlib.ExitStack() as flood:
        for _ in range(1000):
            with contextlib.suppress(OSError):
                flood.enter_context(from_loopback(process, HOST, begun))
        time.sleep(0.5)
        more = process.resident_bytes() - before
        with from_loopback(process, HOST, GOOD) as stream:
            assert stream.recv(4) == ACCEPTED
    figure(f"memory for 1,000 half CONNECTs of 130 KB with a budget of 16 MiB: {more / 1e6:.0f} MB")
    assert more < 30 << 20
    assert sys_value(process, "connections/closed/login_memory", 500)


def test_a_packet_that_is_begun_and_dropped_is_closed(doors):
    process = doors('packet_timeout = "500ms"')
    with from_loopback(process, HOST, GOOD) as stream:
        assert stream.recv(4) == ACCEPTED
        stream.sendall(publish("t", b"x" * 10_000)[:100])
        begin = time.monotonic()
        assert stream.recv(4) == CLOSED
        assert 0.4 < time.monotonic() - begin < 5
    assert sys_value(process, "connections/closed/packet_timeout") == 1
