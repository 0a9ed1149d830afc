"""Databases that misbehave: rows they refuse, messages they choke on, passwords that change, answers that take long."""

import http.server
import json
import signal
import socket
import socketserver
import threading
import time

import pytest

from broker import HOST, Cork
from databases import GuardedInflux, Postgres, Sqlite, Webhook
from paho_client import PahoClient
from test_sinks import log_lines, sink, until

pytestmark = pytest.mark.cork_only


def reasons(reader):
    """Of the dead letters that came: by payload."""
    return {one.payload.decode(): dict(one.properties.UserProperty)["dead-reason"] for one in reader.received}


class Moody(Webhook):
    """A webhook that answers some messages in its own way: `moods` has a status by payload, 0 for no answer at all."""

    def __init__(self, moods=()):
        super().__init__()
        self.moods, self.token = dict(moods), None

    def start(self):
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = hook.moods.get(body["value"], 204)
                if hook.token and self.headers["Authorization"] != f"Bearer {hook.token}":
                    status = 401
                if status == 0:
                    return self.connection.shutdown(socket.SHUT_RDWR)
                # A careless server says what it was sent.
                said = b"" if status == 204 else f"no to {self.headers['Authorization']} {self.headers['X-Key']}".encode()
                if status == 204:
                    hook.requests.append((body["id"], None, body))
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, self.port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()


def test_what_breaks_a_server_is_set_aside_and_the_rest_goes_on(workdir, password_file, running):
    """422, 500 and a connection that is cut, each for one message of three hundred: three dead letters, which come back."""
    hook, lite = Moody({7: 422, 100: 500, 200: 0}), Sqlite(workdir)
    lite.start()
    lite.query("CREATE TABLE messages (id TEXT PRIMARY KEY, value NUMERIC CHECK (value != 250), payload TEXT)")
    running(hook).start()
    broker = running(Cork(workdir, password_file, after=sink("hook", hook.url) + sink("lite", lite.url, 'columns = { value = "number", payload = "json" }')))
    broker.start()
    reader = running(PahoClient(broker, "reader", version=5))
    reader.subscribe("$dead/hook/#", qos=1)
    client = running(PahoClient(broker, "sensor", version=5))
    for number in range(300):
        client.publish("sensors/1", str(number), qos=1)
    good = set(range(300)) - {7, 100, 200}
    assert until(lambda: set(hook.rows()) == good), sorted(good - set(hook.rows()))
    assert until(lambda: set(lite.rows()) == set(range(300)) - {250})
    assert until(lambda: len(reader.received) == 3), reader.summary()
    why = reasons(reader)
    assert "422" in why["7"] and "500" in why["100"] and "while others were saved" in why["200"], why
    assert len(log_lines(broker, "cannot save")) <= 2
    hook.moods.clear()
    client.publish("$cork/sink/hook/replay", "", qos=1)
    assert until(lambda: set(hook.rows()) == set(range(300)))
    assert all(times == 1 for times in hook.rows().values())
    broker.signal(signal.SIGTERM)  # the replay may not be over
    assert broker.wait(8) == 0


def test_passwords_that_change_while_running(workdir, password_file, running):
    """PostgreSQL's is changed and put back, the webhook's is corrected by SIGHUP; nobody hears either of them."""
    pg, hook = running(Postgres(workdir / "pg")), Moody()
    running(hook).start()
    pg.start()
    pg.query("CREATE ROLE saver LOGIN SUPERUSER PASSWORD 's3cret-one'")
    (pg.data / "pg_hba.conf").write_text("host all saver 127.0.0.1/32 scram-sha-256\nhost all cork 127.0.0.1/32 trust\n")
    pg.query("SELECT pg_reload_conf()")
    hook.token = "s3cret-two"
    pg_url = pg.url.replace("cork@", "saver:s3cret-one@")
    token = 'token = "{}"\nheaders = {{ X-Key = "s3cret-key" }}'
    broker = running(Cork(workdir, password_file, after=sink("pg", pg_url) + sink("hook", hook.url, token.format("s3cret-two"))))
    broker.start()
    client = running(PahoClient(broker, "sensor", version=5))
    watcher = running(PahoClient(broker, "watcher", version=5))
    watcher.subscribe("$SYS/broker/sink/#", qos=0)
    for number in range(50):
        client.publish("sensors/1", str(number), qos=1)
    assert until(lambda: set(pg.rows()) == set(hook.rows()) == set(range(50)))
    pg.query("ALTER ROLE saver PASSWORD 'other'")
    pg.query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'saver'")
    hook.token = "s3cret-three"
    for number in range(50, 100):
        client.publish("sensors/1", str(number), qos=1)
    assert until(lambda: len(log_lines(broker, "cannot save")) == 2), broker.log()
    time.sleep(2)
    assert len(log_lines(broker, "cannot save")) == 2, "one line for each"
    pg.query("ALTER ROLE saver PASSWORD 's3cret-one'")
    assert until(lambda: set(pg.rows()) == set(range(100)))
    assert set(hook.rows()) == set(range(50))
    config = workdir / "cork.toml"
    config.write_text(config.read_text().replace("s3cret-two", "s3cret-three"))
    broker.signal(signal.SIGHUP)
    assert until(lambda: set(hook.rows()) == set(range(100)))
    assert all(times == 1 for times in pg.rows().values())
    client.publish("sensors/1", "401", qos=1)
    hook.moods[401] = 422
    said = broker.log() + "".join(f"{one.topic} {one.payload}" for one in watcher.received)
    assert "s3cret" not in said and "***" in said, [line for line in said.splitlines() if "s3cret" in line]


