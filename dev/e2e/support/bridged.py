"""Two brokers with a link between them, what goes through it, and a wire that can be cut or fall silent."""

import collections
import getpass
import os
import select
import socket
import threading
import time

import paho.mqtt.client as paho

from broker import HOST, Process, connect_packet, cork_bin, free_port
from paho_client import properties


class Node(Process):
    """`cork serve`, open to everybody, with a configuration of one's own behind the listener's."""

    def __init__(self, directory, config="", durability="always"):
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        self.file, self.head = directory / "cork.toml", (
            f'durability = "{durability}"\nshards = {os.environ.get("E2E_SHARDS", 1)}\n[auth]\nallow_anonymous = true\n[limits]\nsys_interval = "1s"\n'
            f'[[listener]]\nurl = "mqtt://{HOST}:{port}"\n'
        )
        self.configure(config)
        super().__init__([cork_bin(), "serve", "--config", str(self.file)], directory, port, None)

    def configure(self, config):
        """Another configuration, for the next start or reload."""
        self.file.write_text(self.head + config)

    def start(self, probe=None):
        return super().start(probe or connect_packet())

    def kill(self):
        """SIGKILL."""
        self.child.kill()
        self.child.wait()


class BridgedMosquitto(Process):
    """Debian's mosquitto, open to everybody, that keeps what it has."""

    def __init__(self, directory, config=""):
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        file = directory / "mosquitto.conf"
        file.write_text(
            f"user {getpass.getuser()}\nallow_anonymous true\nlistener {port} {HOST}\nmax_queued_messages 0\n"
            f"max_inflight_messages 200\npersistence true\npersistence_location {directory}/\n{config}"
        )
        super().__init__(["mosquitto", "-c", str(file)], directory, port, None)

    def start(self, probe=None):
        return super().start(probe or connect_packet())


def link(name, port, *topics, **keys):
    """A `[[bridge]]` that finds out soon when something is wrong; each topic is a dictionary."""
    keys = {"keep_alive": "2s", "ack_timeout": "2s", "reconnect_max": "1s", **keys}
    text = f'[[bridge]]\nname = "{name}"\nurl = "mqtt://{HOST}:{port}"\n'
    return text + _lines(keys) + "".join("[[bridge.topic]]\n" + _lines(topic) for topic in topics)


def _lines(values):
    quoted = {key: f'"{value}"' if isinstance(value, str) else value for key, value in values.items()}
    return "".join(f"{key} = {value}\n" for key, value in quoted.items())


