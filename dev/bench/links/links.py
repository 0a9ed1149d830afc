"""Throughput of links, and the latency of live topics beside a backlog."""

import getpass
import itertools
import multiprocessing
import os
import select
import signal
import time

import wire
from bridged import Node, link
from broker import HOST, Process, connect_packet, free_port
from report import median, paragraph, short, table

KINDS = {"cork": ("cork", "cork"), "cork to mosquitto": ("cork", "mosquitto"), "mosquitto": ("mosquitto", "mosquitto")}
PATIENT = {"keep_alive": "60s", "ack_timeout": "2m"}  # the other broker is stopped for a while
CONF = """user {user}
log_dest none
sys_interval 0
allow_anonymous true
persistence false
max_queued_messages 0
max_inflight_messages 0
set_tcp_nodelay true
listener {port} 127.0.0.1
"""
BRIDGE = """connection there
address 127.0.0.1:{port}
topic # out 1
cleansession false
notifications false
restart_timeout 1
"""


class Mosquitto(Process):
    """Debian's mosquitto at its fastest: no limits, nothing on disk."""

    def __init__(self, directory, more=""):
        directory.mkdir(parents=True)
        port, file = free_port(), directory / "mosquitto.conf"
        file.write_text(CONF.format(user=getpass.getuser(), port=port) + more)
        super().__init__(["mosquitto", "-c", str(file)], directory, port, None)

    def start(self):
        return super().start(connect_packet())


def cpu_seconds(process):
    fields = open(f"/proc/{process.child.pid}/stat").read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Pair:
    """Two brokers with a link from one to the other."""

    numbers = itertools.count()

    def __init__(self, folder, kind):
        here, there = KINDS[kind]
        folder = folder / f"pair{next(self.numbers)}"
        self.there = Node(folder / "there") if there == "cork" else Mosquitto(folder / "there")
        self.there.start()
        port = self.there.port
        if here == "cork":
            self.here = Node(folder / "here", link("there", port, {"filter": "#", "qos": 1}, **PATIENT))
        else:
            self.here = Mosquitto(folder / "here", BRIDGE.format(port=port))
        self.here.start()
        self.wait_until_it_passes()

    def wait_until_it_passes(self):
        stream = wire.subscribe(self.there.port, "probe-sub", "probe")
        sender = wire.connect(self.here.port, "probe-pub")
        while not select.select([stream], [], [], 0.2)[0]:
            sender.sendall(wire.publish("probe", b"x"))
        stream.close()
        sender.close()
        time.sleep(1.5)  # a second session comes after the first

    def stop(self):
        for one in (self.here, self.there):
            one.stop()

    def rest(self):
        """Lets the other broker rest: what is published waits."""
        self.there.child.send_signal(signal.SIGSTOP)

    def wake(self):
        self.there.child.send_signal(signal.SIGCONT)


def drain(folder, kind, count):
    """Messages per second of a backlog, and the microseconds of CPU that each cost here."""
    pair = Pair(folder, kind)
    counter = wire.Counter(pair.there.port)
    pair.rest()
    wire.send_all(pair.here.port, count)
    began, cpu = time.monotonic(), cpu_seconds(pair.here)
    pair.wake()
    got = counter.wait_for(count)
    figures = got / (counter.last - began), (cpu_seconds(pair.here) - cpu) / count * 1e6, count - got
    pair.stop()
    return figures


def live(folder, kind, count):
    """Messages per second from a publisher here to a subscriber there, and the CPU here."""
    pair = Pair(folder, kind)
    counter = wire.Counter(pair.there.port)
    sender = multiprocessing.Process(target=wire.send_all, args=(pair.here.port, count))
    began, cpu = time.monotonic(), cpu_seconds(pair.here)
    sender.start()
    got = counter.wait_for(count)
    figures = got / (counter.last - began), (cpu_seconds(pair.here) - cpu) / count * 1e6, count - got
    sender.join()
    pair.stop()
    return figures


