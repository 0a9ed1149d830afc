// MQTT.js as a peer in the end-to-end tests: runs one scenario against a broker and prints what it saw as JSON.
//
//   node peer.cjs '{"scenario": "qos2", "url": "mqtt://127.0.0.1:1883", "version": 5, "user": "...", "password": "..."}'
//
// The scenarios only report; what is right is decided by the Python tests that call them.
'use strict'

const crypto = require('node:crypto')
const fs = require('node:fs')
const mqtt = require('mqtt')

const job = JSON.parse(process.argv[2])
const ca = fs.readFileSync(job.ca)
const GIVE_UP_MS = 30_000

const PROTOCOLS = {
  31: { protocolId: 'MQIsdp', protocolVersion: 3 },
  311: { protocolId: 'MQTT', protocolVersion: 4 },
  5: { protocolId: 'MQTT', protocolVersion: 5 },
}

/** A connected client that remembers its messages in `seen`; `seen.wait(n)` resolves when there are n. */
async function connect(name, options = {}) {
  const client = mqtt.connect(job.url, {
    ...PROTOCOLS[job.version],
    clientId: name,
    username: job.user,
    password: job.password,
    reconnectPeriod: 0,
    ca,
    wsOptions: { ca },
    ...options,
  })
  const seen = []
  seen.wait = async (count) => {
    while (seen.length < count) await new Promise((resolve) => client.once('seen', resolve))
  }
  client.on('message', (topic, payload, packet) => {
    seen.push({
      topic,
      bytes: payload.length,
      text: payload.length < 100 ? payload.toString() : null,
      sha256: crypto.createHash('sha256').update(payload).digest('hex'),
      qos: packet.qos,
      retain: packet.retain,
      properties: packet.properties ?? {},
    })
    client.emit('seen')
  })
  client.seen = seen
  const connack = await new Promise((resolve, reject) => {
    client.once('connect', resolve)
    client.once('error', reject)
    client.once('close', () => reject(new Error('closed before CONNACK')))
  })
  client.sessionPresent = connack.sessionPresent
  client.on('error', () => {})
  return client
}

/** Options of a session that outlives its connection. */
const lasting = () =>
  job.version === 5 ? { clean: false, properties: { sessionExpiryInterval: 3600 } } : { clean: false }

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds))

const scenarios = {
  async qos2() {
    const reader = await connect('reader')
    const granted = await reader.subscribeAsync({ 'a/0': { qos: 0 }, 'a/1': { qos: 1 }, 'a/2': { qos: 2 } })
    const writer = await connect('writer')
    for (let number = 0; number < 100; number++) await writer.publishAsync(`a/${number % 3}`, String(number), { qos: 2 })
    await reader.seen.wait(100)
    await pause(100)
    return { granted: granted.map((one) => one.qos), seen: reader.seen }
  },

  async retained() {
    const writer = await connect('writer')
    await writer.publishAsync('state/kept', 'old', { qos: 1, retain: true })
    await writer.publishAsync('state/kept', 'new', { qos: 1, retain: true })
    await writer.publishAsync('state/gone', 'x', { qos: 1, retain: true })
    await writer.publishAsync('state/gone', '', { qos: 1, retain: true })
    const reader = await connect('reader')
    await reader.subscribeAsync('state/#', { qos: 1 })
    await reader.seen.wait(1)
    await pause(100)
    return { seen: reader.seen }
  },

  async will() {
    const reader = await connect('reader')
    await reader.subscribeAsync('status', { qos: 1 })
    const device = await connect('device', {
      will: { topic: 'status', payload: Buffer.from('offline'), qos: 1, retain: true },
    })
    await device.publishAsync('status', 'online', { qos: 1, retain: true })
    device.stream.destroy()
    await reader.seen.wait(2)
    const late = await connect('late')
    await late.subscribeAsync('status', { qos: 1 })
    await late.seen.wait(1)
    return { seen: reader.seen, late: late.seen }
  },

  async big() {
    const payload = crypto.randomBytes(1024 * 1024)
    const reader = await connect('reader')
    await reader.subscribeAsync('big', { qos: 2 })
    const writer = await connect('writer')
    for (const qos of [0, 1, 2]) await writer.publishAsync('big', payload, { qos })
    await reader.seen.wait(3)
    return { sha256: crypto.createHash('sha256').update(payload).digest('hex'), seen: reader.seen }
  },

  async session() {
    const first = await connect('visitor', lasting())
    await first.subscribeAsync('a', { qos: 1 })
    first.stream.destroy()
    const writer = await connect('writer')
    for (let number = 0; number < 200; number++) await writer.publishAsync('a', String(number), { qos: 1 })
    const second = await connect('visitor', lasting())
    await second.seen.wait(200)
    await pause(100)
    return { present: [first.sessionPresent, second.sessionPresent], seen: second.seen }
  },

  async reconnect() {
    const reader = await connect('visitor', { ...lasting(), reconnectPeriod: 50 })
    await reader.subscribeAsync('a', { qos: 1 })
    const again = new Promise((resolve) => reader.once('connect', resolve))
    reader.stream.destroy()
    const writer = await connect('writer')
    await writer.publishAsync('a', 'while away or just back', { qos: 1 })
    const connack = await again
    await reader.seen.wait(1)
    return { present: connack.sessionPresent, seen: reader.seen }
  },

  async refused() {
    try {
      await connect('mallory', { password: 'wrong horse' })
    } catch (error) {
      return { code: error.code ?? null, message: error.message }
    }
    return { code: 0 }
  },

  async properties() {
    const reader = await connect('reader')
    await reader.subscribeAsync('a', { qos: 1, properties: { subscriptionIdentifier: 17 } })
    const writer = await connect('writer')
    const properties = {
      payloadFormatIndicator: true,
      contentType: 'text/plain',
      responseTopic: 'answers',
      correlationData: Buffer.from('abc'),
      userProperties: { one: ['1', '2'], two: '3' },
      messageExpiryInterval: 100,
    }
    await writer.publishAsync('a', 'x', { qos: 1, properties })
    await reader.seen.wait(1)
    const got = reader.seen[0].properties
    got.correlationData = got.correlationData.toString()
    return { properties: got }
  },
}

setTimeout(() => {
  console.error(`scenario ${job.scenario} did not end in ${GIVE_UP_MS} ms`)
  process.exit(2)
}, GIVE_UP_MS).unref()

scenarios[job.scenario]().then(
  (result) => process.stdout.write(JSON.stringify(result), () => process.exit(0)),
  (error) => {
    console.error(error)
    process.exit(1)
  },
)
