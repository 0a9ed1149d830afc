"""What an administrator changes while the broker runs: it holds at once, survives a restart, and hand-written files win."""

import http.server
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import paho.mqtt.client as paho_mqtt
import pytest

from broker import HOST, PASSWORD, USER, cork_bin, free_port
from test_http import ACL, ADMIN, VIEWER, Served, ctl, log_in, users_file  # noqa: F401

pytestmark = pytest.mark.cork_only


@pytest.fixture
def broker(workdir):
    """Without users at first."""
    process = Served(workdir)
    process.start()
    yield process
    process.stop()


def client(broker, client_id, user=None, password=PASSWORD, clean=True, source=""):
    """A connected client, with what happened to it."""
    one = paho_mqtt.Client(paho_mqtt.CallbackAPIVersion.VERSION2, client_id, protocol=paho_mqtt.MQTTv5)
    one.seen, one.codes, one.lost = [], [], []
    one.on_message = lambda _c, _u, message: one.seen.append((message.topic, message.payload.decode()))
    one.on_connect = lambda _c, _u, _f, code, _p: one.codes.append(str(code))
    one.on_disconnect = lambda _c, _u, _f, code, _p: one.lost.append(str(code))
    one.on_subscribe = lambda _c, _u, _m, codes, _p: one.codes.append(str(codes[0]))
    if user:
        one.username_pw_set(user, password)
    if source:
        one.connect(HOST, broker.port, clean_start=clean, bind_address=source)
    else:
        one.connect(HOST, broker.port, clean_start=clean)
    one.loop_start()
    return one


def until(what, seconds=5):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def managed(broker):
    return broker.directory / "data" / "managed.toml"


def restart(broker):
    broker.stop()
    broker.start()


def test_the_first_user_closes_the_door_and_is_an_administrator(broker):
    lamp = client(broker, "lamp")
    until(lambda: lamp.codes)
    status, _, problem = broker.ask("PUT", "/api/v1/users/ann", {"password": PASSWORD, "groups": ["viewer"]})
    assert (status, problem["code"]) == (409, "conflict") and "admin" in problem["detail"]
    status, _, view = broker.ask("PUT", "/api/v1/users/ann", {"password": PASSWORD, "groups": ["admin"], "scram": True})
    assert status == 201 and view == {
        "user": "ann", "groups": ["admin"], "role": "admin", "managed": True, "origin": None, "scram": True,
    }
    until(lambda: lamp.lost, 1)
    lamp.loop_stop()
    assert broker.ask("GET", "/api/v1/users")[0] == 401
    headers = log_in(broker, "ann")
    assert managed(broker).stat().st_mode & 0o777 == 0o600 and PASSWORD not in managed(broker).read_text()
    assert broker.ask("DELETE", "/api/v1/users/ann", headers=headers)[0] == 409, "the last administrator"
    status = broker.ask("PUT", "/api/v1/users/bob", {"password": "other", "groups": ["viewer"]}, headers)[0]
    assert status == 201 and log_in(broker, "bob", "other")
    bob = client(broker, "bobs", "bob", "other")
    assert until(lambda: bob.codes) == ["Success"]
    restart(broker)
    headers = log_in(broker, "ann")
    until(lambda: len(bob.codes) > 1)
    assert broker.ask("PUT", "/api/v1/users/bob", {"groups": []}, headers)[2]["role"] is None
    assert log_in(broker, "ann") and broker.ask("POST", "/api/v1/session", {"user": "bob", "password": "other"})[0] == 403
    assert broker.ask("DELETE", "/api/v1/users/bob", headers=headers)[0] == 204
    until(lambda: len(bob.lost) > 1, 1)
    bob.loop_stop()
    assert broker.ask("DELETE", "/api/v1/users/bob", headers=headers)[0] == 404
    audit = [(entry["user"], entry["action"]) for entry in broker.get("/audit", **headers)["items"]]
    assert ("ann", "remove user") in audit and "changed over HTTP" in broker.log()


