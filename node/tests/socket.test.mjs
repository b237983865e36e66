// The rules of the socket that drivers get, one by one, against an instance that echoes.

import assert from 'node:assert/strict'
import { AsyncLocalStorage } from 'node:async_hooks'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readdirSync, readlinkSync } from 'node:fs'
import { Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { Connector } from 'iamsql'

import { native } from '../dist/native.js'
import { tunnel } from '../dist/socket.js'
import { useEmulator } from './emulator.mjs'

const connectors = []
const emulator = useEmulator(undefined, async () => connectors.forEach((connector) => connector.close()))

async function streams(spec, options) {
  const instance = await emulator.instance(spec)
  const connector = new Connector({ emulatorHost: emulator.host })
  connectors.push(connector)
  const { stream } = await connector.getOptions({ instanceConnectionName: instance, ...options })
  return { instance, connector, stream }
}

async function failure(socket) {
  const [error] = await once(socket, 'error')
  return error
}

test('the factory gives a socket at once, connecting, that has contacted nobody', async () => {
  const { instance, stream } = await streams()
  const socket = stream()
  assert.ok(socket instanceof Socket)
  assert.deepEqual([socket.connecting, socket.pending, socket.readyState], [true, true, 'opening'])
  await sleep(400)
  assert.deepEqual(await emulator.sessions(instance), [])
  socket.destroy()
})

for (const [use, start] of [
  ['connect()', (socket) => socket.connect(5432, 'ignored.example')],
  ['the first read', (socket) => socket.resume()],
  ['the first write', (socket) => socket.write('x')],
]) {
  test(`it dials on ${use}; 'connect' comes once TLS is up, then 'ready'`, async () => {
    const { instance, stream } = await streams()
    const socket = stream()
    await sleep(400)
    const seen = []
    for (const event of ['connect', 'ready', 'close']) socket.on(event, () => seen.push(event))
    start(socket)
    assert.equal(socket.connecting, true)
    await once(socket, 'ready')
    assert.deepEqual([socket.connecting, socket.pending, socket.readyState], [false, false, 'open'])
    assert.deepEqual(seen, ['connect', 'ready'])
    await emulator.until(instance, ([session]) => session?.authenticated)
    socket.destroy()
    await once(socket, 'close')
    await emulator.until(instance, (sessions) => sessions.every((session) => !session.open))
  })
}

test('its events see the async context of whoever made it dial', async () => {
  const { stream } = await streams()
  const context = new AsyncLocalStorage()
  const socket = stream()
  const seen = new Promise((resolve) => socket.once('connect', () => resolve(context.getStore())))
  context.run('the caller', () => socket.connect())
  assert.equal(await seen, 'the caller')
  socket.destroy()
})

test('connect() calls its callback and may be called again without dialing again', async () => {
  const { instance, stream } = await streams()
  const socket = stream()
  await new Promise((resolve) => socket.connect({ port: 1 }, resolve).connect(2))
  assert.equal((await emulator.sessions(instance)).length, 1)
  socket.destroy()
})

test('what is written before TLS is up arrives, in order', async () => {
  const { stream } = await streams()
  const socket = stream()
  socket.setEncoding('utf8')
  socket.write('one ')
  socket.write('two ')
  socket.connect()
  socket.write('three')
  let text = ''
  for await (const chunk of socket) {
    text += chunk
    if (text.length === 'one two three'.length) break
  }
  assert.equal(text, 'one two three')
})

test('each call of the factory gives a connection of its own', async () => {
  const { instance, stream } = await streams()
  const sockets = [stream().connect(), stream().connect()]
  await Promise.all(sockets.map((socket) => once(socket, 'connect')))
  assert.equal((await emulator.sessions(instance)).length, 2)
  sockets.forEach((socket) => socket.destroy())
})

test('a refused port is destroy(err) with the system code, whatever was written meanwhile', async () => {
  const { instance, stream } = await streams()
  const clear = await emulator.fault({ endpoint: 'tcp', effect: { kind: 'refuse' }, instance })
  const socket = stream().connect()
  const written = new Promise((resolve) => socket.write(randomBytes(100_000), resolve))
  const closed = new Promise((resolve) => socket.once('close', resolve))
  const error = await failure(socket)
  assert.equal(error.code, 'ECONNREFUSED')
  assert.equal(error.iamsqlCode, 'IAMSQL_NETWORK')
  assert.equal(error.retryable, true)
  assert.ok(error.errno < 0)
  assert.match(error.advice, /port 3307/)
  assert.match(error.message, new RegExp(instance))
  assert.ok((await written) instanceof Error)
  assert.equal(await closed, true)
  assert.equal(socket.destroyed, true)
  await clear()
})

test('a socket of a closed connector fails when it is used, not before', async () => {
  const { connector, stream } = await streams()
  connector.close()
  const socket = stream()
  await sleep(50)
  assert.equal(socket.destroyed, false)
  socket.write('x')
  const error = await failure(socket)
  assert.equal(error.code, 'ERRCLOSED')
  assert.equal(error.iamsqlCode, 'IAMSQL_CLOSED')
  assert.match(error.message, /^The connector was closed\./)
})

test('closing the connector ends a dial in flight and leaves an open connection', async () => {
  const { instance, connector, stream } = await streams()
  const open = stream().connect()
  await once(open, 'connect')
  const clear = await emulator.fault({ endpoint: 'tls', effect: { kind: 'hang' }, instance })
  const dialing = stream().connect()
  await emulator.until(instance, (sessions) => sessions.length === 2)
  connector.close()
  assert.equal((await failure(dialing)).code, 'ERRCLOSED')
  open.write('still here')
  assert.equal(String((await once(open, 'data'))[0]), 'still here')
  open.destroy()
  await clear()
})

test('destroying a socket ends its dial, without an error', { skip: process.platform !== 'linux' }, async () => {
  const { instance, stream } = await streams()
  const clear = await emulator.fault({ endpoint: 'tls', effect: { kind: 'hang' }, instance })
  const before = await settled(descriptors)
  const socket = stream().connect()
  await emulator.until(instance, (sessions) => sessions.length === 1)
  assert.ok(descriptors() >= before + 3)
  socket.destroy()
  assert.deepEqual(await once(socket, 'close'), [false])
  assert.equal(await settled(descriptors), before)
  await clear()
})

test('a dial that never ends fails with ETIMEDOUT at its deadline', async () => {
  const { instance, stream } = await streams({}, { timeoutMs: 400 })
  const clear = await emulator.fault({ endpoint: 'tls', effect: { kind: 'hang' }, instance })
  const started = Date.now()
  const error = await failure(stream().connect())
  assert.equal(error.code, 'ETIMEDOUT')
  assert.equal(error.iamsqlCode, 'IAMSQL_TIMEOUT')
  assert.ok(Date.now() - started < 10_000)
  await clear()
})

test('socket options may be set in every phase, and return the socket', async () => {
  const { stream } = await streams()
  const socket = stream()
  const set = () => {
    for (const call of [
      () => socket.setNoDelay(true),
      () => socket.setKeepAlive(true, 1_000),
      () => socket.setTimeout(60_000),
      () => socket.unref(),
      () => socket.ref(),
    ]) {
      assert.equal(call(), socket)
    }
  }
  set()
  socket.connect()
  set()
  await once(socket, 'connect')
  set()
  socket.destroy()
  set()
})

test('end() sends what was written, then half-closes; the answer still arrives', async () => {
  const { stream } = await streams()
  const socket = stream()
  const sent = randomBytes(1 << 20)
  socket.end(sent)
  const received = await hashed(socket)
  assert.equal(received, createHash('sha256').update(sent).digest('hex'))
})

test('end() on a socket that was never used closes it and dials nobody', async () => {
  const { instance, stream } = await streams()
  const socket = stream().end()
  assert.deepEqual(await once(socket, 'close'), [false])
  assert.deepEqual(await emulator.sessions(instance), [])
})

test('a slow reader stops the writer, and every byte arrives', { timeout: 60_000 }, async () => {
  const { stream } = await streams()
  const socket = stream().connect()
  await once(socket, 'connect')
  const sent = createHash('sha256')
  let paused = false
  const writing = (async () => {
    for (let block = 0; block < 256; block++) {
      const bytes = randomBytes(64 << 10)
      sent.update(bytes)
      if (!socket.write(bytes)) {
        paused = true
        await once(socket, 'drain')
      }
    }
    socket.end()
  })()
  await sleep(500)
  assert.equal(paused, true)
  const received = await hashed(socket)
  await writing
  assert.equal(received, sent.digest('hex'))
})

test('a connection that is cut is an error with its reason', async () => {
  const { instance, stream } = await streams()
  const clear = await emulator.fault({ endpoint: 'tls', effect: { kind: 'reset_after', bytes: 4 }, instance })
  const socket = stream()
  const closed = new Promise((resolve) => socket.once('close', resolve))
  const lost = failure(socket)
  socket.resume().write('more than four bytes')
  const error = await lost
  assert.deepEqual([error.code, error.iamsqlCode], ['ECONNRESET', 'IAMSQL_NETWORK'])
  assert.match(error.message, /the connection to the instance was lost/)
  assert.equal(await closed, true)
  await clear()
})

test('a client certificate that is refused late is replaced, and the first bytes are sent again', async () => {
  const { instance, stream } = await streams()
  await emulator.fault({ endpoint: 'tls', effect: { kind: 'refuse_certificate' }, instance, times: 1 })
  const socket = stream().connect()
  socket.write('hello')
  assert.equal(String((await once(socket, 'data'))[0]), 'hello')
  assert.equal((await emulator.sessions(instance)).length, 2)
  socket.destroy()
})

test('a server that is another instance is refused before anything is sent', async () => {
  const { instance, stream } = await streams({ certificate: 'wrong_name' })
  const socket = stream()
  socket.write('secret')
  const error = await failure(socket)
  assert.equal(error.iamsqlCode, 'IAMSQL_TLS')
  const [session] = await emulator.sessions(instance)
  assert.deepEqual([session.certificate_seen, session.received], [false, 0])
})

test('streams are never mixed up, nor leaked when Node cannot adopt one', { timeout: 120_000, skip: process.platform !== 'linux' }, async () => {
  const { instance } = await streams()
  const engine = new (native().Connector)({ emulatorHost: emulator.host })
  const before = await settled(descriptors)
  const echo = (number) =>
    new Promise((resolve, reject) => {
      const spoilt = number % 5 === 0
      const socket = tunnel(() => {
        const pair = engine.pair(instance, {})
        return spoilt ? new Proxy(pair, { get: (_, name) => (name === 'fd' ? -1 : pair[name].bind(pair)) }) : pair
      })
      socket.once('error', (error) => (spoilt ? resolve(1) : reject(error)))
      socket.once('data', (data) => {
        socket.destroy()
        String(data) === `stream ${number}` ? resolve(0) : reject(new Error(`${number} heard ${data}`))
      })
      socket.write(`stream ${number}`)
    })
  let failures = 0
  for (let start = 0; start < 500; start += 50) {
    const numbers = Array.from({ length: 50 }, (_, index) => start + index)
    for (const failed of await Promise.all(numbers.map(echo))) failures += failed
  }
  assert.equal(failures, 100)
  engine.close()
  // Each server that says goodbye late is waited for by itself.
  for (let tries = 0; descriptors() > before && tries < 400; tries++) await sleep(50)
  assert.ok(descriptors() <= before, `${descriptors()} sockets after, ${before} before`)
})

/** How many sockets this process holds. */
function descriptors() {
  const links = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`)
    } catch {
      return ''
    }
  })
  return links.filter((link) => link.startsWith('socket:')).length
}

/** The count once it has stayed the same for half a second, since earlier sockets may still be closing. */
async function settled(count) {
  let last = count()
  for (let same = 0; same < 10; ) {
    await sleep(50)
    const now = count()
    same = now === last ? same + 1 : 0
    last = now
  }
  return last
}

async function hashed(socket) {
  const hash = createHash('sha256')
  for await (const chunk of socket) hash.update(chunk)
  return hash.digest('hex')
}
