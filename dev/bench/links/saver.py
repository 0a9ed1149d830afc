"""What every tutorial ends with: subscribe, and save each message in `on_message`. `saver.py KIND URL TABLE PORT`"""

import json
import sqlite3
import sys

import paho.mqtt.client as paho
import psycopg
import pymongo

CREATE = "CREATE TABLE {} (topic text, payload {}, time {})"


def postgresql(url, table):
    connection = psycopg.connect(url)
    connection.execute(CREATE.format(table, "jsonb", "timestamptz DEFAULT now()"))
    connection.commit()

    def save(topic, payload):
        connection.execute(f"INSERT INTO {table} (topic, payload) VALUES (%s, %s)", (topic, payload))
        connection.commit()

    return save


def mongodb(url, table):
    collection = pymongo.MongoClient(url)["cork"][table]
    return lambda topic, payload: collection.insert_one({"topic": topic, **json.loads(payload)})


def sqlite(url, table):
    connection = sqlite3.connect(url, check_same_thread=False)
    connection.execute(CREATE.format(table, "text", "text DEFAULT current_timestamp"))
    connection.commit()

    def save(topic, payload):
        connection.execute(f"INSERT INTO {table} (topic, payload) VALUES (?, ?)", (topic, payload))
        connection.commit()

    return save


kind, url, table, port = sys.argv[1:]
save = {"postgresql": postgresql, "mongodb": mongodb, "sqlite": sqlite}[kind](url, table)
client = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="saver")
client.on_connect = lambda client, *_: client.subscribe("bench/#", qos=1)
client.on_subscribe = lambda *_: print("ready", flush=True)
client.on_message = lambda _client, _data, message: save(message.topic, message.payload.decode())
client.connect("127.0.0.1", int(port))
client.loop_forever()