def test_rules_hold_at_once_for_who_is_connected(broker):
    broker.ask("PUT", "/api/v1/users/ann", {"password": PASSWORD, "groups": ["admin"]})
    headers = log_in(broker, "ann")
    broker.ask("PUT", "/api/v1/users/lamp", {"password": "lamp"}, headers)
    lamp = client(broker, "lamp", "lamp", "lamp")
    until(lambda: lamp.codes)
    lamp.subscribe("home/#", 1)
    until(lambda: len(lamp.codes) == 2)
    publish = lambda topic: broker.ask("POST", "/api/v1/publish", {"topic": topic, "payload": "x"}, headers)[0]  # noqa: E731
    assert publish("home/a") == 200
    until(lambda: lamp.seen)
    rights = broker.get("/acl", **headers)
    assert (rights["default"], rights["revision"], rights["rules"]) == ("allow", 0, [])
    rules = [
        {"group": "admin", "allow": ["read", "write"], "topic": "#"},
        {"user": "lamp", "allow": ["read"], "topic": "home/b"},
    ]
    body = {"revision": 0, "default": "deny", "rules": rules}
    status, _, rights = broker.ask("PUT", "/api/v1/acl", body, headers)
    assert status == 200 and rights["default"] == "deny" and rights["revision"] == 1
    assert [(rule["managed"], rule["origin"], rule["topic"]) for rule in rights["rules"]] == [(True, None, "#"), (True, None, "home/b")]
    assert publish("home/a") == 200 and publish("home/b") == 200
    until(lambda: ("home/b", "x") in lamp.seen, 1)
    assert lamp.seen.count(("home/a", "x")) == 1, "it may not read that any more"
    assert broker.ask("PUT", "/api/v1/acl", body, headers)[0] == 409, "an old revision"
    broken = {"revision": 1, "rules": [{"topic": "a/#/b", "allow": ["read"]}]}
    status, _, problem = broker.ask("PUT", "/api/v1/acl", broken, headers)
    assert status == 400 and "topic" in problem["detail"]
    why = broker.get("/acl/explain?user=lamp&action=write&topic=home/b", **headers)
    assert why["allowed"] is False
    restart(broker)
    assert broker.get("/acl", **log_in(broker, "ann"))["revision"] == 1
    lamp.loop_stop()


def test_hand_written_files_win(workdir, users_file):
    process = Served(workdir, users_file, ACL)
    process.start()
    headers = log_in(process, ADMIN)
    status, _, problem = process.ask("PUT", f"/api/v1/users/{VIEWER}", {"groups": ["admin"]}, headers)
    assert status == 409 and f"{users_file}:2" in problem["detail"]
    assert process.ask("DELETE", f"/api/v1/users/{VIEWER}", headers=headers)[0] == 409
    status, _, problem = process.ask("PUT", "/api/v1/acl", {"revision": 0, "default": "allow", "rules": []}, headers)
    assert status == 409 and "acl.toml" in problem["detail"]
    rights = process.get("/acl", **headers)
    assert all(not rule["managed"] and "acl.toml:" in rule["origin"] for rule in rights["rules"])
    # Its groups are those of the file, too.
    assert process.ask("PUT", "/api/v1/users/eve", {"password": "eve", "groups": ["admin"]}, headers)[0] == 201
    eve = log_in(process, "eve", "eve")
    assert process.ask("POST", "/api/v1/publish", {"topic": "x", "payload": "1"}, eve)[0] == 200
    process.stop()
    with (workdir / "cork.toml").open("a") as config:
        config.write('[[filter]]\nname = "hot"\nwhen = "number > 30.0"\n')
    process.start()
    status, _, problem = process.ask("PUT", "/api/v1/filters/hot", {"when": "number > 1.0"}, log_in(process, ADMIN))
    assert status == 409 and "cork.toml:" in problem["detail"]
    process.stop()


