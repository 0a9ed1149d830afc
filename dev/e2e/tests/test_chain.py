"""From the sensor to the database: a local broker, a bridge, a broker in the cloud, a sink. Exactly once, end to end."""

import sqlite3
import threading
import time

import pytest

from bridged import Node, Sensors, link
from databases import Mongo
from waiting import until

pytestmark = pytest.mark.cork_only

SINKS = """
[[sink]]
name = "lite"
type = "sqlite"
url = "sqlite://{directory}/chain.db"
filter = "site-7/sensor/#"
retry_max = "500ms"
[[sink]]
name = "mongo"
type = "mongodb"
url = "{mongo}"
database = "chain"
collection = "readings"
filter = "site-7/sensor/#"
retry_max = "500ms"
"""


def saved_in_sqlite(path):
    """What is there: topic and number of each row."""
    with sqlite3.connect(path) as connection:
        return connection.execute("SELECT topic, value FROM messages").fetchall()


def test_each_reading_is_in_the_database_once_though_both_brokers_are_killed(workdir, running, figure):
    mongo = running(Mongo(workdir / "mongo"))
    cloud = running(Node(workdir / "cloud", SINKS.format(directory=workdir, mongo=mongo.url)))
    cloud.start()
    config = link("cloud", cloud.port, {"filter": "sensor/#", "qos": 2, "remote_prefix": "site-7/"})
    local = running(Node(workdir / "local", config))
    local.start()
    sensors = Sensors(local.port, 2)
    mongo.start()
    for turn in range(3):
        time.sleep(0.7)
        local.kill()
        local.start()
        time.sleep(0.5)
        cloud.kill()
        if turn == 1:
            mongo.kill()
        time.sleep(0.3)
        cloud.start()
        if turn == 1:
            threading.Timer(1.0, mongo.start).start()
    sent = sensors.finish()
    wanted = {(f"site-7/sensor/{topic}", number // 10) for number in range(sent) for topic in [number % 10]}
    database = workdir / "chain.db"
    until(lambda: len(saved_in_sqlite(database)) >= sent, 40, f"{sent} rows in SQLite")
    documents = lambda: [(one["topic"], one["value"]) for one in mongo.documents("chain", "readings")]
    until(lambda: len(documents()) >= sent, 40, f"{sent} documents in MongoDB")
    time.sleep(1)
    for rows in (saved_in_sqlite(database), documents()):
        assert len(rows) == sent, f"{len(rows)} rows of {sent}"
        assert {(topic, int(value)) for topic, value in rows} == wanted
    figure(f"chain: {sent} readings through two brokers into two databases, each once")
