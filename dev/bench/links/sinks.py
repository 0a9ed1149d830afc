"""Rows per second into databases: our sinks, and the Python saver of every tutorial."""

import itertools
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import wire
from bridged import Node
from databases import Mongo, Postgres, Sqlite
from links import cpu_seconds
from report import median, paragraph, short, table

SINK = """[[sink]]
name = "saved"
type = "{kind}"
url = "{url}"
filter = "bench/#"
{target} = "{table}"
"""


class Base:
    """A database that is measured: how many rows a table has."""

    def __init__(self, kind, server):
        self.kind, self.server, self.names = kind, server, itertools.count()
        server.start()
        self.connection = psycopg.connect(server.url, autocommit=True) if kind == "postgresql" else None
        self.client = server.client() if kind == "mongodb" else None

    def table(self):
        return f"t{next(self.names)}"

    def count(self, name):
        if self.client:
            return self.client["cork"][name].count_documents({})
        query = f"SELECT count(*) FROM {name}"
        try:
            if self.connection:
                return self.connection.execute(query).fetchone()[0]
            with sqlite3.connect(self.server.path, timeout=20) as connection:
                return connection.execute(query).fetchone()[0]
        except (psycopg.errors.UndefinedTable, sqlite3.OperationalError):
            return 0

    def wait_for(self, name, count):
        """When so many rows were there."""
        deadline = time.monotonic() + 120
        while True:
            asked = time.monotonic()
            found, took = self.count(name), time.monotonic() - asked
            if found >= count:
                return asked
            assert asked < deadline, f"{self.kind}: {found} of {count} rows"
            time.sleep(max(0.02, took * 10))  # not so often that the database is busy with counting


def payload(number):
    return f'{{"n":{10_000 + number % 90_000},"t":{20 + number % 100 / 10:04.1f}}}'.encode()


def ours(folder, base, count):
    """Rows per second, and the microseconds of CPU of each."""
    name = base.table()
    target = "collection" if base.kind == "mongodb" else "table"
    broker = Node(folder / f"sink-{base.kind}-{name}", SINK.format(kind=base.kind, url=base.server.url, target=target, table=name))
    broker.start()
    began, cpu = time.monotonic(), cpu_seconds(broker)
    wire.send_all(broker.port, count, payload)
    figures = count / (base.wait_for(name, count) - began), (cpu_seconds(broker) - cpu) / count * 1e6
    broker.stop()
    return figures


class Saver:
    """The saver's process."""

    def __init__(self, base, name, port):
        url = str(base.server.path) if base.kind == "sqlite" else base.server.url
        command = [sys.executable, Path(__file__).with_name("saver.py"), base.kind, url, name, str(port)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.child.stdout.readline() == "ready\n", "the saver did not start"

    def stop(self):
        self.child.terminate()
        self.child.wait()


def theirs(folder, base, count):
    name = base.table()
    broker = Node(folder / f"saver-{base.kind}-{name}")
    broker.start()
    saver = Saver(base, name, broker.port)
    began, cpu = time.monotonic(), cpu_seconds(broker) + cpu_seconds(saver)
    wire.send_all(broker.port, count, payload)
    ended = base.wait_for(name, count)
    figures = count / (ended - began), (cpu_seconds(broker) + cpu_seconds(saver) - cpu) / count * 1e6
    saver.stop()
    broker.stop()
    return figures


def compare(folder, count, rounds, say):
    servers = [("postgresql", Postgres(folder / "postgres")), ("mongodb", Mongo(folder / "mongo")), ("sqlite", Sqlite(folder))]
    found = {}
    for kind, server in servers:
        base = Base(kind, server)
        for turn in range(rounds):
            for name, measure, rows in (("sink", ours, count[kind][0]), ("saver", theirs, count[kind][1])):
                figures = measure(folder, base, rows)
                found.setdefault((kind, name), []).append(figures)
                say(f"round {turn + 1}: {kind}, {name}: {rows} rows, {figures[0]:.0f} rows/s, {figures[1]:.0f} us of CPU each")
        server.stop()
    names = {"postgresql": "PostgreSQL", "mongodb": "MongoDB" if Mongo.is_real else "NX-27017 (MongoDB's protocol over SQLite)", "sqlite": "SQLite"}
    rows = []
    for kind, name in names.items():
        (sink, cost), (saver, its_cost) = ([median(figures) for figures in zip(*found[kind, who])] for who in ("sink", "saver"))
        rows.append([name, short(sink), short(saver), f"x{sink / saver:.1f}", f"{cost:.0f} us", f"{its_cost:.0f} us"])
    return (
        paragraph(
            f"From the first PUBLISH (QoS 1) until a query finds all rows; medians of {rounds} rounds in turns. The saver is "
            "[dev/bench/links/saver.py](../dev/bench/links/saver.py): Paho, and psycopg, pymongo or sqlite3, one row and one "
            "commit for each message, as in every tutorial. Both get the same messages, 22 bytes of JSON: the sink "
            f"{count['sqlite'][0]:,}, the saver, which takes longer, the first {count['sqlite'][1]:,}; with MongoDB both "
            f"{count['mongodb'][0]:,}. \"CPU\" for each row: the broker with its sink; the broker and the saver. "
            "The databases' own is not in it. NX-27017 gets slower as it fills and is itself what "
            "limits its row: that says nothing about MongoDB."
        )
        + table(["Database", "sink, rows/s", "saver, rows/s", "", "CPU, sink", "CPU, saver"], rows) + "\n"
    )
