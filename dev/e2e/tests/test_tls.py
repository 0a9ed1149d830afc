"""Listeners behind doors: certificates and their mistakes, reload, a Unix socket, the PROXY protocol."""

import datetime
import os
import socket
import ssl
import stat
import subprocess
import time

import pytest

from broker import HOST, PASSWORD, USER, Cork, Process, connect_packet, cork_bin, free_port
from certificates import Authority

pytestmark = pytest.mark.cork_only


def speak(authority, port, pair=None, *, packet=None):
    """A TLS connection that says CONNECT; returns it with the first four bytes of the answer."""
    context = ssl.create_default_context(cafile=str(authority.ca))
    if pair:
        context.load_cert_chain(*map(str, pair))
    stream = context.wrap_socket(socket.create_connection((HOST, port), timeout=10), server_hostname=HOST)
    stream.sendall(packet or connect_packet("one", user=USER, password=PASSWORD))
    return stream, stream.recv(4)


def refused(authority, port, pair=None):
    """True if no CONNACK comes: in TLS 1.3 a client learns only after its own last word."""
    try:
        stream, answer = speak(authority, port, pair)
        stream.close()
        return answer == b""
    except (ssl.SSLError, ConnectionError):
        return True


def wait_for_log(broker, text, timeout=10):
    deadline = time.monotonic() + timeout
    while text not in broker.log():
        assert time.monotonic() < deadline, f"no `{text}` in the log:\n{broker.log()}"
        time.sleep(0.05)


def test_certificate_names_the_user_whatever_connect_says(broker, authority):
    pair = authority.issue("lamp")
    packet = connect_packet("one", user="mallory", password="wrong horse")
    stream, answer = speak(authority, broker.certificate_port, pair, packet=packet)
    assert answer == b"\x20\x02\x00\x00"
    stream.close()
    wait_for_log(broker, 'user="lamp"')
    assert "mallory" not in broker.log()


def test_bad_client_certificates_are_refused_with_one_line(broker, authority, workdir):
    hours = datetime.timedelta(hours=1)
    cases = [
        (None, "the client shows no certificate"),
        (authority.issue("old", begins=-3 * hours, ends=-2 * hours), "the client's certificate has expired"),
        (Authority(workdir, "stranger").issue("foreign"), "was issued by nobody in `client_ca`"),
    ]
    for pair, reason in cases:
        assert refused(authority, broker.certificate_port, pair)
        wait_for_log(broker, reason)
        lines = [line for line in broker.log().splitlines() if "TLS handshake failed" in line]
        assert len(lines) == 1 and "INFO" in lines[0] and HOST in lines[0], lines
        broker.log_path.write_text("")
    assert "client connected" not in broker.log()


def test_what_is_no_tls_is_told_apart(broker):
    for packet, reason in [(connect_packet(), "the client does not speak TLS"), (b"\x16\x03\x01", "hung up")]:
        with socket.create_connection((HOST, broker.tls_port)) as plain:
            plain.sendall(packet)
            plain.shutdown(socket.SHUT_WR)
            plain.settimeout(10)
            while plain.recv(100):
                pass
        wait_for_log(broker, reason)


def test_new_certificate_is_taken_without_dropping_anybody(broker, authority, client):
    old = client("old", transport="tls")
    old.subscribe("a")
    before = ssl.get_server_certificate((HOST, broker.tls_port))

    broker.cert.write_text("rubbish")
    wait_for_log(broker, "certificates not reloaded, the old ones stay")
    assert str(broker.cert) in broker.log() and "is not PEM" in broker.log()
    assert ssl.get_server_certificate((HOST, broker.tls_port)) == before

    authority.issue("broker", file=broker.cert.stem)
    os.replace(authority.directory / broker.cert.name, broker.cert)
    os.replace(authority.directory / broker.key.name, broker.key)
    wait_for_log(broker, "certificates reloaded")
    assert ssl.get_server_certificate((HOST, broker.tls_port)) != before
    new = client("new", transport="tls")
    new.publish("a", "still here")
    assert old.wait_for(1)[0].payload == b"still here"


@pytest.fixture
def open_broker(workdir, authority):
    """Open to everybody, with and without TLS: hashing passwords would take longer than all handshakes."""
    port, tls_port = free_port(), free_port()
    cert, key = authority.issue("open")
    config = workdir / "cork.toml"
    config.write_text(
        f'data_dir = "{workdir}/data"\n[[listener]]\nurl = "mqtt://{HOST}:{port}"\n'
        f'[[listener]]\nurl = "mqtts://{HOST}:{tls_port}"\ntls = {{ cert = "{cert}", key = "{key}" }}\n'
    )
    process = Process([cork_bin(), "serve", "--config", str(config)], workdir, port, None)
    process.tls_port = tls_port
    process.start(connect_packet())
    yield process
    process.stop()


