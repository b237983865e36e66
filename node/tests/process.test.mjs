// The process: it ends by itself when nothing is left to do, survives worker threads, and loads either way.

import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { test } from 'node:test'

import { DATABASE, DEMO, useEmulator } from './emulator.mjs'

const emulator = useEmulator()

/** Runs a module in a process of its own, which has 30 s to end by itself; gives what it printed. */
function run(source, env = {}) {
  const child = spawn(process.execPath, ['--input-type=module', '--eval', source], {
    cwd: new URL('.', import.meta.url),
    env: { ...process.env, IAMSQL_EMULATOR_HOST: emulator.host, DEMO, DATABASE, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const printed = { stdout: '', stderr: '' }
  for (const stream of ['stdout', 'stderr']) child[stream].setEncoding('utf8').on('data', (text) => (printed[stream] += text))
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => {
      child.kill('SIGKILL')
      reject(new Error(`still running after 30 s: ${printed.stdout}${printed.stderr}`))
    }, 30_000)
    child.once('close', (code, signal) => {
      clearTimeout(limit)
      if (code === 0 && printed.stderr.replace(EMULATED, '') === '') resolve(printed.stdout.trim())
      else reject(new Error(`ended with ${code ?? signal}: ${printed.stderr}`))
    })
  })
}

