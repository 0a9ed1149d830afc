"""Home Assistant with a configuration of its own, driven as its pages drive it: by its HTTP API."""

import json
import os
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from broker import HOST, free_port
from waiting import until

START_SECONDS = 120
CONFIGURATION = """
homeassistant:
  name: Home
  latitude: 0
  longitude: 0
  elevation: 0
  unit_system: metric
  time_zone: UTC
  country: DE
http:
  server_host: {host}
  server_port: {port}
api:
config:
logger:
  default: info
"""


class HomeAssistant:
    """One process with an owner, who is made at the first start."""

    def __init__(self, directory):
        self.directory, self.port, self.child, self._token = Path(directory), free_port(), None, None
        self.directory.mkdir(parents=True)
        (self.directory / "configuration.yaml").write_text(CONFIGURATION.format(host=HOST, port=self.port))

    def start(self):
        program = [os.environ["E2E_HOMEASSISTANT"], "-c", str(self.directory), "--skip-pip", "--log-no-color"]
        with open(self.directory / "log", "ab") as log:
            self.child = subprocess.Popen(
                program, cwd=self.directory, env=os.environ | {"HOME": str(self.directory)}, stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )
        until(self._answers, START_SECONDS, "Home Assistant")
        if self._token is None:
            self._make_owner()
        return self

    def _answers(self):
        assert self.child.poll() is None, self.log()[-3000:]
        try:
            return self.call("GET", "api/onboarding")
        except (urllib.error.URLError, ConnectionError):
            return None

    def _make_owner(self):
        client = f"http://{HOST}:{self.port}/"
        owner = {"name": "Ann", "username": "ann", "password": "of the house", "client_id": client, "language": "en"}
        code = self.call("POST", "api/onboarding/users", owner)["auth_code"]
        wish = urllib.parse.urlencode({"client_id": client, "grant_type": "authorization_code", "code": code}).encode()
        self._token = self.call("POST", "auth/token", wish)["access_token"]

    def call(self, method, path, body=None):
        """A request of the API; what it answers."""
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        if body is not None and not isinstance(body, bytes):
            body, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = urllib.request.Request(f"http://{HOST}:{self.port}/{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())

    def add_mqtt(self, broker, protocol, user, password):
        """Walks through the dialog that adds the integration; returns its last answer."""
        flows = "api/config/config_entries/flow"
        flow = self.call("POST", flows, {"handler": "mqtt", "show_advanced_options": True})["flow_id"]
        basic = {"broker": HOST, "port": broker.port, "username": user, "password": password}
        self.call("POST", f"{flows}/{flow}", basic | {"advanced_options": True})
        return self.call("POST", f"{flows}/{flow}", basic | {"protocol": protocol, "client_id": "home-assistant"})

    def state(self, entity):
        """The state of an entity, or None while there is no such."""
        try:
            return self.call("GET", f"api/states/{entity}")["state"]
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            return None

    def wait_for(self, entity, state):
        until(lambda: self.state(entity) == state, 30, f"{entity} = {state}")

    def log(self):
        return (self.directory / "log").read_text(errors="replace")

    def kill(self):
        """SIGKILL: it says goodbye to nobody."""
        self.child.kill()
        self.child.wait()

    def stop(self):
        if self.child is not None and self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
