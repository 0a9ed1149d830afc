"""Real database servers on loopback, each in a directory of its own, that can be stopped, killed and started again."""

import http.server
import json
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

import pymongo

from broker import HOST, die_with_parent, free_port, started

START_SECONDS = 20.0


class Server:
    """A server process. `rows()` are what is saved there, by the `n` in each test message: how often, and what."""

    def __init__(self, directory):
        self.directory, self.port, self.child = Path(directory), free_port(), None
        self.directory.mkdir(parents=True, exist_ok=True)

    def command(self):
        raise NotImplementedError

    def is_ready(self):
        raise NotImplementedError

    def start(self):
        with open(self.directory / "server.log", "ab") as log:
            self.child = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                preexec_fn=die_with_parent(), **self.user(),
            )
        started.append(self.child)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if self.is_ready():
                    return
                last = None
            except Exception as error:  # whatever a client says of a server that is not there yet
                last = error
            assert self.child.poll() is None and time.monotonic() < deadline, f"{self.command()}: {last}"
            time.sleep(0.05)

    def user(self):
        return {}

    def stop(self):
        self.end(signal.SIGTERM)

    def kill(self):
        self.end(signal.SIGKILL)

    def end(self, number):
        if self.child is not None and self.child.poll() is None:
            self.child.send_signal(number)
            self.child.wait(20)

    def fetch(self, path, data=None):
        url = f"http://{HOST}:{self.port}{path}"
        with urllib.request.urlopen(url, data=data, timeout=10) as answer:
            return answer.read().decode()