/** The engine's one warning that an emulator is in use. */
const EMULATED = /^\(node:\d+\) IamsqlWarning: an emulator stands in for Google Cloud .*\n\(Use .*\n/

const CONNECTOR = `
  import { once } from 'node:events'
  import { Connector } from 'iamsql'
  const connector = new Connector()
  const { stream } = await connector.getOptions({ instanceConnectionName: process.env.INSTANCE ?? process.env.DEMO, authType: 'IAM' })
`

for (const [situation, source] of [
  ['after getOptions()', ''],
  ['with a socket that was never used', 'stream()'],
  ['after a socket was ended', `const socket = stream().connect(); await once(socket, 'connect'); socket.end()`],
  ['with an open socket that is unref’d', `const socket = stream().connect(); await once(socket, 'connect'); socket.unref()`],
  ['with a socket that was unref’d before it dialed', `stream().unref().connect()`],
]) {
  test(`the process exits by itself ${situation}`, async () => {
    await run(`${CONNECTOR}; ${source}`)
  })
}

test('a socket that is dialing keeps the process alive, unless it is unref’d', async () => {
  const instance = await emulator.instance()
  const clear = await emulator.fault({ endpoint: 'tls', effect: { kind: 'hang' }, instance })
  const dial = (more) => `${CONNECTOR}; const started = Date.now(); const socket = stream().connect()
    socket.on('error', (error) => console.log(error.code)); process.on('exit', () => console.log(Date.now() - started < 2_500)); ${more}`
  const env = { INSTANCE: instance }
  assert.equal(await run(dial('').replace('authType', 'timeoutMs: 4_000, authType'), env), 'ETIMEDOUT\nfalse')
  assert.equal(await run(dial('socket.unref()').replace('authType', 'timeoutMs: 4_000, authType'), env), 'true')
  await clear()
})

test('a Pool with allowExitOnIdle lets the process exit', async () => {
  const printed = await run(`
    import { Connector } from 'iamsql'
    import pg from 'pg'
    const connector = new Connector()
    const instanceConnectionName = process.env.DEMO
    const pool = new pg.Pool({
      ...await connector.getOptions({ instanceConnectionName, authType: 'IAM' }),
      user: await connector.user({ instanceConnectionName }),
      database: process.env.DATABASE,
      allowExitOnIdle: true,
    })
    console.log((await pool.query('SELECT 1 AS one')).rows[0].one)
  `)
  assert.equal(printed, '1')
})

test('process.exit() in the middle of everything exits cleanly', async () => {
  const instance = await emulator.instance()
  await run(`${CONNECTOR}
    const open = stream().connect(); await once(open, 'connect')
    const busy = stream(); busy.write(Buffer.alloc(1 << 22)); busy.resume()
    connector.getOptions({ instanceConnectionName: 'your-project-id:us-central1:nobody' }).catch(() => {})
    stream().connect()
    process.exit(0)`, { INSTANCE: instance })
})

test('worker threads connect, end in the middle of a dial, and leave the others alone', async () => {
  const instance = await emulator.instance()
  const slow = await emulator.instance()
  await emulator.fault({ endpoint: 'tls', effect: { kind: 'hang' }, instance: slow })
  const printed = await run(`
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    import { Connector } from 'iamsql'
    const echo = \`
      const { parentPort, workerData } = require('node:worker_threads')
      const { Connector } = require('iamsql')
      const connector = new Connector()
      connector.getOptions({ instanceConnectionName: workerData.instance }).then(({ stream }) => {
        const socket = stream().connect()
        socket.once('data', (data) => { parentPort.postMessage(String(data)); socket.destroy() })
        socket.on('error', () => {})
        socket.write('from a worker')
        if (workerData.slow) setTimeout(() => parentPort.postMessage('dialing'), 100)
      })\`
    const start = (instance, slow) => new Worker(echo, { eval: true, execArgv: [], workerData: { instance, slow } })
    for (let round = 0; round < 2; round++) {
      const workers = [start(process.env.INSTANCE), start(process.env.INSTANCE)]
      const ended = workers.map((worker) => once(worker, 'exit'))
      const answers = await Promise.all(workers.map((worker) => once(worker, 'message')))
      console.log(...answers.flat())
      await Promise.all(ended)
    }
    const doomed = start(process.env.SLOW, true)
    await once(doomed, 'message')
    await doomed.terminate()
    const { stream } = await new Connector().getOptions({ instanceConnectionName: process.env.INSTANCE })
    const socket = stream(); socket.write('from the main thread')
    console.log(String((await once(socket, 'data'))[0]))
    socket.destroy()`, { INSTANCE: instance, SLOW: slow })
  assert.deepEqual(printed.split('\n'), ['from a worker from a worker', 'from a worker from a worker', 'from the main thread'])
})

test('what the engine warns of is a warning of the process, once', async () => {
  const printed = await run(`const told = []
    process.on('warning', ({ name, message }) => told.push([name, message]))
    ${CONNECTOR}
    new Connector()
    await new Promise((resolve) => setTimeout(resolve, 100))
    console.log(JSON.stringify(told))`)
  const [[name, message], ...more] = JSON.parse(printed)
  assert.equal(name, 'IamsqlWarning')
  assert.match(message, /^an emulator stands in for Google Cloud emulator=http:\/\/127\./)
  assert.deepEqual(more, [])
})

test('a worker thread that loads first hears the warnings, and another does once it has ended', async () => {
  const printed = await run(`
    import { once } from 'node:events'
    import { Worker } from 'node:worker_threads'
    import { Connector } from 'iamsql'
    const worker = new Worker("new (require('iamsql').Connector)(); process.on('warning', ({ message }) => require('worker_threads').parentPort.postMessage(message)); setTimeout(() => {}, 200)", { eval: true, execArgv: [] })
    const [message] = await once(worker, 'message')
    console.log(message.slice(0, 25))
    await once(worker, 'exit')
    const connector = new Connector()
    const heard = once(process, 'warning')
    const path = process.env.SOCKET
    await connector.startLocalProxy({ instanceConnectionName: process.env.INSTANCE, listenOptions: { path } })
    const { connect } = await import('node:net')
    connect(path).on('error', () => {}).on('close', () => {})
    console.log((await heard)[0].message.slice(0, 44))
    connector.close()`, { INSTANCE: await refusing(), SOCKET: `/tmp/iamsql-warnings-${process.pid}.sock`, NODE_NO_WARNINGS: '1' })
  assert.deepEqual(printed.split('\n'), ['an emulator stands in for', 'a client of a local proxy got no session err'])
})

/** An instance whose port refuses. */
async function refusing() {
  const instance = await emulator.instance()
  await emulator.fault({ endpoint: 'tcp', effect: { kind: 'refuse' }, instance })
  return instance
}

test('a local proxy keeps the process alive until the connector is closed', async () => {
  const started = Date.now()
  await run(`${CONNECTOR}
    await connector.startLocalProxy({ instanceConnectionName: process.env.DEMO, listenOptions: { path: process.env.SOCKET } })
    setTimeout(() => connector.close(), 1_500).unref()`, { SOCKET: `/tmp/iamsql-alive-${process.pid}.sock` })
  assert.ok(Date.now() - started >= 1_500)
})

test('no descriptor of ours reaches a child, and none stays when sockets have closed', async () => {
  const instance = await emulator.instance()
  const printed = await run(`${CONNECTOR}
    import { execFileSync } from 'node:child_process'
    import { readdirSync } from 'node:fs'
    const count = () => readdirSync('/proc/self/fd').length
    const cycle = async (n) => {
      const sockets = Array.from({ length: n }, () => stream().connect())
      await Promise.all(sockets.map((socket) => once(socket, 'connect')))
      const child = execFileSync('sh', ['-c', 'ls -l /proc/self/fd | grep -c socket || true'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      await Promise.all(sockets.map((socket) => once(socket.destroy(), 'close')))
      return Number(child)
    }
    await cycle(4)
    await new Promise((resolve) => setTimeout(resolve, 300))
    const before = count()
    const inherited = await cycle(30)
    for (let tries = 0; count() > before && tries < 50; tries++) await new Promise((resolve) => setTimeout(resolve, 50))
    console.log(inherited, count() - before)`, { INSTANCE: instance })
  assert.equal(printed, '0 0')
})
