"""What senders may send to hurt a sink: each message is in the database or a dead letter with its reason, in each of them."""

import json
from collections import Counter, defaultdict

import pytest

from broker import Cork
from databases import one_of_each
from paho_client import PahoClient
from test_sinks import log_lines, sink, until

pytestmark = pytest.mark.cork_only

MIB = 1 << 20
DEEP = 10_000
END = "sensors/end"

# Name: payload.
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
    "1 MiB of document": json.dumps([{"n": n, "text": "t" * 2600} for n in range(400)]).encode(),
    "2 MiB of members": json.dumps({f"m{n}": "t" * 2000 for n in range(1_000)}).encode(),
    "a list of zeros": b"[" + b"0," * (MIB // 4) + b"0]",
    "many fields with a long name": b'{"' + b"n" * 60_000 + b'":[' + b"0," * 100_000 + b"0]}",
    "8 MiB in one string": b'{"v": "' + b"y" * (8 * MIB) + b'"}',
    "all that fits": b"[" + b"7," * (8 * MIB - 600) + b"7]",
}
# VictoriaMetrics keeps numbers only, and confirms what it throws away: it is asked for the last one.
SILENT = "vm"


@pytest.fixture
def databases(workdir):
    made = one_of_each(workdir)
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
        found = database.select("SHOW TAG VALUES FROM messages WITH KEY = topic")
        return [topic for series in found for _, topic in series["values"]]
    database.fetch("/internal/force_flush")
    return json.loads(database.fetch("/api/v1/label/topic/values?start=0"))["data"]


def test_each_hostile_payload_is_saved_or_a_dead_letter(workdir, password_file, databases, figure):
    """In every database: there once, or a dead letter with a reason; what comes after it is not held up."""
    broker = Cork(workdir, password_file, after="".join(sink(name, each.url) for name, each in databases.items()))
    broker.start()
    try:
        reader = PahoClient(broker, "reader", version=5)
        reader.subscribe("$dead/#", qos=1)
        sensor = PahoClient(broker, "sensor", version=5)
        names, peaks = list(HOSTILE), []
        for at, name in enumerate(names):
            sensor.publish(f"sensors/{at}", HOSTILE[name], qos=1)
            peaks.append(broker.resident_bytes())
        sensor.publish(END, "42", qos=1)
        for name, database in databases.items():
            def all_there():
                peaks.append(broker.resident_bytes())
                return END in topics_saved(name, database)
            assert until(all_there, 60), f"{name} is blocked:\n{broker.log()[-3000:]}"
        for name, database in databases.items():
            saved = Counter(topics_saved(name, database))
            assert name == "hook" or max(saved.values()) == 1, f"{name} has one twice"

            def lost():
                there = saved.keys() | letters(reader)[name].keys()
                return [each for at, each in enumerate(HOSTILE) if f"sensors/{at}" not in there]
            assert name == SILENT or until(lambda: not lost(), 10), f"{name} has lost {lost()}"
        dead = letters(reader)
        assert set(dead) == {"pg", "flux", "vm"}, "the others take everything"
        assert [names[int(topic[8:])] for topic in dead["pg"]] == ["tiny in JSON"]
        assert all(0 < len(reason) < 600 for each in dead.values() for reason in each.values())
        assert len(log_lines(broker, "WARN")) <= len(databases), "all of them are the senders' faults"
        check_values(databases, names)
        figure(f"sinks: {len(names)} hostile payloads, {sum(map(len, dead.values()))} dead letters, at most {max(peaks) >> 20} MiB resident")
        assert max(peaks) < 700 << 20
    finally:
        broker.stop()


def letters(reader):
    """The reasons, by sink and topic."""
    found = defaultdict(dict)
    for message in reader.received:
        _, name, topic = message.topic.split("/", 2)
        found[name][topic] = dict(message.properties.UserProperty)["dead-reason"]
    return found


def check_values(databases, names):
    """What is there is what was sent."""
    mongo = {names[int(each["topic"][8:])]: each for each in databases["mongo"].documents() if each["topic"] != END}
    assert mongo["dollar"]["payload"] == {"\uff04set": {"\uff04gt": 1}, "v": 1}
    assert mongo["dots"]["payload"] == {"a\uff0eb": 1, "a": {"b": 2}}
    assert mongo["empty name"]["payload"] == {"": 1, "v": 2}
    assert mongo["deep"]["payload"] == HOSTILE["deep"].decode()
    assert mongo["beyond 64 bits"]["text"] == HOSTILE["beyond 64 bits"].decode()
    assert mongo["invalid UTF-8"]["payload"] == HOSTILE["invalid UTF-8"]
    assert (mongo["NaN"]["payload"], mongo["beyond a double"]["payload"]) == ("NaN", "1e999")
    for name in ("pg", "lite"):
        pg = name == "pg"
        query = "SELECT topic, {} FROM messages WHERE topic != 'sensors/42'".replace("sensors/42", END)
        rows = databases[name].query(query.format("length(text)")) if not pg else [
            line.split("|") for line in databases[name].query(query.format("coalesce(length(text), 0)"))]
        texts = {names[int(topic[8:])]: int(length or 0) for topic, length in rows}
        assert (texts["deep"], texts["1 MiB of text"], texts["NaN in JSON"]) == (2 * DEEP + 1, MIB, 10)