def test_a_damaged_file_refuses_the_start_and_a_reload_keeps_the_old(broker):
    assert broker.ask("PUT", "/api/v1/users/ann", {"password": PASSWORD, "groups": ["admin"]})[0] == 201
    headers, good = log_in(broker, "ann"), managed(broker).read_text()
    managed(broker).write_text(good.replace("groups", "gruops"))
    status, _, problem = broker.ask("POST", "/api/v1/reload", headers=headers)
    assert status == 409 and "managed.toml" in problem["detail"] and "groups" in problem["detail"]
    assert broker.get("/users", **headers)["items"][0]["user"] == "ann"
    broker.stop()
    command = [cork_bin(), "serve", "--config", str(broker.directory / "cork.toml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    assert done.returncode == 1 and "managed.toml" in done.stderr
    managed(broker).write_text(good)
    broker.start()
    assert log_in(broker, "ann")


def test_a_ban_sends_off_and_keeps_out(broker):
    lamp, radio = client(broker, "lamp"), client(broker, "radio", source="127.0.0.9")
    until(lambda: lamp.codes and radio.codes)
    status, _, ban = broker.ask("PUT", "/api/v1/bans", {"client_id": "lamp", "seconds": 6, "reason": "it flickers"})
    assert status == 200 and ban["client_id"] == "lamp" and ban["until"] and ban["by"] is None
    until(lambda: lamp.lost, 1)
    until(lambda: "Banned" in lamp.codes)
    assert broker.ask("PUT", "/api/v1/bans", {"address": "127.0.0.8/31"})[2]["address"] == "127.0.0.8/31"
    until(lambda: radio.lost, 1)
    restart(broker)
    assert len(broker.get("/bans")["items"]) == 2
    other = client(broker, "other")
    assert until(lambda: other.codes) == ["Success"]
    until(lambda: lamp.codes[-1] == "Success", 12)  # six seconds are over
    assert radio.codes.count("Success") == 1
    assert broker.ask("DELETE", "/api/v1/bans?address=127.0.0.8/31")[0] == 204
    assert broker.ask("DELETE", "/api/v1/bans?address=127.0.0.8/31")[0] == 404
    until(lambda: radio.codes.count("Success") == 2, 8)
    for body in ({}, {"client_id": "a", "user": "b"}, {"address": "10"}, {"client_id": "a", "seconds": 0}):
        assert broker.ask("PUT", "/api/v1/bans", body)[0] == 400, body
    for one in (lamp, radio, other):
        one.loop_stop()


def test_a_sink_comes_goes_and_has_its_dead_letters_tried_again(broker):
    database = broker.directory / "data" / "readings.db"
    keys = {"type": "sqlite", "url": "sqlite://readings.db", "filter": "sensors/#", "table": "readings", "batch_time": "0s",
            "columns": {"topic": "topic_name", "value": "number"}}
    status, _, link = broker.ask("PUT", "/api/v1/sinks/readings", keys)
    assert status == 201 and link["type"] == "sqlite" and link["managed"] and link["filters"] == ["sensors/#"], link
    publish = lambda topic, payload: broker.ask("POST", "/api/v1/publish", {"topic": topic, "payload": payload, "qos": 1})  # noqa: E731
    publish("sensors/a", "21.5")

    def rows():
        try:
            with sqlite3.connect(database) as at:
                return [row[0] for row in at.execute("SELECT value FROM readings")]
        except sqlite3.OperationalError:
            return []

    until(lambda: rows() == [21.5])
    # A rule of the database's own refuses some rows.
    with sqlite3.connect(database) as at:
        at.execute("CREATE TRIGGER hot BEFORE INSERT ON readings WHEN NEW.value > 100 BEGIN SELECT RAISE(ABORT, 'too hot'); END")
    publish("sensors/b", "101")
    publish("sensors/c", "102")
    letters = "/sinks/readings/dead-letters"
    until(lambda: len(broker.get(letters)["items"]) == 2, 10)
    page = broker.get(letters + "?limit=1")
    letter = page["items"][0]
    assert letter["topic"] == "sensors/b" and "too hot" in letter["reason"] and letter["message"]["payload"] == "101"
    second = broker.get(f"{letters}?limit=1&cursor={page['next']}")
    assert [one["topic"] for one in second["items"]] == ["sensors/c"] and second["next"] is None
    link = broker.get("/sinks")["items"][0]
    assert (link["state"], link["dead_letters"], link["backlog_messages"]) == ("working", 2, 0), link
    with sqlite3.connect(database) as at:
        at.execute("DROP TRIGGER hot")
    body = {"ids": [letter["id"]]}
    assert broker.ask("POST", f"/api/v1{letters}/replay", body)[2] == {"replayed": 1}
    until(lambda: sorted(rows()) == [21.5, 101.0], 10)
    assert [one["topic"] for one in broker.get(letters)["items"]] == ["sensors/c"]
    restart(broker)
    assert [one["topic"] for one in broker.get(letters)["items"]] == ["sensors/c"]
    assert broker.ask("POST", f"/api/v1{letters}/replay", {})[2] == {"replayed": 1}
    until(lambda: sorted(rows()) == [21.5, 101.0, 102.0], 10)
    until(lambda: broker.get(letters)["items"] == [], 5)
    assert broker.ask("DELETE", f"/api/v1{letters}")[0] == 204
    assert broker.get("/sinks/readings")["settings"]["filter"] == "sensors/#"
    assert broker.ask("DELETE", "/api/v1/sinks/readings")[0] == 204
    assert broker.get("/sinks")["items"] == []
    outside = keys | {"url": "sqlite:///tmp/x.db"}
    status, _, problem = broker.ask("PUT", "/api/v1/sinks/readings", outside)
    assert status == 400 and "below the data directory" in problem["detail"]


def test_a_sink_goes_while_it_saves(broker):
    """It never went: being told to stop while a batch was saved was forgotten when the batch was saved."""
    arrived = threading.Event()

    class Slow(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            arrived.set()
            time.sleep(1)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer((HOST, 0), Slow)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    hook = {"type": "http", "url": f"http://{HOST}:{server.server_port}/", "filter": "bought/#"}
    assert broker.ask("PUT", "/api/v1/sinks/hook", hook)[0] in (200, 201)
    assert broker.ask("POST", "/api/v1/publish", {"topic": "bought/milk", "payload": "2", "qos": 1})[0] == 200
    assert arrived.wait(10)
    begun = time.monotonic()
    assert broker.ask("DELETE", "/api/v1/sinks/hook")[0] in (200, 204)
    assert time.monotonic() - begun < 8
    assert broker.get("/sinks")["items"] == []
    server.shutdown()


def test_a_bridge_comes_changes_and_goes(broker, tmp_path):
    far = tmp_path / "far"
    far.mkdir()
    other = Served(far)
    other.start()
    there = client(other, "there")
    until(lambda: there.codes)
    there.subscribe("#", 1)
    until(lambda: len(there.codes) == 2)
    keys = {"url": f"mqtt://{HOST}:{other.port}", "username": "u", "password": "sesame", "topic": [{"filter": "a/#"}]}
    status, _, link = broker.ask("PUT", "/api/v1/bridges/far", keys)
    assert status == 201 and link["target"] == keys["url"] and "sesame" not in json.dumps(link), link
    until(lambda: broker.get("/bridges")["items"][0]["state"] == "online", 10)
    broker.ask("POST", "/api/v1/publish", {"topic": "a/b", "payload": "1", "qos": 1})
    until(lambda: ("a/b", "1") in there.seen)
    shown = broker.get("/bridges/far")
    assert "sesame" not in json.dumps(shown) and shown["settings"]["username"] == "u"
    status, _, _ = broker.ask("PUT", "/api/v1/bridges/far", shown["settings"] | {"topic": [{"filter": "c/#"}]})
    assert status == 200 and "sesame" in managed(broker).read_text(), "the password stays"
    broker.ask("POST", "/api/v1/publish", {"topic": "c/d", "payload": "2", "qos": 1})
    until(lambda: ("c/d", "2") in there.seen)
    restart(broker)
    until(lambda: broker.get("/bridges")["items"][0]["state"] == "online", 10)
    for wrong in ({}, {"url": "mqtt://h"}, keys | {"password_file": "/etc/passwd"}, keys | {"name": "x"}, keys | {"tls": {"ca": "x"}}):
        assert broker.ask("PUT", "/api/v1/bridges/far", wrong)[0] == 400, wrong
    assert broker.ask("DELETE", "/api/v1/bridges/far")[0] == 204
    assert broker.ask("DELETE", "/api/v1/bridges/far")[0] == 404
    assert broker.get("/bridges")["items"] == [] and "sesame" not in broker.log()
    there.loop_stop()
    other.stop()


def test_filters_hold_for_who_uses_them_and_can_be_tried(broker):
    assert broker.ask("PUT", "/api/v1/filters/hot", {"when": "number > 30.0"})[0] == 201
    one = client(broker, "one")
    until(lambda: one.codes)
    one.subscribe("$filter/hot/t", 1)
    until(lambda: len(one.codes) == 2)
    send = lambda payload: broker.ask("POST", "/api/v1/publish", {"topic": "t", "payload": payload, "qos": 1})  # noqa: E731
    send("20"), send("31")
    until(lambda: one.seen == [("t", "31")])
    assert broker.ask("PUT", "/api/v1/filters/hot", {"when": "number > 10.0", "changed": True})[0] == 200
    send("20")
    until(lambda: one.seen[-1] == ("t", "20"))
    view = broker.get("/filters")["items"][0]
    assert (view["name"], view["when"], view["changed"], view["managed"]) == ("hot", "number > 10.0", "payload", True)
    status, _, problem = broker.ask("PUT", "/api/v1/filters/cold", {"when": "number <"})
    assert status == 422 and problem["code"] == "not-understood" and problem["position"] >= 8
    assert broker.ask("DELETE", "/api/v1/filters/hot")[0] == 204 and broker.get("/filters")["items"] == []
    messages = [{"topic": "t", "payload": text} for text in ("20", "10", "20", "20.2", "25", "warm")]
    trial = {"when": "number > 15.0", "deadband": 0.5, "messages": messages}
    results = broker.ask("POST", "/api/v1/filters/try", trial)[2]["results"]
    reasons = ["passes", "when is false", "within the deadband", "within the deadband", "passes", "not understood"]
    assert [result["reason"] for result in results] == reasons and results[0]["passes"] and not results[1]["passes"]
    one.loop_stop()


def test_a_backup_of_the_running_store_can_be_imported(broker, tmp_path):
    away = client(broker, "away", clean=False)
    until(lambda: away.codes)
    away.disconnect()
    away.loop_stop()
    away = paho_mqtt.Client(paho_mqtt.CallbackAPIVersion.VERSION2, "kept", clean_session=False)
    away.connect(HOST, broker.port)
    away.loop_start()
    until(away.is_connected)
    away.subscribe("q/#", 1)
    time.sleep(0.2)
    away.disconnect()
    away.loop_stop()
    for number in range(300):
        broker.ask("POST", "/api/v1/publish", {"topic": f"q/{number % 7}", "payload": str(number), "qos": 1, "retain": number < 5})
    file = tmp_path / "backup.jsonl"
    done = ctl(broker, "backup", str(file))
    assert done.returncode == 0 and str(file) in done.stdout, done.stderr
    assert ctl(broker, "backup", str(file)).returncode == 1, "nothing is overwritten"
    copy = tmp_path / "copy"
    copy.mkdir()
    second = Served(copy)
    done = subprocess.run([cork_bin(), "store", "import", str(file), "--data-dir", str(copy / "data")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    second.start()
    assert second.get("/sessions/kept")["queued_messages"] == 300
    assert [one["topic"] for one in second.get("/retained?filter=q/%23")["items"]] == [f"q/{n}" for n in range(5)]
    seen = []
    back = paho_mqtt.Client(paho_mqtt.CallbackAPIVersion.VERSION2, "kept", clean_session=False)
    back.on_message = lambda _c, _u, message: seen.append(int(message.payload))
    back.connect(HOST, second.port)
    back.loop_start()
    until(lambda: len(seen) >= 300, 10)
    assert seen == list(range(300))
    back.loop_stop()
    second.stop()


def test_the_first_administrator_beside_a_password_file(workdir, users_file):
    process = Served(workdir, users_file)
    process.start()
    status, _, problem = process.ask("GET", "/api/v1/users", headers=log_in(process, USER))
    assert status == 403, "without acl.toml all of them look on"
    environment = os.environ | {"CORK_NEW_PASSWORD": "root"}
    command = [cork_bin(), "ctl", "users", "add", "root", "--group", "admin", "--data-dir", str(workdir / "data")]
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 0
    assert subprocess.run(command, env=environment, capture_output=True).returncode == 1, "there is one already"
    process.child.send_signal(signal.SIGHUP)
    until(lambda: "1 new (`root`)" in process.log())
    headers = log_in(process, "root", "root")
    users = {user["user"]: user["role"] for user in process.get("/users", **headers)["items"]}
    assert users["root"] == "admin" and users[VIEWER] == "viewer"
    process.stop()


def test_a_reload_is_all_or_nothing_with_http_listeners_too(broker):
    """It comes by the listener that it closes, and is answered."""
    file = broker.directory / "cork.toml"
    before = file.read_text()
    with socket.create_server((HOST, 0)) as taken:
        extra = f'[[listener]]\nurl = "http://{HOST}:{taken.getsockname()[1]}"\n'
        file.write_text(before.replace("shards", "limits.max_packet_size = '1MiB'\nshards") + extra)
        status, _, problem = broker.ask("POST", "/api/v1/reload")
        assert (status, problem["code"]) == (409, "conflict") and str(taken.getsockname()[1]) in problem["detail"]
    entries = {entry["key"]: entry["value"] for entry in broker.get("/config")["items"]}
    assert entries["limits.max_packet_size"] == "16MiB"
    moved = free_port()
    file.write_text(before.replace(f"http://{HOST}:{broker.http}", f"http://{HOST}:{moved}"))
    url = f"http://{HOST}:{broker.http}"
    done = subprocess.run([cork_bin(), "ctl", "--url", url, "reload"], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and f"{moved}: opened" in done.stdout, (done.stdout, done.stderr)
    broker.http = moved
    assert broker.ask("GET", "/healthz")[0] == 200


def test_all_of_it_from_a_terminal(broker):
    def run(*words, expect=0):
        environment = os.environ | {"CORK_NEW_PASSWORD": PASSWORD, "CORK_PASSWORD": PASSWORD}
        command = [cork_bin(), "ctl", "--url", f"http://{HOST}:{broker.http}", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment)
        assert done.returncode == expect, (words, done.stdout, done.stderr)
        return done.stdout

    run("filters", "set", "hot", '{"when": "number > 30.0"}')
    assert "number > 30.0" in run("filters")
    run("ban", "lamp", "--seconds", "60", "--reason", "test")
    assert "lamp" in run("bans")
    broker.ask("POST", "/api/v1/publish", {"topic": "a/b", "payload": "x" * 300, "qos": 1, "retain": True})
    assert "x" * 300 in run("retained", "show", "a/b")
    run("retained", "show", "a/c", expect=1)
    run("unban", "lamp")
    run("unban", "lamp", expect=1)
    run("bridges", "set", "far", json.dumps({"url": f"mqtt://{HOST}:{free_port()}", "topic": [{"filter": "#"}]}))
    assert "far" in run("bridges") and "far" in run("--json", "bridges", "list")
    run("bridges", "remove", "far")
    run("users", "add", "ann", "--group", "admin")
    ann = ("--user", "ann")
    run("users", "list", expect=1)
    run(*ann, "users", "add", "lamp")
    run(*ann, "users", "add", "lamp", expect=1)
    run(*ann, "users", "set", "lamp", "--group", "staff")
    assert "staff" in run(*ann, "users", "list")
    run(*ann, "acl", "add", "deny", "readwrite", "secret/#", "--group", "staff")
    run(*ann, "acl", "default", "deny")
    assert "secret/#" in run(*ann, "acl", "list") and "default: deny" in run(*ann, "acl", "list")
    assert "managed.toml" in run(*ann, "acl", "explain", "write", "secret/x", "--as", "lamp")
    run(*ann, "acl", "remove", "0")
    run(*ann, "acl", "remove", "0", expect=1)
    run(*ann, "users", "remove", "lamp")
    run(*ann, "users", "remove", "ann", expect=1)