def test_influxdbs_password_changes_while_running(workdir, password_file, running):
    """And is put back: nothing is lost, and the log has one line, without the password."""
    flux = running(GuardedInflux(workdir / "flux"))
    flux.start()
    for statement in ("CREATE USER root WITH PASSWORD 'root' WITH ALL PRIVILEGES", "CREATE DATABASE cork",
                      "CREATE USER saver WITH PASSWORD 's3cret-one' WITH ALL PRIVILEGES"):
        flux.query(statement)
    broker = running(Cork(workdir, password_file, after=sink("flux", flux.url.replace("//", "//saver:s3cret-one@"))))
    broker.start()
    client = running(PahoClient(broker, "sensor", version=5))
    for number in range(50):
        client.publish("sensors/1", str(number), qos=1)
    assert until(lambda: set(flux.rows()) == set(range(50))), broker.log()
    flux.query("SET PASSWORD FOR saver = 'other'")
    for number in range(50, 100):
        client.publish("sensors/1", str(number), qos=1)
    assert until(lambda: log_lines(broker, "cannot save")), broker.log()
    time.sleep(1)
    assert len(log_lines(broker, "cannot save")) == 1 and set(flux.rows()) == set(range(50))
    flux.query("SET PASSWORD FOR saver = 's3cret-one'")
    assert until(lambda: set(flux.rows()) == set(range(100))), broker.log()
    assert all(times == 1 for times in flux.rows().values()) and "s3cret" not in broker.log()


class Slow(socketserver.ThreadingTCPServer):
    """A relay that holds back each piece of an answer."""

    daemon_threads, allow_reuse_address = True, True

    def __init__(self, port, delay):
        self.to, self.delay = port, delay
        super().__init__((HOST, 0), None)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def finish_request(self, request, _):
        with socket.create_connection((HOST, self.to)) as far:
            threading.Thread(target=self.pump, args=(request, far, 0), daemon=True).start()
            self.pump(far, request, self.delay)

    def pump(self, source, sink, delay):
        try:
            while data := source.recv(65536):
                time.sleep(delay)
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    stop = socketserver.ThreadingTCPServer.shutdown


def test_a_slow_database_slows_nobody_else(workdir, password_file, running, figure):
    """Local clients are as quick as before, what waits is on the disk, and all of it arrives."""
    pg = running(Postgres(workdir / "pg"))
    pg.start()
    slow = running(Slow(pg.port, 0.4))
    url = pg.url.replace(str(pg.port), str(slow.server_address[1]))
    broker = running(Cork(workdir, password_file, after=sink("pg", url, "batch_max = 500", filter="bulk/#")))
    broker.start()
    assert until(lambda: log_lines(broker, "created table"))
    client, bulk = running(PahoClient(broker, "quick", version=5)), running(PahoClient(broker, "bulk", version=5))
    client.subscribe("ping")

    def p99(prefix):
        """Of round trips, while somebody else publishes to a topic that is saved, or to one that is not."""
        took = []
        for number in range(200):
            for part in range(10):
                bulk.send(f"{prefix}/{part}", f'{{"n": {number * 10 + part}, "text": "{"x" * 2000}"}}', qos=1)
            began, count = time.monotonic(), len(client.received)
            client.send("ping", "", qos=0)
            client.until(lambda: len(client.received) > count, "its message")
            took.append(time.monotonic() - began)
        return sorted(took)[197] * 1000

    before, saved = p99("other"), p99("bulk")
    resident = broker.resident_bytes()
    figure(f"sinks: round trips of others, p99 {before:.1f} ms, with a database that takes 0.4 s for an answer {saved:.1f} ms; "
           f"{resident >> 20} MiB resident")
    assert saved < 3 * before + 50
    assert resident < 200 << 20
    assert until(lambda: pg.rows().keys() == set(range(2000)))
    assert max(pg.rows().values()) == 1
    for number in range(2000, 2100):
        bulk.publish("bulk/1", str(number), qos=1)
    broker.signal(signal.SIGTERM)  # in the middle of a batch
    assert broker.wait(8) == 0
    broker.start()
    assert until(lambda: pg.rows().keys() == set(range(2100))) and max(pg.rows().values()) == 1
