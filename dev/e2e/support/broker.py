"""Starts the broker under test in a directory of its own, and ends it.

Two kinds: `Cork`, the binary named by CORK_BIN, and `Mosquitto` (E2E_BROKER=mosquitto), against which the tests
prove themselves. Both listen on loopback on free ports, MQTT and WebSocket, and know one user.
"""

import ctypes
import getpass
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

USER = "ann"
PASSWORD = "correct horse"
MOSQUITTO = os.environ.get("E2E_BROKER", "cork") == "mosquitto"
HOST = "127.0.0.1"
START_SECONDS = 10.0
STOP_SECONDS = 10.0


# Processes that were started and not ended by their test; conftest ends them after each.
started = []


def die_with_parent():
    """For `preexec_fn`: the child is killed when who started it is, whatever the reason.

    What the kernel calls the parent is a thread: children of others than the main one would not outlive theirs.
    """
    PR_SET_PDEATHSIG = 1
    if threading.current_thread() is not threading.main_thread():
        return None
    return lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def end_all(but=()):
    """Ends what tests have left behind."""
    for child in [child for child in started if child not in but]:
        started.remove(child)
        if child.poll() is None:
            child.kill()
            child.wait()


_given = set()


def free_port():
    """A port nobody listens on right now, and that was not given before: one configuration may ask for several."""
    while True:
        with socket.socket() as probe:
            probe.bind((HOST, 0))
            port = probe.getsockname()[1]
        if len(_given) > 10_000:
            _given.clear()
        if port not in _given:
            _given.add(port)
            return port


def cork_bin():
    """The binary under test."""
    return os.environ["CORK_BIN"]


def add_user(file, user=USER, password=PASSWORD, *, check=True):
    """Adds a user to a password file by `cork passwd`, the password being one line of standard input."""
    command = [cork_bin(), "passwd", str(file), user]
    result = subprocess.run(command, input=password + "\n", text=True, capture_output=True, timeout=30)
    assert result.returncode == 0 or not check, f"cork passwd: {result.stderr}"
    return result


def connect_packet(client_id="probe", *, level=4, user=None, password=None, keep_alive=60, clean=True):
    """CONNECT as bytes (3.1.1 or 5.0 without properties), for tests that want nothing between them and the wire."""

    def text(value):
        data = value.encode()
        return len(data).to_bytes(2, "big") + data

    flags = (0x02 if clean else 0) | (0x80 if user else 0) | (0x40 if password else 0)
    body = text("MQTT") + bytes([level, flags]) + keep_alive.to_bytes(2, "big")
    body += b"\x00" if level == 5 else b""
    body += text(client_id) + (text(user) if user else b"") + (text(password) if password else b"")
    assert len(body) < 128, "one length byte is enough for these"
    return bytes([0x10, len(body)]) + body


def first_connack(port, packet, *, deadline, pause=0.001, alive=lambda: True):
    """Tries until somebody accepts on `port` and answers `packet`; returns the first four bytes of the answer.

    Gives up at the deadline, or as soon as `alive()` says that nobody will.
    """
    while True:
        try:
            with socket.create_connection((HOST, port), timeout=5) as stream:
                stream.sendall(packet)
                answer = stream.recv(4)
                if answer:
                    return answer
        except OSError:
            pass
        if time.monotonic() > deadline or not alive():
            raise TimeoutError(f"no CONNACK on {HOST}:{port}")
        time.sleep(pause)


