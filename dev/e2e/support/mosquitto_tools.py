"""mosquitto_pub and mosquitto_sub as functions."""

import subprocess
import threading

from broker import HOST, PASSWORD, USER

PATIENCE = 15.0


def login(broker, version):
    return ["-h", HOST, "-p", str(broker.port), "-u", USER, "-P", PASSWORD, "-V", str(version)]


def publish(broker, topic, message="", *more, version=5, qos=0, check=True):
    """Runs mosquitto_pub to its end."""
    what = ["-n"] if message is None else ["-m", message]
    if isinstance(message, bytes):
        what = ["-s"]
    command = ["mosquitto_pub", *login(broker, version), "-t", topic, "-q", str(qos), *what, *map(str, more)]
    data = message if isinstance(message, bytes) else None
    return subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE, check=check)


class Subscriber:
    """A running mosquitto_sub. `lines()` are its messages in the format asked for, once it has ended by itself."""

    MARK = "> "

    def __init__(self, broker, *filters, count, version=5, qos=2, form="%t|%q|%r|%p", more=(), wait_subscribed=True):
        topics = [word for one in filters for word in ("-t", one)]
        command = ["mosquitto_sub", *login(broker, version), *topics, "-q", str(qos), "-C", str(count), "-W", "15"]
        command += ["-d", "-F", self.MARK + form, *map(str, more)]
        self.child = subprocess.Popen(["stdbuf", "-oL", *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.output, self._subscribed = [], threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if wait_subscribed:
            assert self._subscribed.wait(PATIENCE), f"no SUBACK: {self.output}"

    def _read(self):
        for line in self.child.stdout:
            self.output.append(line.decode(errors="replace").rstrip("\n"))
            if self.output[-1].startswith("Subscribed"):
                self._subscribed.set()

    def lines(self):
        """Waits for the end; fails unless it ended with all messages it was to wait for."""
        code = self.child.wait(PATIENCE + 5)
        self._reader.join()
        assert code == 0, f"mosquitto_sub ended with {code}: {self.output[-20:]}"
        return self.messages()

    def messages(self):
        """The messages so far."""
        return [line[len(self.MARK) :] for line in self.output if line.startswith(self.MARK)]

    def kill(self):
        self.child.kill()
        self.child.wait()
