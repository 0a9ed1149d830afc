"""What senders may send to hurt a sink: each message is in the database or a dead letter with its reason, in each of them."""

import json
import time

import pytest

from broker import Cork
from databases import Influx, Mongo, Postgres, Sqlite, Victoria, Webhook
from paho_client import PahoClient
from test_sinks import sink, until

pytestmark = pytest.mark.cork_only

MIB = 1 << 20
DEEP = 10_000

# Name: payload. VictoriaMetrics keeps numbers only, which it does not say; it is asked for those that have one.
HOSTILE = {
    "invalid UTF-8": b"\xff\xfe\x00\x80",
    "half a character": "ü".encode()[:1],
    "zeros": b"a\x00b",
    "escaped zero": rb'{"a": "x\u0000y", "v": 1}',
    "zero in a name": rb'{"a\u0000b": 1}',
    "NaN": b"NaN",
    "NaN in JSON": b'{"v": NaN}',
    "infinity": b"-Infinity",
    "beyond a double": b"1e999",
    "beyond a double in JSON": b'{"v": 1e999}',
    "tiny": b"1e-20000",
    "tiny in JSON": b'{"v": 1e-20000}',
    "beyond 64 bits": b"123456789012345678901234567890",
    "beyond 64 bits in JSON": b'{"v": 123456789012345678901234567890, "u": 18446744073709551615}',
    "many digits": b"0." + b"1234567890" * 40,
    "dollar": b'{"$set": {"$gt": 1}, "v": 1}',
    "dots": b'{"a.b": 1, "a": {"b": 2}}',
    "empty name": b'{"": 1, "v": 2}',
    "only an empty name": b'{"": 1}',
    "reserved time": b'{"time": 5, "v": 3}',
    "only time": b'{"time": 5}',
    "own names": b'{"_id": 1, "id": 2, "topic": "x", "_field": "y", "_measurement": "z", "v": 4}',
    "line breaks in a name": b'{"a\\nb": 1, "v": 5}',
    "backslashes": rb'{"a\\": "b\\", "c\\\\": 1, "v": 6}',
    "quotes": b'{"it\'s \\"": "x\\"); DROP TABLE messages; --", "v": 7}',
    "the same name twice": b'{"v": 1, "v": "two"}',
    "half a surrogate": rb'"\ud800"',
    "a number first": b'{"kind": 1}',
    "then a text": b'{"kind": "one"}',
    "then an object": b'{"kind": {"of": true}}',
    "empty": b"",
    "empty object": b"{}",
    "null": b"null",
    "white space": b" \r\n\t",
    "deep": b"[" * DEEP + b"1" + b"]" * DEEP,
    "deep objects": b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    "90 levels": b'{"a":' * 90 + b"1" + b"}" * 90,
    "far in the future": b'{"time": "9999-12-31T23:59:59Z", "at": 1e18, "v": 8}',
    "1 MiB of text": b"x" * MIB,
    "1 MiB of document": json.dumps([{"n": n, "unit": "C"} for n in range(40_000)]).encode(),
    "2 MiB of members": json.dumps({f"m{n}": n for n in range(120_000)}).encode(),
    "4 MiB of zeros": b"[" + b"0," * (2 * MIB - 1) + b"0]",
    "many fields with a long name": b'{"' + b"n" * 60_000 + b'":[' + b"0," * 100_000 + b"0]}",
    "8 MiB in one string": b'{"v": "' + b"y" * (8 * MIB) + b'"}',
    "all that fits": b"[" + b"7," * (8 * MIB - 600) + b"7]",
}
NO_NUMBER_IN_VM = {"v": 1}


@pytest.fixture
def databases(workdir):
    made = {
        "pg": Postgres(workdir / "pg"),
        "flux": Influx(workdir / "flux"),
        "vm": Victoria(workdir / "vm"),
        "mongo": Mongo(workdir / "mongo"),
        "lite": Sqlite(workdir),
        "hook": Webhook(),
    }
    try:
        for database in made.values():
            database.start()
        yield made
    finally:
        for database in made.values():
            database.kill()


def topics_saved(name, database):
    """The topics that are there, each with how often."""
    if name in ("pg", "lite"):
        found = database.query("SELECT topic FROM messages")
        return [row if isinstance(row, str) else row[0] for row in found]
    if name == "mongo":
        return [each["topic"] for each in database.documents()]
    if name == "hook":
        return [document["topic"] for _, _, document in database.requests]
    if name == "flux":
        return [series["tags"]["topic"] for series in database.select("SELECT * FROM messages GROUP BY topic")]
    database.fetch("/internal/force_flush")
    return json.loads(database.fetch("/api/v1/label/topic/values?start=0"))["data"]


def test_each_hostile_payload_is_saved_or_a_dead_letter(workdir, password_file, databases, figure):
    sinks = "".join(sink(name, database.url) for name, database in databases.items())
    broker = Cork(workdir, password_file, after=sinks)
    broker.start()
    try:
        reader = PahoClient(broker, "reader", version=5)
        reader.subscribe("$dead/#", qos=1)
        sensor = PahoClient(broker, "sensor", version=5)
        peak = 0
        names = list(HOSTILE)
        for at, name in enumerate(names):
            reason = sensor.publish(f"sensors/{at}", HOSTILE[name], qos=1)
            assert not reason or not reason[0].is_failure if isinstance(reason, list) else True
            peak = max(peak, broker.resident_bytes())
        end = f"sensors/{len(names)}"
        sensor.publish(end, "42", qos=1)
        missing, saved = {}, {}
        for name, database in databases.items():
            def all_there():
                nonlocal peak
                peak = max(peak, broker.resident_bytes())
                return end in topics_saved(name, database)
            there = until(all_there, 60)
            assert there, f"{name} is blocked: {broker.log()[-3000:]}"
        time.sleep(1)
        dead = {}
        for message in reader.received:
            _, sink_name, topic = message.topic.split("/", 2)
            dead.setdefault(sink_name, {})[topic] = dict(message.properties.UserProperty)["dead-reason"]
        for name, database in databases.items():
            topics = topics_saved(name, database)
            saved[name] = topics
            for at in range(len(names)):
                topic = f"sensors/{at}"
                if topic not in topics and topic not in dead.get(name, {}):
                    missing.setdefault(name, []).append(names[at])
                assert name in ("vm", "flux") or topics.count(topic) <= 1, (name, names[at])
        for name, letters in dead.items():
            print(name, {names[int(topic.split("/")[1])]: reason[:200] for topic, reason in letters.items()})
        print("missing", missing, "peak MiB", peak >> 20)
        print(broker.log()[-6000:])
        assert not missing
    finally:
        broker.stop()
