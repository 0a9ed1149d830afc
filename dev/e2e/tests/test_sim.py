"""`cork sim` against a real broker, with Paho as the one who reads what the devices say."""

import re
import signal
import subprocess
import time

import pytest

from broker import HOST, MOSQUITTO, PASSWORD, USER, Cork, cork_bin, free_port

PATIENCE = 20.0


class Sim:
    """A running `cork sim`; its lines are kept."""

    def __init__(self, directory, port, *arguments, login=True):
        url = f"mqtt://{HOST}:{port}" if isinstance(port, int) else port
        user = ["-u", USER, "-P", PASSWORD] if login else []
        self.log = open(directory / "sim.log", "w+", encoding="utf-8")
        command = [cork_bin(), "sim", "--broker", url, *user, *map(str, arguments)]
        self.child = subprocess.Popen(command, stdout=self.log, stderr=self.log, stdin=subprocess.DEVNULL)

    def said(self):
        self.log.flush()
        self.log.seek(0)
        return self.log.read()

    def until(self, text, timeout=PATIENCE):
        deadline = time.monotonic() + timeout
        while text not in self.said():
            assert time.monotonic() < deadline, f"no {text!r} in:\n{self.said()}"
            time.sleep(0.02)

    def end(self, number=None):
        """Its exit code, after a signal or by itself."""
        if number is not None:
            self.child.send_signal(number)
        return self.child.wait(PATIENCE)

    def resident_bytes(self):
        with open(f"/proc/{self.child.pid}/status", encoding="ascii") as status:
            line = next(line for line in status if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


@pytest.fixture
def sim(broker, workdir):
    """Starts `cork sim` against the broker: `sim("topic", "--range", "1..2")`."""
    started = []

    def start(*arguments, port=None, **options):
        started.append(Sim(workdir, port or broker.port, *arguments, **options))
        return started[-1]

    yield start
    for one in started:
        if one.child.poll() is None:
            one.child.kill()
            one.child.wait()
        one.log.close()


@pytest.fixture
def crowd(broker, workdir, password_file, sim):
    """Starts `cork sim` without a password, whose check takes a tenth of a second, against a broker that asks none."""
    if MOSQUITTO:
        yield sim
        return
    broker.stop()
    lenient = Cork(workdir, password_file, auth="allow_anonymous = true")
    lenient.start()
    broker.port = lenient.port
    yield lambda *arguments: sim(*arguments, login=False)
    lenient.stop()


def reader(client, topic_filter, version=5):
    paho = client("reader", version=version)
    paho.subscribe(topic_filter)
    return paho


def messages(paho, topic):
    return [message for message in list(paho.all_received) if message.topic == topic]


@pytest.mark.parametrize("version", [311, 5], ids=["3.1.1", "5.0"])
def test_a_newcomers_sensor_publishes_retained_numbers_at_its_pace(sim, client, version):
    paho = reader(client, "sensor/#", version)
    process = sim("sensor/temperature", "--range", "20..30", "--every", "200ms", "--retain", "-V", version)
    started = time.monotonic()
    paho.until(lambda: len(paho.all_received) >= 16, "16 messages")
    took = time.monotonic() - started
    assert 2.9 <= took <= 6.0, f"16 messages every 200 ms took {took:.2f} s"
    assert process.end(signal.SIGINT) == 0
    for message in paho.all_received:
        assert re.fullmatch(rb"\d\d\.\d", message.payload) and 20 <= float(message.payload) <= 30
    late = client("late", version=version)
    late.subscribe("sensor/#")
    late.until(lambda: late.all_received, "the retained value")
    assert late.all_received[0].retain
    assert re.search(r"sent \d\d messages \(\d+ bytes\) from 1 device in", process.said())


def test_the_house_is_there_for_who_comes_later(sim, client):
    process = sim("--speed", "60", "--seed", "1")
    process.until("5 devices are connected")
    time.sleep(1.5)
    paho = reader(client, "sensors/#")
    rooms = ["kitchen", "living-room", "bedroom"]
    topics = {f"sensors/{room}/{kind}" for room in rooms for kind in ("temperature", "humidity", "status")}
    topics |= {"sensors/attic/pressure", "sensors/attic/status", "sensors/hall/door", "sensors/hall/status"}
    paho.until(lambda: topics <= {message.topic for message in paho.all_received if message.retain}, "the house")
    assert process.end(signal.SIGTERM) == 0
    paho.until(lambda: messages(paho, "sensors/kitchen/status")[-1].payload == b"offline", "an orderly end")


@pytest.mark.parametrize("orderly", [False, True], ids=["crash", "orderly"])
def test_a_device_that_loses_its_connection_is_seen_to(sim, client, broker, orderly):
    paho = reader(client, "d/#")
    more = ["--outage-orderly"] if orderly else []
    process = sim("d/1", "--value", "count", "--every", "50ms", "--status", "d/status", "--id", "device",
                  "--outage-every", "1s", "--outage-away", "500ms", *more)
    paho.until(lambda: len(messages(paho, "d/status")) >= 5, "five changes")
    states = [message.payload for message in messages(paho, "d/status")]
    assert states[:5] == [b"online", b"offline"] * 2 + [b"online"]
    assert process.end(signal.SIGINT) == 0
    assert "planned outage" in process.said() and "lost" not in process.said()
    counts = [int(float(message.payload)) for message in messages(paho, "d/1")]
    assert counts == sorted(set(counts)) and counts[-1] - counts[0] >= len(counts), "it sends nothing while away"


def test_many_devices_keep_their_rate(crowd, client):
    sim = crowd
    paho = reader(client, "many/#")
    process = sim("many/{n}", "--devices", 200, "--range", "0..1", "--every", "1s", "--jitter", "20%", "--qos", 1,
                  "--for", "5s")
    assert process.end() == 0
    # Jitter may put the last one of a device behind the end.
    paho.until(lambda: len(paho.all_received) >= 980, "about 1000 messages")
    per_topic = {}
    for message in paho.all_received:
        per_topic[message.topic] = per_topic.get(message.topic, 0) + 1
    assert len(per_topic) == 200
    assert len(paho.all_received) <= 1020 and all(4 <= count <= 6 for count in per_topic.values())


def test_devices_share_connections(crowd, client):
    sim = crowd
    paho = reader(client, "shared/#")
    process = sim("shared/{n}", "--devices", 50, "--value", "count", "--every", "500ms", "--connections", 2,
                  "--status", "shared/{n}/status", "--messages", 100)
    assert process.end() == 0, process.said()
    paho.until(lambda: len(paho.all_received) >= 200, "100 messages and 100 of status")
    assert "50 devices are connected" in process.said() and "over 2 connections" in process.said()
    states = [message.payload for message in messages(paho, "shared/50/status")]
    assert states == [b"online", b"offline"]


def test_the_same_seed_sends_the_same(sim, client):
    runs = []
    for turn in range(2):
        paho = client(f"reader-{turn}", version=5)
        paho.subscribe(f"seeded/{turn}/#")
        process = sim(f"seeded/{turn}/{{n}}", "--devices", 3, "--value", "walk:0..100", "--seed", 9, "--messages", 60,
                      "--speed", "max")
        assert process.end() == 0, process.said()
        paho.until(lambda: len(paho.all_received) >= 60, "60 messages")
        one = [[message.payload for message in messages(paho, f"seeded/{turn}/{device}")] for device in (1, 2, 3)]
        assert [len(payloads) for payloads in one] == [20, 20, 20]
        runs.append(one)
    assert runs[0] == runs[1]


def test_a_wrong_password_ends_it(sim):
    process = sim("t", "-u", USER, "-P", "wrong", login=False)
    assert process.end() == 1
    assert len(process.said().splitlines()) == 1, process.said()


def test_a_broker_that_is_not_there_is_waited_for_and_said_once(broker, sim):
    broker.stop()
    process = sim("waits/{n}", "--devices", 20, "--value", "count", "--every", "100ms", port=broker.port)
    process.until("trying again")
    time.sleep(1.0)
    assert process.said().count("\n") == 1, process.said()
    broker.start()
    process.until("20 devices are connected")
    broker.stop()
    process.until("lost the connection")
    broker.start()
    deadline = time.monotonic() + PATIENCE
    while process.said().count(": connected to") < 2:
        assert time.monotonic() < deadline, process.said()
        time.sleep(0.05)
    assert process.said().count("trying again") == 2, process.said()
    assert process.end(signal.SIGINT) == 0
    assert "lost connections" in process.said()


def test_stopped_before_it_ever_reached_the_broker(sim):
    process = sim("t", port=free_port())
    process.until("trying again")
    assert process.end(signal.SIGINT) == 1
    assert "nothing was sent" in process.said()


@pytest.mark.cork_only
def test_over_tls_with_a_certificate_authority_of_ones_own(sim, broker, client):
    paho = reader(client, "tls/#")
    process = sim("tls/1", "--range", "1..2", "--messages", 3, "--every", "50ms", "--cafile", broker.ca,
                  port=f"mqtts://{HOST}:{broker.tls_port}")
    assert process.end() == 0, process.said()
    paho.until(lambda: len(paho.all_received) >= 3, "three messages")


def test_memory_stays_flat(crowd, client, figure):
    sim = crowd
    process = sim("flat/{n}", "--devices", 500, "--field", "a=20..30", "--field", "t=time", "--every", "100ms")
    process.until("500 devices are connected")
    time.sleep(2)
    before = process.resident_bytes()
    time.sleep(4)
    after = process.resident_bytes()
    figure(f"cork sim, 500 devices, 5,000 messages a second: {before / 1e6:.1f} MB, 4 s later {after / 1e6:.1f} MB")
    assert after < before * 1.1 + 1e6
    assert process.end(signal.SIGINT) == 0
    assert "not sent" not in process.said()