class Process:
    """A broker process with its log in a file."""

    def __init__(self, command, directory, port, ws_port):
        self.command, self.directory, self.port, self.ws_port = command, Path(directory), port, ws_port
        self.log_path = self.directory / "broker.log"
        self.child = None

    def start(self, probe=None):
        """Starts it; returns when a CONNECT has been answered (with whatever code)."""
        with open(self.log_path, "ab") as log:
            self.child = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.directory,
                preexec_fn=die_with_parent(),
            )
        started.append(self.child)
        try:
            packet = probe or connect_packet(user=USER, password=PASSWORD)
            deadline = time.monotonic() + START_SECONDS
            return first_connack(self.port, packet, deadline=deadline, alive=lambda: self.child.poll() is None)
        except TimeoutError as error:
            code = self.child.poll()
            raise AssertionError(f"{error}; exit code {code}; log:\n{self.log()}") from None

    def signal(self, number):
        self.child.send_signal(number)

    def wait(self, seconds=STOP_SECONDS):
        """The exit code, once it has ended."""
        return self.child.wait(seconds)

    def stop(self):
        """Ends it, with force if it does not listen."""
        if self.child is None or self.child.poll() is not None:
            return
        self.signal(signal.SIGTERM)
        try:
            self.wait()
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.wait()

    def log(self):
        """All of the log. The broker writes it a moment after things happen: waits until nothing more comes."""
        text, before = self._log_now(), None
        while text != before:
            time.sleep(0.03)
            text, before = self._log_now(), text
        return text

    def _log_now(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def resident_bytes(self):
        """Memory of the process that is in RAM now."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024


class Cork(Process):
    """`cork serve` with a configuration file."""

    def __init__(self, directory, password_file, extra="", auth="", authority=None, after=""):
        directory, port, ws_port = Path(directory), free_port(), free_port()
        if authority:
            after += self._doors(directory, authority)
        config = directory / "cork.toml"
        config.write_text(
            f'data_dir = "{directory}/data"\n'
            f"shards = {os.environ.get('E2E_SHARDS', 1)}\n"
            f"{extra}\n"
            f'[auth]\npassword_file = "{password_file}"\n{auth}\n\n'
            f'[[listener]]\nurl = "mqtt://{HOST}:{port}"\n\n'
            f'[[listener]]\nurl = "ws://{HOST}:{ws_port}"\n\n'
            f"{after}"
        )
        super().__init__([cork_bin(), "serve", "--config", str(config)], directory, port, ws_port)

    def _doors(self, directory, authority):
        """Listeners with TLS, one of which lets nobody in without a certificate, and a Unix socket."""
        self.ca, self.socket = authority.ca, directory / "cork.sock"
        self.cert, self.key = (Path(shutil.copy(path, directory)) for path in authority.issue("broker"))
        self.tls_port, self.wss_port, self.certificate_port = free_port(), free_port(), free_port()
        files = f'cert = "{self.cert}", key = "{self.key}"'
        return (
            f'[[listener]]\nurl = "mqtts://{HOST}:{self.tls_port}"\ntls = {{ {files} }}\n\n'
            f'[[listener]]\nurl = "wss://{HOST}:{self.wss_port}"\ntls = {{ {files} }}\n\n'
            f'[[listener]]\nurl = "mqtts://{HOST}:{self.certificate_port}"\n'
            f'tls = {{ {files}, client_ca = "{self.ca}" }}\n\n'
            f'[[listener]]\nurl = "unix://{self.socket}"\n'
        )


class CorkAnonymous(Process):
    """`cork serve` without a configuration file, open to everybody."""

    def __init__(self, directory):
        port, ws_port = free_port(), free_port()
        command = [cork_bin(), "serve", "--listen", f"mqtt://{HOST}:{port}", "--listen", f"ws://{HOST}:{ws_port}"]
        command += ["--allow-anonymous", "--data-dir", f"{directory}/data"]
        super().__init__(command, directory, port, ws_port)


class Mosquitto(Process):
    """Debian's mosquitto with the same listeners and the same user."""

    def __init__(self, directory, password_file):
        directory, port, ws_port = Path(directory), free_port(), free_port()
        config = directory / "mosquitto.conf"
        config.write_text(
            f"user {getpass.getuser()}\nallow_anonymous false\npassword_file {password_file}\nsys_interval 1\nmax_queued_messages 10000\n"
            f"listener {port} {HOST}\nlistener {ws_port} {HOST}\nprotocol websockets\n"
        )
        super().__init__(["mosquitto", "-c", str(config)], directory, port, ws_port)
