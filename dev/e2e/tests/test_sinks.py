"""Messages into real databases: through kills of the broker and of the databases, bad rows, reloads, wrong passwords."""

import json
import signal
import subprocess
import sys
import threading
import time

import paho.mqtt.client as paho
import pytest

from broker import HOST, PASSWORD, USER, Cork, cork_bin
from databases import Mongo, Postgres, Sqlite, one_of_each
from paho_client import KeepingPaho, PahoClient

pytestmark = pytest.mark.cork_only

PATIENCE = 40.0
KINDS = {"pg": "postgresql", "flux": "influxdb", "vm": "influxdb", "mongo": "mongodb", "lite": "sqlite", "hook": "http"}


def sink(name, url, more="", filter="sensors/#"):
    return (
        f'[[sink]]\nname = "{name}"\ntype = "{KINDS[name]}"\nurl = "{url}"\nfilter = "{filter}"\n'
        f'retry_max = "500ms"\n{more}\n'
    )


def until(condition, seconds=PATIENCE):
    """Waits for a condition; returns what it gave last."""
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


class Sensors:
    """Publishes numbers and JSON, each with a number of its own, until told to stop; each again until acknowledged.

    Each number is published once at QoS 2, from a Session that survives the broker, so that no number can be there
    twice but by a fault.
    """

    def __init__(self, port, topics=20, pause=0.003):
        self.acknowledged, self.port, self.pause, self.topics = [], port, pause, topics
        self.stopping = threading.Event()
        self.client = KeepingPaho(paho.CallbackAPIVersion.VERSION2, "sensors", clean_session=False)
        self.client.username_pw_set(USER, PASSWORD)
        self.client.reconnect_delay_set(1, 1)
        self.client.max_inflight_messages_set(50)
        self.pending = {}
        self.client.on_publish = self.published
        self.client.connect(HOST, port)
        self.client.loop_start()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def published(self, _client, _data, mid, *_):
        self.acknowledged.append(mid)

    def run(self):
        number = 0
        while not self.stopping.is_set():
            text = str(number) if number % 2 else json.dumps({"n": number, "unit": "C"})
            info = self.client.publish(f"sensors/{number % self.topics}", text, qos=2)
            self.pending[info.mid] = number
            number += 1
            time.sleep(self.pause)

    def finish(self):
        """Stops, waits until all is acknowledged, returns how many."""
        self.stopping.set()
        self.thread.join()
        assert until(lambda: len(self.acknowledged) == len(self.pending)), "the broker owes acknowledgements"
        self.client.disconnect()
        self.client.loop_stop()
        return len(self.pending)


@pytest.fixture
def databases(workdir):
    made = one_of_each(workdir)
    yield made
    for database in made.values():
        database.kill()


def test_nothing_is_lost_or_doubled_whoever_is_killed(workdir, password_file, databases, figure):
    """Each database absent at the start, stopped and killed on the way; the broker killed three times."""
    sinks = "".join(sink(name, database.url) for name, database in databases.items())
    broker = Cork(workdir, password_file, after=sinks)
    broker.start()
    began = time.monotonic()
    sensors = Sensors(broker.port)
    time.sleep(0.5)
    for database in databases.values():
        database.start()
    for turn in range(3):
        time.sleep(1)
        for name, database in databases.items():
            (database.kill if (turn + len(name)) % 2 else database.stop)()
        time.sleep(0.3)
        broker.signal(signal.SIGKILL)
        broker.wait()
        time.sleep(0.2)
        broker.start()
        for database in databases.values():
            database.start()
    time.sleep(1)
    resident = broker.resident_bytes()
    expected = sensors.finish()
    numbers = set(range(expected))
    saved = {}
    for name, database in databases.items():
        until(lambda: set(database.rows()) >= numbers)
        saved[name] = database.rows()
    for name, rows in saved.items():
        assert set(rows) == numbers, f"{name}: {len(numbers - set(rows))} of {expected} are missing"
        if name != "vm":  # keeps no account of what was written before
            twice = [number for number, times in rows.items() if times > 1]
            assert not twice, f"{name}: {len(twice)} are there more than once: {twice[:10]}"
    doubled = sum(times - 1 for times in saved["vm"].values())
    again = len(databases["hook"].requests) - expected
    figure(
        f"sinks: {expected} messages in {time.monotonic() - began:.0f} s, three kills of the broker; in all six databases, "
        f"once each (webhook: {again} repetitions, VictoriaMetrics: {doubled}); {resident >> 20} MiB resident"
    )
    assert resident < 200 << 20
    check_types(databases)
    broker.stop()