def throughput(folder, count, rounds, say):
    found = {}
    for turn in range(rounds):
        for kind in KINDS:
            for name, measure in (("a backlog", drain), ("live", live)):
                figures = measure(folder, kind, count)
                found.setdefault((name, kind), []).append(figures)
                say(f"round {turn + 1}: {name}, {kind}: {figures[0]:.0f} messages/s, {figures[1]:.1f} us here, {figures[2]} missed")
    rows = []
    for name in ("a backlog", "live"):
        base = median([each[0] for each in found[name, "mosquitto"]])
        for kind in KINDS:
            rates, costs, missed = zip(*found[name, kind])
            spread = f"{short(min(rates))} to {short(max(rates))}"
            rows.append([name, kind, short(median(rates)), f"x{median(rates) / base:.2f}", spread, f"{median(costs):.2f} us", str(sum(missed))])
    return (
        paragraph(
            f"A link at QoS 1, {count:,} messages of {wire.PAYLOAD_BYTES} bytes on {wire.TOPICS} topics, medians of {rounds} "
            "rounds in turns. *A backlog*: the other broker stands still while they are published, then wakes. *Live*: from one "
            "publisher here to one subscriber there (QoS 0, 3.1.1). Corkboard writes all of it to its disk (`durability = "
            "\"always\"`), Mosquitto 2.0 nothing (`persistence false`, no limits). \"CPU\" is that of the broker here, for each "
            "message. *Missed*: what did not reach the subscriber."
        )
        + table(["What passes", "Link", "messages/s", "against mosquitto", "from, to", "CPU", "missed"], rows) + "\n"
    )


def chat(here, there, pipe, rate):
    """Publishes stamped messages and notes how long each takes, until told to end."""
    reader = wire.subscribe(there, "live-sub", "live/#")
    sender = wire.connect(here, "live-pub")
    size, buffer, sent, delays = len(wire.publish("live/0", b"0" * 20)), b"", 0, []
    due, ends = time.monotonic(), None
    pipe.send("ready")
    while ends is None or (len(delays) < sent and time.monotonic() < ends):
        if ends is None and pipe.poll():
            pipe.recv()
            ends = time.monotonic() + 20
        if ends is None and time.monotonic() >= due:
            packet = wire.publish(f"live/{sent % 10}", f"{time.monotonic_ns():020}".encode(), sent % 60_000 + 1)
            sender.sendall(packet)
            sent, due = sent + 1, due + 1 / rate
        for stream in select.select([reader, sender], [], [], 0.001)[0]:
            data = stream.recv(65536)
            if stream is reader:
                buffer += data
        now = time.monotonic_ns()
        while len(buffer) >= size:
            delays.append((now - int(buffer[size - 20:size])) / 1e6)
            buffer = buffer[size:]
    pipe.send((sent, delays))


def beside(folder, kind, backlog, rate=200):
    """Milliseconds that live messages took while a backlog drained, how many did not come, and the drain's seconds."""
    pair = Pair(folder, kind)
    counter = wire.Counter(pair.there.port)
    ours, theirs = multiprocessing.Pipe()
    chatter = multiprocessing.Process(target=chat, args=(pair.here.port, pair.there.port, theirs, rate))
    if backlog:
        pair.rest()
        wire.send_all(pair.here.port, backlog)
        pair.wake()
    began = time.monotonic()
    chatter.start()
    ours.recv()
    if backlog:
        got = counter.wait_for(backlog)
    else:
        got = time.sleep(3) or 0
    seconds = time.monotonic() - began
    ours.send("end")
    sent, delays = ours.recv()
    chatter.join()
    pair.stop()
    return sorted(delays), sent - len(delays), seconds, backlog - got


def latency(folder, backlog, say):
    cases = [("cork", 0), ("cork", backlog), ("mosquitto", 0), ("mosquitto", backlog // 5)]
    rows = []
    for kind, size in cases:
        delays, missing, seconds, _ = beside(folder, kind, size)
        at = lambda part: f"{delays[min(int(len(delays) * part), len(delays) - 1)]:.3g} ms" if delays else "-"
        rows.append([kind, f"{size:,}" if size else "none", f"{seconds:.1f} s" if size else "-", str(len(delays)), at(0.5), at(0.99), at(1), str(missing)])
        say(f"latency, {kind}, backlog {size}: " + ", ".join(rows[-1][3:]))
    return (
        paragraph(
            "200 live messages a second on topics of their own pass a link while a backlog drains beside them: QoS 1, both "
            "brokers, publisher and subscriber on these CPUs."
        )
        + table(["Link", "backlog", "drained in", "live messages", "p50", "p99", "worst", "did not come"], rows) + "\n"
    )
