"""Home Assistant's MQTT integration, unchanged, against the real binary: 3.1.1 and 5.0, with user and password.

`dev/e2e/run --homeassistant` runs this. One evening for each version: the tests follow each other in one house.
"""

import json

import pytest

from broker import PASSWORD, USER, Cork
from home_assistant import HomeAssistant
from paho_client import PahoClient
from waiting import until

BASE, STATUS = "kitchen", "kitchen/status"
DEVICE = {"identifiers": ["kitchen-1"], "name": "Kitchen"}
COMMON = {"availability_topic": STATUS, "device": DEVICE}
SENSOR = COMMON | {
    "name": "Temperature", "unique_id": "kitchen-temperature", "object_id": "kitchen_temperature",
    "state_topic": f"{BASE}/climate", "value_template": "{{ value_json.temperature }}", "unit_of_measurement": "°C",
    "device_class": "temperature",
}
SWITCH = COMMON | {
    "name": "Lamp", "unique_id": "kitchen-lamp", "object_id": "kitchen_lamp",
    "command_topic": f"{BASE}/lamp/set", "state_topic": f"{BASE}/lamp", "qos": 1,
}
NOISY = {
    "name": "Noise", "unique_id": "kitchen-noise", "object_id": "kitchen_noise", "state_topic": f"{BASE}/noise", "device": DEVICE,
}
TEMPERATURE, LAMP, NOISE = "sensor.kitchen_temperature", "switch.kitchen_lamp", "sensor.kitchen_noise"
ATTACHED = f"""
[[attach]]
client_id = "home-assistant"
topic = "{BASE}/noise"
deadband = 1
"""


class House:
    """A broker, a device with a last will, and Home Assistant."""

    def __init__(self, directory, password_file, version):
        self.version, self.broker = version, Cork(directory, password_file, after=ATTACHED)
        self.broker.start()
        self.device = self.person("kitchen-1", will={"topic": STATUS, "payload": "offline", "qos": 1, "retain": True})
        self.device.subscribe(f"{BASE}/lamp/set")
        for kind, name, config in [("sensor", "temperature", SENSOR), ("switch", "lamp", SWITCH), ("sensor", "noise", NOISY)]:
            self.device.publish(f"homeassistant/{kind}/kitchen/{name}/config", json.dumps(config), retain=True)
        self.watcher = self.person("watcher")
        self.watcher.subscribe("homeassistant/status")
        self.assistant = HomeAssistant(directory / "assistant").start()

    def person(self, name, **options):
        return PahoClient(self.broker, name, version=self.version, **options)

    def stop(self):
        self.assistant.stop()
        self.device.close()
        self.watcher.close()
        self.broker.stop()


@pytest.fixture(scope="module", params=[311, 5], ids=["3.1.1", "5.0"])
def house(request, tmp_path_factory, password_file):
    made = House(tmp_path_factory.mktemp("house"), password_file, request.param)
    yield made
    made.stop()


def test_a_wrong_password_is_told_and_the_right_one_lets_it_in(house):
    protocol = {311: "3.1.1", 5: "5"}[house.version]
    refused = house.assistant.add_mqtt(house.broker, protocol, USER, "wrong horse")
    assert refused["errors"] == {"base": "cannot_connect"}
    assert house.assistant.add_mqtt(house.broker, protocol, USER, PASSWORD)["type"] == "create_entry"
    house.watcher.wait_for(1, timeout=30)
    assert house.watcher.payloads() == ["online"], "its birth message"
    spoken = {311: "3.1.1", 5: "5.0"}[house.version]
    until(lambda: f'client="home-assistant" user="{USER}"' in house.broker.log())
    line = [line for line in house.broker.log().splitlines() if 'client="home-assistant"' in line][-1]
    assert f"version={spoken} " in line


def test_a_device_is_discovered_by_its_retained_configuration(house):
    house.assistant.wait_for(TEMPERATURE, "unavailable")
    house.device.publish(STATUS, "online", retain=True)
    house.assistant.wait_for(TEMPERATURE, "unknown")
    house.device.publish(f"{BASE}/climate", '{"temperature": 21.5}')
    house.assistant.wait_for(TEMPERATURE, "21.5")
    shown = house.assistant.call("GET", f"api/states/{TEMPERATURE}")["attributes"]
    assert shown["unit_of_measurement"] == "°C"


def test_a_switch_sends_its_command_and_follows_the_state(house):
    for word, state in [("turn_on", "on"), ("turn_off", "off")]:
        house.assistant.call("POST", f"api/services/switch/{word}", {"entity_id": LAMP})
        message = until(lambda: [one for one in house.device.received if one.payload == state.upper().encode()])[0]
        assert (message.topic, message.qos, message.retain) == (f"{BASE}/lamp/set", 1, False)
        house.device.publish(f"{BASE}/lamp", message.payload, retain=True)
        house.assistant.wait_for(LAMP, state)


def test_an_attached_deadband_spares_it_small_changes(house):
    for value in ("40", "40.5", "39.6"):
        house.device.publish(f"{BASE}/noise", value)
    house.device.publish(f"{BASE}/climate", '{"temperature": 22}')
    house.assistant.wait_for(TEMPERATURE, "22")
    assert house.assistant.state(NOISE) == "40"
    house.device.publish(f"{BASE}/noise", "41.5")
    house.assistant.wait_for(NOISE, "41.5")


def test_the_will_of_a_device_makes_it_unavailable(house):
    house.device.cut()
    house.assistant.wait_for(TEMPERATURE, "unavailable")
    assert house.assistant.state(LAMP) == "unavailable"
    house.device.connect()
    house.device.publish(STATUS, "online", retain=True)
    house.device.publish(f"{BASE}/climate", '{"temperature": 20}')
    house.assistant.wait_for(TEMPERATURE, "20")
    house.assistant.wait_for(LAMP, "off")


def test_it_comes_back_after_a_restart_of_the_broker(house):
    house.broker.signal(9)
    house.broker.wait()
    until(lambda: house.assistant.state(TEMPERATURE) == "unavailable", 30)
    house.broker.start()
    house.device.connect()
    house.device.publish(STATUS, "online", retain=True)
    house.assistant.wait_for(LAMP, "off")
    house.device.publish(f"{BASE}/climate", '{"temperature": 19}')
    house.assistant.wait_for(TEMPERATURE, "19")


def test_its_own_will_is_sent_when_it_is_killed(house):
    house.watcher.connect()
    house.watcher.subscribe("homeassistant/status")
    house.assistant.kill()
    until(lambda: house.watcher.payloads()[-1] == "offline", 30)
    house.assistant.start()
    until(lambda: house.watcher.payloads()[-1] == "online", 120)
    house.assistant.wait_for(LAMP, "off")
