"""Links and sinks that take a part of their messages: `when`, `changed`, `every`, and filters with names."""

import signal
import subprocess

import pytest

from bridged import Node, link
from broker import HOST, cork_bin
from databases import Sqlite
from paho_client import PahoClient
from waiting import until

pytestmark = pytest.mark.cork_only

WARM = '[[filter]]\nname = "warm"\nwhen = "payload.t > 25"\n'


def client(node, name):
    return PahoClient(node, name, user=None, clean=False, SessionExpiryInterval=3600)


def sink(lite, filter="sensors/#", more=""):
    return f'[[sink]]\nname = "lite"\ntype = "sqlite"\nurl = "{lite.url}"\nfilter = "{filter}"\n{more}'


def publish(sender, *payloads, topic="sensors/1"):
    for payload in payloads:
        sender.publish(topic, payload, qos=1)


def test_a_link_takes_what_passes_and_a_reload_changes_that(workdir, running):
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    topic = {"filter": "sensors/#", "when": "payload.t > 25", "changed": "payload.t", "remote_prefix": "site/"}
    local = running(Node(workdir / "local", link("cloud", cloud.port, topic)))
    local.start()
    reader = running(client(cloud, "reader"))
    reader.subscribe("site/#", qos=1)
    sender = running(client(local, "sender"))
    publish(sender, '{"t":20}', '{"t":26}', '{"t":26,"n":2}', '{"t":24}', "warm", '{"t":27}')
    reader.wait_for(2)
    assert reader.payloads() == ['{"t":26}', '{"t":27}']
    # What did not pass does not wait either, and what passes survives a kill.
    cloud.kill()
    publish(sender, '{"t":1}', '{"t":28}', '{"t":28}')
    local.kill()
    local.start()
    cloud.start()
    reader.connect()
    sender.connect()
    until(lambda: '{"t":28}' in reader.payloads())
    local.configure(link("cloud", cloud.port, {"filter": "$filter/warm/sensors/#", "remote_prefix": "site/"}) + WARM)
    local.signal(signal.SIGHUP)
    until(lambda: "bridge cloud: changed" in local.log())
    publish(sender, '{"t":1}', '{"t":30}', '{"t":30,"n":2}')
    until(lambda: '{"t":30,"n":2}' in reader.payloads())
    # What was under way when somebody was killed may come again at QoS 1.
    different = list(dict.fromkeys(reader.payloads()))
    assert different == ['{"t":26}', '{"t":27}', '{"t":28}', '{"t":30}', '{"t":30,"n":2}']
    # The name means something else now; the link itself did not change.
    local.configure(local.file.read_text().removeprefix(local.head).replace("> 25", "< 10"))
    local.signal(signal.SIGHUP)
    until(lambda: local.log().count("reloaded") >= 2)
    publish(sender, '{"t":31}', '{"t":2}')
    until(lambda: '{"t":2}' in reader.payloads())
    assert '{"t":31}' not in reader.payloads()


def test_a_link_sends_at_most_one_message_in_each_time(workdir, running):
    cloud = running(Node(workdir / "cloud"))
    cloud.start()
    local = running(Node(workdir / "local", link("cloud", cloud.port, {"filter": "sensors/#", "every": "2s"})))
    local.start()
    reader = running(client(cloud, "reader"))
    reader.subscribe("#", qos=1)
    publish(running(client(local, "sender")), *map(str, range(50)))
    reader.wait_for(2)
    assert reader.payloads() == ["0", "49"]


def test_a_sink_saves_what_passes_and_a_reload_changes_that(workdir, running):
    lite = Sqlite(workdir)
    lite.start()
    node = running(Node(workdir / "node", sink(lite, more='when = "payload > 10"\nchanged = true\n')))
    node.start()
    until(lambda: "created file" in node.log())
    sender = running(client(node, "sender"))
    publish(sender, "5", "11", "11", "x", "12")
    until(lambda: lite.rows() == {11: 1, 12: 1})
    node.configure(sink(lite, "$filter/warm/sensors/#") + WARM)
    node.signal(signal.SIGHUP)
    until(lambda: "sink lite: changed" in node.log())
    publish(sender, "13", '{"n": 26, "t": 26}', '{"n": 2, "t": 2}')
    until(lambda: lite.rows() == {11: 1, 12: 1, 26: 1})


def test_what_is_wrong_is_said_with_its_line(workdir):
    file = workdir / "cork.toml"

    def check(text):
        file.write_text('[auth]\nallow_anonymous = true\n' + text)
        command = [cork_bin(), "check", file]
        return subprocess.run(command, capture_output=True, text=True, timeout=30)

    wrong = check(link("cloud", 1, {"filter": "#", "when": "payload >"}))
    assert wrong.returncode != 0 and "cork.toml:11: key `bridge.topic.when`: at character 10" in wrong.stderr, wrong
    wrong = check(f'[[sink]]\nname = "a"\ntype = "sqlite"\nurl = "sqlite://a.db"\nfilter = "#"\nevery = "soon"\n')
    assert wrong.returncode != 0 and "cork.toml:8: key `sink.every`" in wrong.stderr, wrong
    right = check(link("cloud", 1, {"filter": "$filter/warm/#"}) + WARM)
    assert right.returncode == 0 and f"what passes `$filter/warm` of `#` to mqtt://{HOST}:1" in right.stdout, right
