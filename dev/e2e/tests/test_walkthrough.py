"""The walkthrough: two sensors, a device with a last will, and a subscriber that comes, leaves and returns.

Everything an evening with a broker begins with, by unmodified Paho clients with user and password, in 3.1.1 and in
5.0, over TCP and WebSocket, both also over TLS, with a client certificate instead of a password, and over a Unix
socket. Intervals are the real ones times `--pace`.
"""

import threading
import time

import pytest

from broker import MOSQUITTO

TEMPERATURE, PRESSURE, STATUS = "/sensor/temperature", "/sensor/pressure", "/device/status"
TEMPERATURE_SECONDS, PRESSURE_SECONDS = 3.0, 0.5
WILL = {"topic": STATUS, "payload": "offline", "qos": 1, "retain": True}
# In 3.1.1 Paho makes these of return codes 4 (bad user name or password) and 5 (not authorized).
BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED = 0x86, 0x87

TRANSPORTS = ["tcp", "websockets"] if MOSQUITTO else ["tcp", "websockets", "tls", "wss", "certificate", "unix"]

pytestmark = [
    pytest.mark.parametrize("version", [311, 5], ids=["3.1.1", "5.0"]),
    pytest.mark.parametrize("transport", TRANSPORTS),
]


class Sensor:
    """Publishes 0, 1, 2, ... retained with QoS 0, one number per interval, until stopped."""

    def __init__(self, client, topic, seconds):
        self.client, self.topic, self.seconds, self.sent = client, topic, seconds, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        due = time.monotonic()
        while not self._stop.is_set():
            self.client.send(self.topic, str(self.sent), qos=0, retain=True)
            self.sent += 1
            due += self.seconds
            self._stop.wait(max(0.0, due - time.monotonic()))

    def stop(self):
        self._stop.set()
        self._thread.join()


@pytest.fixture
def person(client, version, transport):
    """A client of this run's version and transport."""

    def make(client_id, **options):
        return client(client_id, version=version, transport=transport, **options)

    return make


@pytest.fixture
def subscriber(person, version):
    """`mqtt_subscriber_1`, whose session outlives its connection; each call is one visit."""
    options = {"clean": False, "keep_alive": 300}
    if version == 5:
        options["SessionExpiryInterval"] = 3600
    return lambda: person("mqtt_subscriber_1", **options)


@pytest.fixture
def sensors(person, pace):
    """The temperature and the pressure sensor, publishing."""
    temperature = Sensor(person("temperature_sensor"), TEMPERATURE, TEMPERATURE_SECONDS * pace)
    pressure = Sensor(person("pressure_sensor"), PRESSURE, PRESSURE_SECONDS * pace)
    yield temperature, pressure
    temperature.stop()
    pressure.stop()


def test_subscriber_of_everything_sees_both_sensors_at_their_pace(subscriber, sensors, pace):
    one = subscriber()
    one.subscribe("#")
    seen = one.wait_for(4, TEMPERATURE, timeout=15 + 15 * pace)
    between = [m for m in one.received if m.topic == PRESSURE and seen[1].timestamp < m.timestamp <= seen[3].timestamp]
    assert 8 <= len(between) <= 16, "12 pressures to 2 temperatures"
    for topic in (TEMPERATURE, PRESSURE):
        live = [message for message in one.received if message.topic == topic and not message.retain]
        numbers = [int(message.payload) for message in live]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), f"gap or disorder on {topic}"
        assert all(message.qos == 0 for message in live)
    assert {message.topic for message in one.received} == {TEMPERATURE, PRESSURE}, "nothing of $SYS under #"


def test_newcomer_gets_the_last_value_of_each_sensor_at_once(person, sensors):
    watcher = person("watcher")
    watcher.subscribe("#")
    watcher.wait_for(2, TEMPERATURE)
    for sensor in sensors:
        sensor.stop()
        sensor.client.publish("/sensor/stopped", qos=1)
    newcomer = person("newcomer")
    newcomer.subscribe("/sensor/#")
    newcomer.wait_for(2)
    newcomer.settle()
    latest = {message.topic: (int(message.payload), message.retain) for message in newcomer.received}
    assert latest == {sensor.topic: (sensor.sent - 1, True) for sensor in sensors}
    assert len(newcomer.received) == 2


