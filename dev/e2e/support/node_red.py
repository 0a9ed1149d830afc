"""Node-RED with flows of MQTT nodes: what they receive is in a file, what they send is asked for by HTTP.

It has a directory of its own, listens on the loopback, has no editor, and tells nobody that it runs.
"""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

from broker import HOST, PASSWORD, USER, free_port
from waiting import until

PACKAGE = Path(__file__).resolve().parents[3] / "target/e2e/node-red/node_modules/node-red"
LEVELS = {311: "4", 5: "5"}
START_SECONDS = 60  # two cores, and half a dozen other tests at the same time
# What is kept of a message, as one line of JSON.
KEEP = """
const { topic, payload, qos, retain, contentType, responseTopic, userProperties } = msg;
msg.payload = JSON.stringify({ topic, payload, qos, retain, contentType, responseTopic, userProperties });
return msg;
"""
# What a status node says of its nodes: connecting, connected, disconnected.
STATE = 'msg.payload = JSON.stringify({ node: msg.status.source.id, state: msg.status.text.split(".").pop() }); return msg;'
SEND = "Object.assign(msg, msg.payload); return msg;"


def node(id, type, *wires, **keys):
    return {"id": id, "type": type, "z": "flow", "x": 0, "y": 0, "wires": [list(wires)] if wires else [], **keys}


def broker_node(broker, version, client_id, **keys):
    """The configuration of a connection; `keys` are what its dialog asks for, such as `willTopic`."""
    return {
        "id": "broker", "type": "mqtt-broker", "name": "", "broker": HOST, "port": str(broker.port), "clientid": client_id,
        "autoConnect": True, "usetls": False, "protocolVersion": LEVELS[version], "keepalive": "60", "cleansession": True,
        "autoUnsubscribe": True, **keys,
    }


def flow(connection, *filters, qos=1):
    """One mqtt-in node for each filter, `in0`, `in1`, ..., and one mqtt-out node that does what POST /send asks for."""
    readers = [
        node(f"in{number}", "mqtt in", "keep", topic=topic, qos=str(qos), datatype="auto-detect", broker="broker", inputs=0)
        for number, topic in enumerate(filters)
    ]
    return [
        {"id": "flow", "type": "tab", "label": "flow", "disabled": False, "info": ""},
        connection,
        *readers,
        node("keep", "function", "seen", func=KEEP, outputs=1),
        node("seen", "file", filename="seen", filenameType="str", appendNewline=True, createDir=False, overwriteFile="false"),
        node("status", "status", "state", scope=[one["id"] for one in readers] + ["out"]),
        node("state", "function", "states", func=STATE, outputs=1),
        node("states", "file", filename="states", filenameType="str", appendNewline=True, createDir=False, overwriteFile="false"),
        node("post", "http in", "spread", url="/send", method="post"),
        node("spread", "function", "out", "done", func=SEND, outputs=1),
        node("out", "mqtt out", topic="", qos="", retain="", broker="broker"),
        node("done", "http response", statusCode="200"),
    ]


class NodeRed:
    """One Node-RED process with one flow."""

    def __init__(self, directory, nodes, *, user=USER, password=PASSWORD):
        self.directory, self.port, self.child = Path(directory), free_port(), None
        self.directory.mkdir(parents=True)
        self._write("flows.json", nodes)
        self._write("flows_cred.json", {"broker": {"user": user, "password": password}})
        settings = {
            "uiHost": HOST, "uiPort": self.port, "flowFile": "flows.json", "credentialSecret": False, "disableEditor": True,
            "mqttReconnectTime": 300, "telemetry": {"enabled": False, "updateNotification": False},
            "externalModules": {"autoInstall": False, "palette": {"allowInstall": False, "allowUpdate": False}},
            "logging": {"console": {"level": "info", "metrics": False, "audit": False}},
        }
        (self.directory / "settings.js").write_text(f"module.exports = {json.dumps(settings)};\n")

    def _write(self, name, value):
        (self.directory / name).write_text(json.dumps(value))

    def start(self):
        """Returns when all of its MQTT nodes are connected."""
        self.launch()
        until(lambda: set(self.states().values()) == {"connected"}, START_SECONDS, "Node-RED's connection")
        return self

    def launch(self):
        """Returns when its flow runs."""
        (self.directory / "states").unlink(missing_ok=True)
        program = [os.environ["E2E_NODE"], str(PACKAGE / "red.js"), "--no-telemetry", "--userDir", str(self.directory)]
        environment = os.environ | {"NODE_RED_DISABLE_TELEMETRY": "1", "HOME": str(self.directory)}
        with open(self.directory / "log", "ab") as log:
            self.child = subprocess.Popen(
                program, cwd=self.directory, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until(lambda: "Started flows" in self.log() or self.child.poll() is not None, START_SECONDS, "Node-RED")
        assert self.child.poll() is None, self.log()
        return self

    def log(self):
        return (self.directory / "log").read_text()

    def _lines(self, name):
        path = self.directory / name
        return [json.loads(line) for line in path.read_text().splitlines(True) if line.endswith("\n")] if path.exists() else []

    def states(self):
        """The last state of each MQTT node."""
        return {line["node"]: line["state"] for line in self._lines("states")}

    def seen(self):
        """Everything the mqtt-in nodes gave so far."""
        return self._lines("seen")

    def wait_for(self, count):
        return until(lambda: len(self.seen()) >= count and self.seen(), what=f"message {count} of Node-RED; it has {self.seen()}")

    def send(self, topic, payload, **more):
        """Has the mqtt-out node publish."""
        body = json.dumps({"topic": topic, "payload": payload, **more}).encode()
        request = urllib.request.Request(f"http://{HOST}:{self.port}/send", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def kill(self):
        """SIGKILL: no node says goodbye."""
        self.child.kill()
        self.child.wait()

    def stop(self):
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