def test_idle_connections_over_tls_are_small(open_broker, authority, figure):
    context = ssl.create_default_context(cafile=str(authority.ca))
    count, idle = 400, []

    def plain():
        return socket.create_connection((HOST, open_broker.port))

    def encrypted():
        tcp = socket.create_connection((HOST, open_broker.tls_port))
        return context.wrap_socket(tcp, server_hostname=HOST)

    def bytes_each(connect):
        before = open_broker.resident_bytes()
        for _ in range(count):
            idle.append(connect())
            idle[-1].sendall(connect_packet(f"c{len(idle)}", keep_alive=0))
            idle[-1].settimeout(30)
            assert idle[-1].recv(4)[:1] == b"\x20"
        return (open_broker.resident_bytes() - before) / count

    try:
        bytes_each(plain)  # what is only needed once
        bytes_each(encrypted)
        over_tcp, begin = bytes_each(plain), time.monotonic()
        over_tls, seconds = bytes_each(encrypted), time.monotonic() - begin
    finally:
        for stream in idle:
            stream.close()
    figure(f"bytes of an idle connection: {over_tcp:.0f} over TCP, {over_tls:.0f} over TLS")
    figure(f"TLS connections of one client, one after the other: {count / seconds:.0f} per second")
    assert over_tls < 40_000


def test_unix_socket_has_its_mode_and_goes_away(broker):
    mode = os.stat(broker.socket).st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o660
    broker.stop()
    assert not os.path.exists(broker.socket)


def test_unix_socket_left_by_a_crash_is_replaced(broker):
    broker.child.kill()
    broker.wait()
    assert os.path.exists(broker.socket)
    broker.start()
    with socket.socket(socket.AF_UNIX) as stream:
        stream.connect(str(broker.socket))
        stream.sendall(connect_packet(user=USER, password=PASSWORD))
        assert stream.recv(4) == b"\x20\x02\x00\x00"


def test_proxy_header_tells_whose_connection_it_is(workdir, password_file):
    port = free_port()
    extra = f'[[listener]]\nurl = "mqtt://{HOST}:{port}"\nproxy = true\n'
    broker = Cork(workdir, password_file, after=extra)
    broker.start()
    try:
        with socket.create_connection((HOST, port)) as stream:
            stream.sendall(b"PROXY TCP4 192.0.2.7 127.0.0.1 50000 1883\r\n")
            stream.sendall(connect_packet("lamp", user=USER, password=PASSWORD))
            assert stream.recv(4) == b"\x20\x02\x00\x00"
            wait_for_log(broker, "peer=192.0.2.7:50000")
        with socket.create_connection((HOST, port)) as stream:
            stream.settimeout(10)
            stream.sendall(connect_packet("lamp", user=USER, password=PASSWORD))
            assert stream.recv(4) == b"", "without the header nobody may in"
        wait_for_log(broker, "PROXY header refused")
        # Elsewhere nobody is believed.
        with socket.create_connection((HOST, broker.port)) as stream:
            stream.settimeout(10)
            stream.sendall(b"PROXY TCP4 192.0.2.9 127.0.0.1 50000 1883\r\n")
            assert stream.recv(4) == b""
        assert "192.0.2.9" not in broker.log()
    finally:
        broker.stop()


def test_check_says_what_is_wrong_with_certificates(workdir, authority):
    cert, key = authority.issue("a", file="check-a")
    _, other = authority.issue("b", file="check-b")
    empty = workdir / "empty.pem"
    empty.write_text("")
    cases = [
        (cert, other, "", f"listener.tls.key`: `{other}` is not the key of the certificate"),
        (empty, key, "", f"listener.tls.cert`: `{empty}` is empty"),
        (workdir / "none.pem", key, "", "can't be read: No such file"),
        (key, cert, "", "are the files swapped?"),
        (cert, key, f', client_ca = "{empty}"', f"listener.tls.client_ca`: `{empty}` is empty"),
    ]
    for cert_path, key_path, more, expected in cases:
        config = workdir / "cork.toml"
        config.write_text(
            f'[[listener]]\nurl = "mqtts://{HOST}:8883"\ntls = {{ cert = "{cert_path}", key = "{key_path}"{more} }}\n'
        )
        result = subprocess.run([cork_bin(), "check", str(config)], capture_output=True, text=True, timeout=10)
        assert result.returncode == 1
        assert f"{config}:2: key `" in result.stderr and expected in result.stderr, result.stderr