def postgres_folder():
    """Where the newest PostgreSQL has its programs."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda folder: float(folder.parent.name))


class Postgres(Server):
    """PostgreSQL, as the user postgres when the tests run as root."""

    def __init__(self, directory):
        super().__init__(directory)
        self.programs, self.data = postgres_folder(), self.directory / "data"
        self.as_root = os.getuid() == 0
        if self.as_root:
            account = pwd.getpwnam("postgres")
            self.account = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
            os.chown(self.directory, account.pw_uid, account.pw_gid)
            self.directory.parent.chmod(0o755)
        command = [self.programs / "initdb", "-D", self.data, "-U", "cork", "-A", "trust", "--no-sync", "-E", "UTF8"]
        subprocess.run(command, check=True, capture_output=True, cwd=self.directory, **self.user())

    def user(self):
        return self.account if self.as_root else {}

    @property
    def url(self):
        return f"postgresql://cork@{HOST}:{self.port}/postgres"

    def command(self):
        return [self.programs / "postgres", "-D", self.data, "-p", str(self.port), "-h", HOST, "-k", self.directory]

    def is_ready(self):
        return self.query("SELECT 1") == ["1"]

    def end(self, number):
        # SIGINT is the fast shutdown; SIGTERM waits for clients to go. SIGKILL leaves its helpers for a moment.
        super().end(signal.SIGINT if number == signal.SIGTERM else number)

    def query(self, sql):
        command = [self.programs / "psql", "-h", HOST, "-p", str(self.port), "-U", "cork", "-d", "postgres"]
        command += ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", sql]
        result = subprocess.run(command, capture_output=True, text=True, timeout=30, cwd=self.directory)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    def rows(self, table="messages"):
        lines = self.query(f"SELECT coalesce(value::text, payload->>'n') FROM {table}")
        return Counter(int(float(line)) for line in lines)


class Influx(Server):
    """InfluxDB 1.x."""

    url = property(lambda self: f"http://{HOST}:{self.port}")

    def command(self):
        config = self.directory / "influxdb.conf"
        config.write_text(
            f'reporting-disabled = true\nbind-address = "{HOST}:{free_port()}"\n'
            f'[meta]\ndir = "{self.directory}/meta"\n'
            f'[data]\ndir = "{self.directory}/data"\nwal-dir = "{self.directory}/wal"\n'
            f'[http]\nbind-address = "{HOST}:{self.port}"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n'
        )
        return ["influxd", "-config", config]

    def is_ready(self):
        return self.fetch("/query?q=SHOW+DATABASES") != ""

    def select(self, query, database="cork"):
        text = self.fetch("/query?" + urllib.parse.urlencode({"db": database, "q": query, "epoch": "ns"}))
        return json.loads(text)["results"][0].get("series", [])

    def rows(self):
        found = Counter()
        for series in self.select('SELECT "value", "n" FROM "messages"'):
            for _, value, number in series["values"]:
                found[int(number if value is None else value)] += 1
        return found


class GuardedInflux(Influx):
    """InfluxDB 1.x that asks for a password; its administrator is this class."""

    def command(self):
        command = super().command()
        config = self.directory / "influxdb.conf"
        config.write_text(config.read_text().replace("log-enabled = false", "log-enabled = false\nauth-enabled = true"))
        return command

    def is_ready(self):
        self.fetch("/ping")
        return True

    def fetch(self, path, data=None):
        return super().fetch(path + ("&" if "?" in path else "?") + "u=root&p=root", data)

    def query(self, text):
        answer = json.loads(self.fetch("/query", urllib.parse.urlencode({"q": text}).encode()))
        assert "error" not in answer["results"][0], answer


class Victoria(Server):
    """VictoriaMetrics, which takes the line protocol. It confirms what is in its memory only, so it is never killed."""

    url = property(lambda self: f"http://{HOST}:{self.port}")

    def command(self):
        name = next(name for name in ("victoria-metrics", "victoria-metrics-prod") if shutil.which(name))
        return [name, f"-storageDataPath={self.directory}/vm", f"-httpListenAddr={HOST}:{self.port}"]

    def is_ready(self):
        return self.fetch("/health") == "OK"

    def rows(self):
        self.fetch("/internal/force_flush")
        query = urllib.parse.urlencode({"match[]": '{__name__=~"messages_(value|n)"}'})
        found = Counter()
        for line in self.fetch(f"/api/v1/export?{query}").splitlines():
            found.update(int(value) for value in json.loads(line)["values"])
        return found

    def kill(self):
        self.stop()


class Mongo(Server):
    """A real mongod where there is one, else NX-27017, which speaks its protocol over SQLite."""

    is_real = shutil.which("mongod") is not None

    @property
    def url(self):
        return f"mongodb://{HOST}:{self.port}/?directConnection=true"

    def command(self):
        if self.is_real:
            (self.directory / "data").mkdir(exist_ok=True)
            return ["mongod", "--dbpath", self.directory / "data", "--port", str(self.port), "--bind_ip", HOST]
        program = Path(sys.executable).with_name("nx-27017")
        own = self.directory / "nx.pid"  # its default is one for the whole machine; after a kill it would not start
        own.unlink(missing_ok=True)
        return [program, "--db", self.directory / "mongo.db", "--host", HOST, "-p", str(self.port), "--pid-file", own]

    def client(self, patience=20_000):
        return pymongo.MongoClient(self.url, serverSelectionTimeoutMS=patience)

    def is_ready(self):
        with self.client(2000) as client:
            return client.admin.command("ping")["ok"] == 1

    def documents(self, database="cork", collection="messages"):
        with self.client() as client:
            return list(client[database][collection].find())

    def rows(self):
        documents = self.documents()
        return Counter(int(each["value"] if "value" in each else each["payload"]["n"]) for each in documents)


class Sqlite:
    """A file; down is when its folder is somewhere else."""

    def __init__(self, directory):
        self.folder, self.away = Path(directory) / "lite", Path(directory) / "lite-away"
        self.path = self.folder / "iot.db"
        self.away.mkdir(parents=True)

    url = property(lambda self: f"sqlite://{self.path}")

    def start(self):
        self.away.rename(self.folder)

    def stop(self):
        if self.folder.exists():
            self.folder.rename(self.away)

    kill = stop

    def query(self, sql):
        with sqlite3.connect(self.path) as connection:
            return connection.execute(sql).fetchall()

    def rows(self):
        found = self.query("SELECT coalesce(value, json_extract(payload, '$.n')) FROM messages")
        return Counter(int(number) for (number,) in found)


class Webhook:
    """An HTTP server in this process, which remembers ids. `broken` answers every so manieth request with 503."""

    def __init__(self):
        self.port, self.requests, self.broken, self.server = free_port(), [], 0, None

    url = property(lambda self: f"http://{HOST}:{self.port}/messages")

    def start(self):
        hook = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.requests.append((self.headers["Idempotency-Key"], dict(self.headers), json.loads(body)))
                fails = hook.broken and len(hook.requests) % hook.broken == 0
                self.send_response(503 if fails else 204)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, self.port), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # a client that was killed
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    kill = stop

    def rows(self):
        """By id: a message may come more than once, with the same id."""
        by_id = {document["id"]: document for _, _, document in self.requests}
        return Counter(int(each["value"] if "value" in each else each["payload"]["n"]) for each in by_id.values())


def one_of_each(workdir):
    """A target of every kind by a short name, none started."""
    return {
        "pg": Postgres(workdir / "pg"),
        "flux": Influx(workdir / "flux"),
        "vm": Victoria(workdir / "vm"),
        "mongo": Mongo(workdir / "mongo"),
        "lite": Sqlite(workdir),
        "hook": Webhook(),
    }