def test_everyone_learns_offline_when_the_socket_is_cut(person, subscriber):
    status = person("status_publisher", will=WILL)
    one, other = subscriber(), person("other")
    one.subscribe("#")
    other.subscribe(STATUS)
    status.publish(STATUS, "online", retain=True)
    for reader in (one, other):
        assert reader.wait_for(1)[0].payload == b"online"
    status.cut()
    for reader in (one, other):
        message = reader.wait_for(2, timeout=5)[1]
        assert (message.topic, message.payload, message.qos) == (STATUS, b"offline", 1)
        assert not message.retain, "live for those who were there"
    late = person("late")
    late.subscribe("#")
    message = late.wait_for(1)[0]
    assert (message.topic, message.payload, message.qos) == (STATUS, b"offline", 1)
    assert message.retain, "retained for those who come later"


def test_status_comes_back_online_and_a_goodbye_sends_no_will(person, subscriber):
    one = subscriber()
    one.subscribe("#")
    person("status_publisher", will=WILL).cut()
    one.wait_for(1)
    again = person("status_publisher", will=WILL)
    again.publish(STATUS, "online", retain=True)
    again.leave()
    one.settle()
    assert one.payloads(STATUS) == ["offline", "online"]


@pytest.mark.parametrize("goodbye", ["leave", "cut"])
def test_returning_subscriber_has_missed_nothing_of_qos_1(person, subscriber, sensors, goodbye):
    first = subscriber()
    assert not first.session_present
    first.subscribe("#")
    first.wait_for(1, PRESSURE)
    getattr(first, goodbye)()

    publisher = person("logger")
    for number in range(200):
        publisher.send("/log/entry", str(number), qos=1)
    publisher.publish("/log/entry", "200", qos=1)

    second = subscriber()
    assert second.session_present, "the subscription is still there"
    got = second.wait_for(201, "/log/entry")
    assert [int(message.payload) for message in got] == list(range(201)), "all, once, in order"
    assert all(message.qos == 1 and not message.retain for message in got)
    publisher.publish("/log/entry", "201", qos=1)
    assert second.wait_for(202, "/log/entry")[-1].payload == b"201", "and live from here on"


def test_wrong_password_is_refused(person, version, transport):
    if transport == "certificate":
        pytest.skip("there is no password to be wrong")
    either = (BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORIZED)
    refused = (BAD_USER_NAME_OR_PASSWORD,) if version == 5 and not MOSQUITTO else either
    person("mallory", password="wrong horse", auto_connect=False).connect(expect=refused)
    person("stranger", user="nobody", auto_connect=False).connect(expect=refused)
    person("nameless", user=None, auto_connect=False).connect(expect=either)
    assert person("ann").reason == 0, "and the right one is not"


TOPICS = [
    "home", "home/kitchen", "home/kitchen/temp", "/home", "homes", "Home/kitchen", "temp", "kitchen/temp", "/temp",
    "attic/kitchen/temp", "house/room1/toilet", "house/room1/toilet/light", "house/room1", "/house/room1/toilet",
    TEMPERATURE, "sensor/temperature",
]
EXPECTED = {
    "home/#": ["home", "home/kitchen", "home/kitchen/temp"],
    "+/temp": ["kitchen/temp", "/temp"],
    "house/room1/toilet": ["house/room1/toilet"],
    "home/+": ["home/kitchen"],
    "+": ["home", "homes", "temp"],
    "/#": ["/home", "/temp", "/house/room1/toilet", TEMPERATURE],
    "+/+/temperature": [TEMPERATURE],
    "/sensor/+": [TEMPERATURE],
    "sensor/#": ["sensor/temperature"],
    "#": TOPICS,
}


def test_filters_behave_as_a_newcomer_expects(person):
    readers = {}
    for number, topic_filter in enumerate(EXPECTED):
        readers[topic_filter] = person(f"reader{number}")
        readers[topic_filter].subscribe(topic_filter)
    publisher = person("publisher")
    for topic in TOPICS:
        publisher.publish(topic, "x")
    for topic_filter, topics in EXPECTED.items():
        reader = readers[topic_filter].settle()
        assert [message.topic for message in reader.received] == topics, topic_filter


def test_filters_find_the_same_among_retained_messages(person):
    publisher = person("publisher")
    for topic in TOPICS:
        publisher.publish(topic, topic, retain=True)
    reader = person("reader")
    for topic_filter, topics in EXPECTED.items():
        reader.subscribe(topic_filter)
        reader.settle()
        assert sorted(message.topic for message in reader.received) == sorted(topics), topic_filter
        assert all(message.retain for message in reader.received)
        reader.unsubscribe(topic_filter)
        reader.all_received.clear()
