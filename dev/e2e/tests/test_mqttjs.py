"""MQTT.js (npm) against the broker: 3.1, 3.1.1 and 5.0, over TCP and WebSocket, and both over TLS."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from broker import HOST, MOSQUITTO, PASSWORD, USER

PEER = Path(__file__).parent.parent / "node" / "peer.cjs"


PORTS = {"mqtt": "port", "ws": "ws_port"} if MOSQUITTO else {
    "mqtt": "port", "ws": "ws_port", "mqtts": "tls_port", "wss": "wss_port",
}


@pytest.fixture(params=PORTS)
def url(request, broker):
    return f"{request.param}://{HOST}:{getattr(broker, PORTS[request.param])}"


@pytest.fixture(params=[31, 311, 5], ids=["3.1", "3.1.1", "5.0"])
def version(request):
    return request.param


@pytest.fixture
def peer(url, version, authority):
    """`peer("scenario")` runs it in Node and returns its report."""

    def run(scenario, **more):
        job = {"scenario": scenario, "url": url, "version": version, "user": USER, "password": PASSWORD}
        job |= {"ca": str(authority.ca)} | more
        command = [os.environ["E2E_NODE"], str(PEER), json.dumps(job)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, f"MQTT.js: {result.stderr}"
        return json.loads(result.stdout)

    return run


def brief(seen):
    return [(one["topic"], one["text"], one["qos"], one["retain"]) for one in seen]


def test_every_quality_of_service_arrives_once_in_order(peer):
    report = peer("qos2")
    assert report["granted"] == [0, 1, 2]
    for qos in (0, 1, 2):
        got = [one for one in report["seen"] if one["topic"] == f"a/{qos}"]
        assert brief(got) == [(f"a/{qos}", str(number), qos, False) for number in range(qos, 100, 3)]


def test_retained_message_is_kept_replaced_and_deleted(peer):
    assert brief(peer("retained")["seen"]) == [("state/kept", "new", 1, True)]


def test_will_is_sent_when_the_stream_is_destroyed(peer):
    report = peer("will")
    assert brief(report["seen"]) == [("status", "online", 1, False), ("status", "offline", 1, False)]
    assert brief(report["late"]) == [("status", "offline", 1, True)]


def test_mebibyte_passes_unchanged(peer, url):
    if MOSQUITTO and url.startswith("ws"):
        pytest.skip("mosquitto 2.0.11 stalls on messages above 100 kB over WebSocket")
    report = peer("big")
    assert [(one["bytes"], one["qos"]) for one in report["seen"]] == [(1_048_576, qos) for qos in (0, 1, 2)]
    assert {one["sha256"] for one in report["seen"]} == {report["sha256"]}


def test_returning_session_has_missed_nothing(peer, version):
    report = peer("session")
    assert report["present"] == [False, version != 31], "3.1 knows no Session Present"
    assert [int(one["text"]) for one in report["seen"]] == list(range(200))


def test_its_own_reconnect_finds_the_session(peer, version):
    report = peer("reconnect")
    assert report["present"] == (version != 31)
    assert [one["text"] for one in report["seen"]] == ["while away or just back"]


def test_wrong_password_is_refused(peer, version):
    report = peer("refused")
    assert report["code"] in ((0x86, 0x87) if version == 5 else (4, 5)), report


@pytest.mark.parametrize("version", [5], ids=["5.0"])
def test_properties_pass_unchanged(peer):
    properties = peer("properties")["properties"]
    expiry = properties.pop("messageExpiryInterval")
    assert 98 <= expiry <= 100
    assert properties == {
        "payloadFormatIndicator": True, "contentType": "text/plain", "responseTopic": "answers",
        "correlationData": "abc", "userProperties": {"one": ["1", "2"], "two": "3"}, "subscriptionIdentifier": 17,
    }
