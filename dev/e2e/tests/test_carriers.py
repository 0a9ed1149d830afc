"""Over what each client is connected, as the API and the terminal say it."""

import json

import pytest

from broker import HOST, free_port
from paho_client import PahoClient
from test_http import Served, ctl

pytestmark = pytest.mark.cork_only


@pytest.fixture
def doors(workdir, authority):
    """A broker without users with a listener of every kind; a certificate is asked for, not demanded."""
    broker = Served(workdir)
    broker.ca, broker.socket = authority.ca, workdir / "cork.sock"
    broker.ws_port, broker.tls_port, broker.wss_port = free_port(), free_port(), free_port()
    cert, key = authority.issue("doors")
    tls = f'tls = {{ cert = "{cert}", key = "{key}", client_ca = "{authority.ca}", client_cert = "optional" }}\n'
    with open(workdir / "cork.toml", "a") as config:
        config.write(
            f'[[listener]]\nurl = "ws://{HOST}:{broker.ws_port}"\n[[listener]]\nurl = "unix://{broker.socket}"\n'
            f'[[listener]]\nurl = "mqtts://{HOST}:{broker.tls_port}"\n{tls}'
            f'[[listener]]\nurl = "wss://{HOST}:{broker.wss_port}"\n{tls}'
        )
    broker.start()
    yield broker
    broker.stop()


def test_every_client_says_over_what_it_is_connected(doors, authority):
    clients = [PahoClient(doors, name, transport=name, user=None) for name in ("tcp", "websockets", "unix", "tls", "wss")]
    clients.append(PahoClient(doors, "lamp", transport="tls", certificate=authority.issue("lamp 7")))
    connections = {one["client_id"]: one["connection"] for one in doors.get("/clients")["items"]}
    assert {name: one["transport"] for name, one in connections.items()} == {
        "tcp": "tcp", "websockets": "ws", "unix": "unix", "tls": "tcp", "wss": "ws", "lamp": "tcp",
    }
    assert [connections[name]["tls"] for name in ("tcp", "websockets", "unix")] == [None] * 3
    for name, subject in [("tls", None), ("wss", None), ("lamp", "CN=lamp 7")]:
        tls = connections[name]["tls"]
        assert tls["version"] == "1.3" and tls["cipher_suite"].startswith("TLS_") and tls["client_subject"] == subject
    assert doors.get("/sessions/lamp")["connection"]["tls"] == connections["lamp"]["tls"]

    head, *rows = [line.split() for line in ctl(doors, "clients").stdout.splitlines()]
    assert head[:6] == ["CLIENT", "USER", "ADDRESS", "OVER", "TLS", "MQTT"]
    told = {row[0]: row[3:6] for row in rows if row[0] in ("tcp", "websockets", "wss")}
    assert told == {"tcp": ["tcp", "-", "5.0"], "websockets": ["ws", "-", "5.0"], "wss": ["ws", "1.3", "5.0"]}
    shown = json.loads(ctl(doors, "--json", "sessions", "show", "lamp").stdout)
    assert shown["connection"]["tls"]["client_subject"] == "CN=lamp 7"
    for client in clients:
        client.close()