def check_types(databases):
    """Numbers as numbers, JSON as documents, and who, when, how."""
    pg = databases["pg"].query(
        "SELECT value, payload->>'unit', qos, retain, client_id, user_name, topic, time > now() - interval '5 min' "
        "FROM messages WHERE value = 3 OR payload->>'n' = '4' ORDER BY value"
    )
    assert pg == [f"3||2|f|sensors|{USER}|sensors/3|t", f"|C|2|f|sensors|{USER}|sensors/4|t"]
    lite = databases["lite"].query(
        "SELECT typeof(value), json_extract(payload, '$.unit'), qos, client_id FROM messages "
        "WHERE value = 3 OR json_extract(payload, '$.n') = 4 ORDER BY value"
    )
    assert lite == [("null", "C", 2, "sensors"), ("integer", None, 2, "sensors")]
    documents = databases["mongo"].documents()
    (three,) = [each for each in documents if each.get("value") == 3]
    (four,) = [each for each in documents if each.get("payload", {}).get("n") == 4]
    assert four["payload"] == {"n": 4, "unit": "C"} and "value" not in four
    assert (three["qos"], three["client_id"], three["topic"]) == (2, "sensors", "sensors/3")
    flux = databases["flux"].select('SELECT "unit", "n" FROM "messages" WHERE "n" = 4')
    assert flux[0]["values"][0][1:] == ["C", 4]
    hook = {document["id"]: (key, document) for key, _, document in databases["hook"].requests}
    assert all(key == document["id"] for key, document in hook.values())


def log_lines(broker, text):
    return [line for line in broker.log().splitlines() if text in line]


def test_a_bad_row_goes_to_the_dead_letters_and_comes_back(workdir, password_file, figure):
    """One row in a hundred breaks a constraint; when that is gone the letters are replayed."""
    pg = Postgres(workdir / "pg")
    pg.start()
    pg.query("CREATE TABLE readings (id text PRIMARY KEY, room text, celsius real CHECK (celsius < 50))")
    more = 'table = "readings"\ncolumns = { room = "topic[1]", celsius = "payload.t as number" }'
    broker = Cork(workdir, password_file, after=sink("pg", pg.url, more))
    try:
        broker.start()
        client = PahoClient(broker, "sensor", version=5)
        letters = PahoClient(broker, "reader", version=5)
        letters.subscribe("$dead/#", qos=1)
        for number in range(1000):
            value = 99 if number % 100 == 7 else number % 40
            value = '"hot"' if number % 500 == 3 else value
            client.publish(f"sensors/room{number % 3}", f'{{"t": {value}}}', qos=1)
        bad = 12
        assert until(lambda: pg.query("SELECT count(*) FROM readings") == [str(1000 - bad)])
        assert until(lambda: len(letters.received) == bad)
        message = letters.received[0]
        properties = dict(message.properties.UserProperty)
        assert message.topic.startswith("$dead/pg/sensors/room")
        reasons = {dict(each.properties.UserProperty)["dead-reason"] for each in letters.received}
        assert any("check constraint" in reason for reason in reasons) and any("`hot`" in reason for reason in reasons)
        assert properties["dead-client-id"] == "sensor" and properties["dead-user"] == USER
        pg.query("ALTER TABLE readings DROP CONSTRAINT readings_celsius_check")
        client.publish("$cork/sink/pg/replay", "", qos=1)
        assert until(lambda: pg.query("SELECT count(*) FROM readings WHERE celsius = 99") == ["10"])
        assert until(lambda: log_lines(broker, "tried=12 failed=2"))
    finally:
        broker.stop()
        pg.kill()


def test_what_meets_another_unique_index_of_mongodb_is_a_dead_letter(workdir, password_file):
    """Only its own `_id` says that a document is there. One row comes twice, as after a crash: it is no dead letter."""
    mongo = Mongo(workdir / "mongo")
    mongo.start()
    broker = Cork(workdir, password_file, after=sink("mongo", mongo.url))
    try:
        with mongo.client() as client:
            client.cork.messages.create_index([("payload.serial", 1)], unique=True)
        broker.start()
        client = PahoClient(broker, "sensor", version=5)
        letters = PahoClient(broker, "reader", version=5)
        letters.subscribe("$dead/#", qos=1)
        for number, serial in enumerate((7, 7, 8)):
            client.publish(f"sensors/{number}", f'{{"serial": {serial}}}', qos=1)
        assert until(lambda: [letter.topic for letter in letters.received] == ["$dead/mongo/sensors/1"])
        assert until(lambda: sorted(each["topic"] for each in mongo.documents()) == ["sensors/0", "sensors/2"])
        (reason,) = [value for name, value in letters.received[0].properties.UserProperty if name == "dead-reason"]
        assert "11000" in reason
        # Again and again it meets the same index; what was saved meanwhile meets itself.
        with mongo.client() as database:
            database.cork.messages.drop_index("payload.serial_1")
        client.publish("$cork/sink/mongo/replay", "", qos=1)
        assert until(lambda: len(mongo.documents()) == 3)
    finally:
        broker.stop()
        mongo.kill()


