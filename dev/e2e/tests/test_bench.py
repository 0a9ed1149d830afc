"""`cork bench` against a real broker: every scenario in small, every door, and what it says when something is wrong."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import measure, run
from broker import MOSQUITTO, HOST, cork_bin, free_port

TRAFFIC = "--messages 2000"
# Few connections: passwords are made to be slow.
SCENARIOS = {
    "pairs": f"pairs -n 3 --qos 0 {TRAFFIC}",
    "pairs-q2-v5": f"pairs -n 3 --qos 2 --protocol 5 {TRAFFIC}",
    "pairs-mixed-sizes": "pairs -n 2 --qos 1 --size 16-300*9,70000 --messages 500",
    "pairs-threads": f"pairs -n 4 --threads 2 --qos 1 {TRAFFIC}",
    "pairs-kept": f"pairs -n 3 --qos 1 --kept {TRAFFIC}",
    "fan-in": f"fan-in -n 5 --qos 1 {TRAFFIC}",
    "fan-out": "fan-out -n 6 --qos 1 --messages 100",
    "shared": f"shared -n 3 --members 3 --qos 1 {TRAFFIC}",
    "wildcard": f"wildcard --filters 300 --subscribers 3 -n 2 {TRAFFIC}",
    "retained": "retained --messages 500 -n 2 --size 100",
    "offline": "offline -n 3 --messages 40",
    "offline-q2-v5": "offline -n 3 --messages 20 --qos 2 --protocol 5",
    "connections": "connections -n 4 --resume",
    "churn": "connections -n 4 --churn --resume",
    "held": "connections -n 4 --hold 600ms",
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_scenario_measures_and_finds_no_fault(broker, name):
    report = measure(broker.port, SCENARIOS[name], extra=["--broker-pid", str(broker.child.pid)])
    assert report["ok"] is True
    assert [report[fault] for fault in ("lost", "duplicated", "reordered", "corrupt", "misrouted")] == [0] * 5
    rates = [value for key, value in report.items() if key.endswith("_per_second")]
    assert rates and all(rate > 0 for rate in rates), report
    assert report["broker_cpu_percent"] >= 0 and report["generator_cpu_percent"] >= 0


@pytest.mark.cork_only
@pytest.mark.parametrize("protocol", ["3.1.1", "5"])
def test_kept_sessions_are_on_the_disk_and_none_is_left_behind(broker, client, protocol):
    line = f"pairs -n 3 --qos 1 --kept --protocol {protocol} --messages 300"
    before = stored_bytes(broker)
    assert measure(broker.port, line)["ok"] is True
    assert stored_bytes(broker) > before
    watcher = client("watcher")
    watcher.subscribe("$SYS/broker/clients/total")
    watcher.until(lambda: watcher.payloads()[-1:] == ["1"], "itself alone among the sessions")


def stored_bytes(broker):
    """What the store has written, synced or not."""
    fields = Path(f"/proc/{broker.child.pid}/io").read_text().split()
    return int(fields[fields.index("write_bytes:") + 1])


def test_open_loop_keeps_its_rate_and_writes_its_distribution(broker, tmp_path):
    file = tmp_path / "latency.hgrm"
    line = f"pairs -n 2 --qos 1 --rate 500 --duration 1s --warmup 200ms --hdr {file}"
    report = measure(broker.port, line)
    assert report["published_per_second"] == pytest.approx(500, rel=0.1)
    assert 0 < report["latency_us_p50"] <= report["latency_us_p99"] <= report["latency_us_max"]
    lines = file.read_text().splitlines()
    assert lines[0].split() == ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
    assert any(line.startswith("#[Max") for line in lines)


def test_websocket(broker):
    report = measure(broker.ws_port, "pairs -n 2 --qos 1 --size 16-3000 --messages 500", scheme="ws")
    assert report["ok"] is True


@pytest.mark.cork_only
@pytest.mark.parametrize("scheme", ["mqtts", "wss"])
def test_tls(broker, scheme):
    port = {"mqtts": broker.tls_port, "wss": broker.wss_port}[scheme]
    report = measure(port, f"pairs -n 2 --qos 1 {TRAFFIC}", scheme=scheme, extra=["--ca", str(broker.ca)])
    assert report["ok"] is True
    untrusted = run(["pairs", "--url", f"{scheme}://{HOST}:{port}"], code=2)
    assert "--ca FILE" in untrusted and "--insecure" in untrusted


def test_what_goes_wrong_is_said(broker):
    url = f"mqtt://{HOST}:{broker.port}"
    refused = run(["pairs", "--url", url, "--user", "ann", "--password", "wrong"], code=3)
    assert "refuses the connection" in refused and "--password" in refused
    assert "refused the connection" in run(["pairs", "--url", f"mqtt://{HOST}:{free_port()}"], code=3)
    assert "16 bytes" in run(["pairs", "--url", url, "--size", "3"], code=2)
    assert "write for example mqtt://" in run(["pairs", "--url", "here"], code=2)


def start_line(name, directory):
    """A broker for `cork bench compare`, as a command."""
    if name == "mosquitto":
        return "mosquitto=exec mosquitto -p {port}"
    return f"cork=exec {cork_bin()} serve --allow-anonymous --listen mqtt://{HOST}:{{port}} --data-dir {{data}}"


def test_compare_writes_its_section_and_nothing_else(tmp_path):
    page, raw = tmp_path / "benchmarks.md", tmp_path / "raw.jsonl"
    page.write_text("# Mine\n\nWords of my own.\n")
    name = "mosquitto" if MOSQUITTO else "cork"
    arguments = ["compare", "--broker", start_line(name, tmp_path), "--scenario", "pairs-q1,connect"]
    arguments += ["--rounds", "1", "--duration", "300ms", "--quiet", "0s"]
    run([*arguments, "--output", str(page), "--raw", str(raw)])
    first = page.read_text()
    assert first.startswith("# Mine\n\nWords of my own.\n")
    rows = [line for line in first.splitlines() if line.startswith("| pairs-q1 ")]
    assert len(rows) == 1 and rows[0].count("|") == 5
    assert all(float(cell.split()[0]) > 0 for cell in rows[0].split("|")[3:5]), "the broker and the floor"
    measured = [json.loads(line) for line in raw.read_text().splitlines()]
    assert [(m["shape"], m["broker"]) for m in measured] == [("pairs-q1", name), ("pairs-q1", "floor"), ("connect", name)]
    assert all(m["result"]["ok"] for m in measured)

    page.write_text(first + "\nMore words.\n")
    run([*arguments, "--scenario", "connect", "--no-floor", "--output", str(page)])
    second = page.read_text()
    assert second.count("cork bench compare: begin") == 1 and second.endswith("\nMore words.\n")


def test_compare_tells_which_broker_does_not_start(tmp_path):
    page = tmp_path / "page.md"
    arguments = ["compare", "--broker", "broken=echo no such file >&2; exit 5 # {port}", "--scenario", "pairs-q1"]
    arguments += ["--rounds", "1", "--quiet", "0s", "--no-floor", "--output", str(page)]
    assert "exit status: 5" in run(arguments, code=1) and "no such file" in page.read_text()


@pytest.mark.cork_only
def test_more_connections_than_one_address_has_ports(tmp_path):
    """64 ports for clients and 300 connections at a time: other addresses of the loopback have ports too."""
    namespace = ["unshare", "-rn", sys.executable, str(Path(__file__).parents[1] / "support" / "narrow_ports.py")]
    if subprocess.run([*namespace, "40000", "40063", "true"], capture_output=True).returncode != 0:
        pytest.skip("this machine lets nobody make a network namespace")
    bench = f"{cork_bin()} bench connections --deadline 20s --json --verify"
    script = f"""
        {cork_bin()} serve --allow-anonymous --listen mqtt://{HOST}:1883 --data-dir {tmp_path}/data 2>{tmp_path}/log &
        broker=$!
        for _ in $(seq 100); do {bench} -n 1 >/dev/null 2>&1 && break; sleep 0.05; done
        {bench} -n 300 --hold 300ms; echo "code $?"
        {bench} -n 300 --source 127.0.0.1 2>&1; echo "code $?"
        {bench} -n 150 --source 127.0.0.1-127.0.0.4; echo "code $?"
        kill $broker; wait $broker
    """
    result = subprocess.run([*namespace, "40000", "40063", "sh", "-c", script], capture_output=True, text=True, timeout=60)
    lines = result.stdout.splitlines()
    assert [line for line in lines if line.startswith("code")] == ["code 0", "code 3", "code 0"], result
    assert "give more --source addresses" in result.stdout


def test_ctrl_c_ends_the_broker_that_compare_started(tmp_path):
    name, command = start_line("mosquitto" if MOSQUITTO else "cork", tmp_path).split("=", 1)
    command = f"echo $$ >{tmp_path}/pid; {command}"
    arguments = [cork_bin(), "bench", "compare", "--broker", f"{name}={command}", "--scenario", "pairs-q0"]
    process = subprocess.Popen([*arguments, "--quiet", "0s"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 20
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 128 + signal.SIGINT
    broker = Path("/proc") / (tmp_path / "pid").read_text().strip()
    assert not broker.exists() or "State:\tZ" in (broker / "status").read_text()