class Wire:
    """Listens and passes bytes on to `port`."""

    def __init__(self, port):
        self._to, self._pairs, self.connections = port, [], 0
        self._listener = socket.create_server((HOST, 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            try:
                there = socket.create_connection((HOST, self._to), timeout=5)
            except OSError:
                here.close()
                continue
            there.settimeout(None)
            pair = {"sockets": (here, there), "silent": threading.Event()}
            self._pairs.append(pair)
            self.connections += 1
            threading.Thread(target=self._pump, args=(pair,), daemon=True).start()

    @staticmethod
    def _pump(pair):
        here, there = pair["sockets"]
        try:
            while True:
                for source in select.select([here, there], [], [], 0.2)[0]:
                    data = source.recv(65536)
                    if not data:
                        return
                    if pair["silent"].is_set():
                        continue  # read, and gone
                    (there if source is here else here).sendall(data)
        except (OSError, ValueError):
            pass
        finally:
            for one in (here, there):
                one.close()

    def silence(self):
        """What is connected stays connected, and nothing passes any more."""
        for pair in self._pairs:
            pair["silent"].set()

    def cut(self):
        """Ends what is connected."""
        for pair in self._pairs:
            for one in pair["sockets"]:
                try:
                    one.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self._listener.close()
        self.cut()


def steady(port, client_id, version=5):
    """A Paho client with a session that outlives everything, and that comes again by itself."""
    options = {} if version == 5 else {"clean_session": False}
    protocol = paho.MQTTv5 if version == 5 else paho.MQTTv311
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=protocol, **options)
    client.reconnect_delay_set(min_delay=0.1, max_delay=0.2)
    more = {"clean_start": False, "properties": properties("connect", SessionExpiryInterval=3600)} if version == 5 else {}
    return client, lambda: client.connect(HOST, port, 30, **more)


class Sensors:
    """Publishes numbered readings until told to stop, by bytes of its own: what was not acknowledged is sent again in
    the order it was sent first, which Paho does not always do.
    """

    WINDOW = 50

    def __init__(self, port, qos, *, topics=10, pause=0.015):
        self.port, self.qos, self.topics, self.pause = port, qos, topics, pause
        self.sent = 0
        self._flying = {}  # identifier: PUBLISH without DUP, or None once PUBREC came
        self._stop, self._buffer = False, b""
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not (self._stop and not self._flying):
            try:
                with socket.create_connection((HOST, self.port), timeout=5) as stream:
                    self._talk(stream)
            except OSError:
                time.sleep(0.05)

    def _talk(self, stream):
        stream.sendall(connect_packet("sensors", clean=False))
        if len(stream.recv(4)) < 4:
            return
        self._buffer = b""
        for mid, packet in self._flying.items():
            again = self._release(mid) if packet is None else bytes([packet[0] | 8]) + packet[1:]
            stream.sendall(again)
        due = time.monotonic()
        while not (self._stop and not self._flying):
            now = time.monotonic()
            if now >= due and not self._stop and len(self._flying) + self.topics <= self.WINDOW:
                due = now + self.pause
                stream.sendall(b"".join(self._next() for _ in range(self.topics)))
            if select.select([stream], [], [], max(0, min(due - now, self.pause)))[0]:
                data = stream.recv(4096)
                if not data:
                    return
                self._answers(stream, data)

    def _next(self):
        mid, topic = self.sent % 65535 + 1, f"sensor/{self.sent % self.topics}".encode()
        body = len(topic).to_bytes(2, "big") + topic + mid.to_bytes(2, "big") + str(self.sent // self.topics).encode()
        self._flying[mid] = bytes([0x30 | self.qos << 1, len(body)]) + body
        self.sent += 1
        return self._flying[mid]

    def _answers(self, stream, data):
        self._buffer += data
        while len(self._buffer) >= 4:
            kind, mid = self._buffer[0], int.from_bytes(self._buffer[2:4], "big")
            self._buffer = self._buffer[4:]
            if kind == 0x50:
                if mid in self._flying:
                    self._flying[mid] = None
                stream.sendall(self._release(mid))
            else:
                self._flying.pop(mid, None)

    @staticmethod
    def _release(mid):
        return bytes([0x62, 2]) + mid.to_bytes(2, "big")

    def finish(self, seconds=20):
        """Stops and waits until everything is acknowledged; returns how many readings there are."""
        self._stop = True
        self._thread.join(seconds)
        assert not self._thread.is_alive(), f"{len(self._flying)} of {self.sent} not acknowledged"
        return self.sent


class Reader:
    """Takes readings, by topic, in the order they come."""

    def __init__(self, port, filter, qos, version=5):
        self.readings = collections.defaultdict(list)
        self.count, self.subscribed = 0, threading.Event()
        self.client, connect = steady(port, "reader", version)
        self.client.on_connect = lambda client, *_: client.subscribe(filter, qos)
        self.client.on_subscribe = lambda *_: self.subscribed.set()
        self.client.on_message = self._on_message
        connect()
        self.client.loop_start()
        assert self.subscribed.wait(10), "no SUBACK"

    def _on_message(self, _client, _userdata, message):
        self.readings[message.topic].append(int(message.payload))
        self.count += 1

    def wait_for(self, count, seconds=30):
        deadline = time.monotonic() + seconds
        while self.count < count:
            assert time.monotonic() < deadline, f"{self.count} of {count} after {seconds} s"
            time.sleep(0.02)

    def different(self):
        """How many readings are there, repetitions not counted."""
        return sum(len(set(numbers)) for numbers in self.readings.values())

    def wait_for_different(self, count, seconds=30):
        deadline = time.monotonic() + seconds
        while self.different() < count:
            assert time.monotonic() < deadline, f"{self.different()} of {count} after {seconds} s"
            time.sleep(0.05)

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


def judge(reader, sent, qos, *, prefix="", topics=10):
    """Nothing is missing, nothing is out of order, and at QoS 2 nothing is there twice. Returns the repetitions."""
    repetitions = 0
    for topic in range(topics):
        numbers = reader.readings[f"{prefix}sensor/{topic}"]
        wanted = list(range((sent - topic + topics - 1) // topics))
        first = list(dict.fromkeys(numbers))
        missing = sorted(set(wanted) - set(first))
        assert not missing, f"topic {topic}: missing {missing[:10]}"
        assert first == wanted, f"topic {topic}: out of order, or more than was sent"
        repetitions += len(numbers) - len(first)
    assert qos == 1 or repetitions == 0, f"{repetitions} repetitions at QoS 2"
    return repetitions