def test_an_outage_is_one_line_and_shows_no_password(workdir, password_file):
    """A server that is away, a password that changes, a reload that puts it right; the other sink does not notice."""
    pg, lite = Postgres(workdir / "pg"), Sqlite(workdir)
    lite.start()
    hba = pg.data / "pg_hba.conf"
    secret = "s3cret-one"
    key = workdir / "pg.key"
    key.write_text(secret + "\n")
    more = f'username = "saver"\npassword_file = "{key}"'
    broker = Cork(workdir, password_file, after=sink("pg", pg.url, more) + sink("lite", lite.url))
    try:
        broker.start()
        client = PahoClient(broker, "sensor", version=5)
        watcher = PahoClient(broker, "watcher", version=5)
        watcher.subscribe("$SYS/broker/sink/pg/state", qos=0)
        client.publish("sensors/1", "1", qos=1)
        assert until(lambda: watcher.received and watcher.received[-1].payload == b"waiting")
        pg.start()
        pg.query("CREATE ROLE saver LOGIN SUPERUSER PASSWORD 's3cret-two'")
        hba.write_text("host all saver 127.0.0.1/32 scram-sha-256\nhost all cork 127.0.0.1/32 trust\n")
        pg.query("SELECT pg_reload_conf()")
        time.sleep(1)
        client.publish("sensors/1", "2", qos=1)
        assert until(lambda: lite.rows() == {1: 1, 2: 1})
        assert len(log_lines(broker, "cannot save")) == 1
        key.write_text("s3cret-two\n")
        broker.signal(signal.SIGHUP)
        assert until(lambda: pg.rows() == {1: 1, 2: 1} if log_lines(broker, "created table") else False)
        assert len(log_lines(broker, 'created file')) == 1, "the other sink was not touched"
        assert "s3cret" not in broker.log()
        check = subprocess.run([cork_bin(), "check", workdir / "cork.toml"], capture_output=True, text=True, timeout=30)
        assert check.returncode == 0 and "sink pg (postgresql): everything is there" in check.stdout, check
        assert "s3cret" not in check.stdout + check.stderr
    finally:
        broker.stop()
        pg.kill()


def test_sinks_come_and_go_with_a_reload(workdir, password_file):
    """A sink that is gone loses what waited for it, with a line that says how much; a new one saves from then on."""
    lite = Sqlite(workdir)
    broker = Cork(workdir, password_file, after=sink("lite", lite.url))
    config = workdir / "cork.toml"
    before = config.read_text()
    broker.start()
    client = PahoClient(broker, "sensor", version=5)
    for number in range(25):
        client.publish("sensors/1", str(number), qos=1)
    config.write_text(before.split("[[sink]]")[0])
    broker.signal(signal.SIGHUP)
    assert until(lambda: log_lines(broker, "waiting=25"))
    client.publish("sensors/1", "100", qos=1)
    lite.start()
    config.write_text(before.replace('filter = "sensors/#"', 'filter = ["sensors/#", "more/+"]'))
    broker.signal(signal.SIGHUP)
    assert until(lambda: log_lines(broker, "created file"))
    client.publish("more/1", "101", qos=1)
    assert until(lambda: lite.rows() == {101: 1})
    config.write_text(before)
    broker.signal(signal.SIGHUP)
    assert until(lambda: log_lines(broker, "sink lite: changed"))
    client.publish("more/1", "102", qos=1)
    client.publish("sensors/1", "103", qos=1)
    assert until(lambda: lite.rows() == {101: 1, 103: 1})
    config.write_text(before.replace("sqlite://", "http://"))
    broker.signal(signal.SIGHUP)
    assert until(lambda: log_lines(broker, "not reloaded"))
    broker.stop()


SAVER = """
import sys, paho.mqtt.client as mqtt, pymongo, json
port, url = int(sys.argv[1]), sys.argv[2]
readings = pymongo.MongoClient(url)["saver"]["readings"]
def save(client, data, message):
    readings.insert_one({"topic": message.topic, "text": message.payload.decode()})
client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "saver", clean_session=False)
client.username_pw_set(sys.argv[3], sys.argv[4])
client.on_connect = lambda client, *_: client.subscribe("sensors/#", qos=1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.on_message = save
client.connect("127.0.0.1", port)
client.loop_forever()
"""


def test_a_plain_python_saver_works_beside_a_sink(workdir, password_file):
    """The end of every tutorial: subscribe to `sensors/#`, write to MongoDB."""
    mongo = Mongo(workdir / "mongo")
    mongo.start()
    broker = Cork(workdir, password_file, after=sink("mongo", mongo.url))
    broker.start()
    script = workdir / "saver.py"
    script.write_text(SAVER)
    command = [sys.executable, script, str(broker.port), mongo.url, USER, PASSWORD]
    saver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert saver.stdout.readline() == "ready\n"
        client = PahoClient(broker, "sensor", version=5)
        for number in range(200):
            client.publish(f"sensors/{number % 5}", str(number), qos=1)
        assert until(lambda: len(mongo.documents("saver", "readings")) == 200)
        assert until(lambda: set(mongo.rows()) == set(range(200)))
    finally:
        saver.kill()
        saver.wait()
        broker.stop()
        mongo.kill()
