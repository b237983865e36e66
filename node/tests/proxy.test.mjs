// startLocalProxy(): a Unix socket for what takes only a path, open to our own user, gone with its connector.

import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, statSync } from 'node:fs'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'

import { Connector } from 'iamsql'
import pg from 'pg'

import { DATABASE, DEMO, IAM_USER, useEmulator } from './emulator.mjs'

let directory
let sockets = 0
const connectors = []
const emulator = useEmulator(
  async () => {
    directory = await mkdtemp(join(tmpdir(), 'iamsql-proxy-'))
    await chmod(directory, 0o755)
  },
  async () => {
    connectors.forEach((connector) => connector.close())
    await rm(directory, { recursive: true })
  },
)

/** A connector with a proxy to `instance`, and the proxy's path. */
async function proxied(options, listenOptions) {
  const connector = new Connector({ emulatorHost: emulator.host })
  connectors.push(connector)
  const path = join(directory, `${++sockets}.sock`)
  await connector.startLocalProxy({ ...options, listenOptions: { path, ...listenOptions } })
  return { connector, path }
}

async function saysBack(path) {
  const socket = connect(path)
  socket.write('hello')
  const [data] = await once(socket, 'data')
  socket.destroy()
  return String(data)
}

test('pg logs in by IAM over the path', async () => {
  const path = join(directory, '.s.PGSQL.5432')
  const { connector } = await proxied({ instanceConnectionName: DEMO, authType: 'IAM' }, { path })
  const client = new pg.Client({ host: directory, user: IAM_USER, database: DATABASE })
  await client.connect()
  const { rows } = await client.query('SELECT current_user AS me')
  assert.equal(rows[0].me, IAM_USER)
  connector.close()
  assert.equal((await client.query('SELECT 1 AS one')).rows[0].one, 1)
  await client.end()
  assert.equal(existsSync(path), false)
})

test('the socket is for our own user, whatever its file says', { skip: process.getuid?.() !== 0 && 'only root can be somebody else' }, async () => {
  const instance = await emulator.instance()
  const { path } = await proxied({ instanceConnectionName: instance, authType: 'IAM' }, { readableAll: true })
  assert.equal(statSync(path).mode & 0o777, 0o644)
  assert.equal(await saysBack(path), 'hello')
  assert.equal(stranger(path), 'EACCES')
  await chmod(path, 0o666)
  assert.equal(stranger(path), 'closed')
})

test('writableAll lets other users in, who bring their password', { skip: process.getuid?.() !== 0 && 'only root can be somebody else' }, async () => {
  const { path } = await proxied({ instanceConnectionName: await emulator.instance() }, { writableAll: true })
  assert.equal(statSync(path).mode & 0o777, 0o622)
  assert.equal(stranger(path), 'hello')
})

/** What another user meets at the socket: it is the engine that serves, so this thread may wait. */
function stranger(path) {
  const source = `
    const socket = require('node:net').connect(process.argv[1])
    const tell = (what) => { console.log(what); process.exit() }
    socket.on('error', (error) => tell(error.code === 'ECONNRESET' || error.code === 'EPIPE' ? 'closed' : error.code))
    socket.setEncoding('utf8').on('data', tell).on('end', () => tell('closed'))
    socket.write('hello')`
  const { stdout, stderr } = spawnSync(process.execPath, ['--eval', source, path], { uid: 54_321, gid: 54_321, cwd: '/', encoding: 'utf8', timeout: 10_000 })
  return stdout.trim() || stderr
}

for (const [what, given, listenOptions, wanted] of [
  ['an IAM login for everybody', { authType: 'IAM' }, { writableAll: true }, { iamsqlCode: 'IAMSQL_CONFIG', message: /every user can write to/ }],
  ['no path', {}, { path: undefined }, { iamsqlCode: 'IAMSQL_CONFIG', message: 'listenOptions.path is missing' }],
  ['a path that is too long', {}, { path: `/tmp/${'x'.repeat(120)}` }, { iamsqlCode: 'IAMSQL_CONFIG', message: /could not listen at/ }],
  ['a directory that does not exist', {}, { path: '/nonexistent/db.sock' }, { code: 'ENOENT' }],
  ['no instance', { instanceConnectionName: undefined }, {}, { code: 'ENOCONNECTIONNAME' }],
]) {
  test(`it refuses ${what}`, async () => {
    const instanceConnectionName = await emulator.instance()
    await assert.rejects(proxied({ instanceConnectionName, ...given }, listenOptions), wanted)
  })
}

test('a path that is taken is EADDRINUSE, and what is there stays', async () => {
  const path = join(directory, 'precious')
  await writeFile(path, 'x')
  const instanceConnectionName = await emulator.instance()
  await assert.rejects(proxied({ instanceConnectionName }, { path }), { code: 'EADDRINUSE', iamsqlCode: 'IAMSQL_CONFIG' })
  assert.equal(existsSync(path), true)
})

test('a closed connector starts none', async () => {
  const { connector } = await proxied({ instanceConnectionName: await emulator.instance() })
  connector.close()
  const again = connector.startLocalProxy({ instanceConnectionName: DEMO, listenOptions: { path: join(directory, 'late.sock') } })
  await assert.rejects(again, { code: 'ERRCLOSED' })
})

test('a client whose dial fails reads why, in PostgreSQL’s words', async () => {
  const instanceConnectionName = await emulator.instance()
  const home = await mkdtemp(join(directory, 'refused-'))
  await proxied({ instanceConnectionName }, { path: join(home, '.s.PGSQL.5432') })
  await emulator.fault({ endpoint: 'tcp', effect: { kind: 'refuse' }, instance: instanceConnectionName })
  const client = new pg.Client({ host: home, user: 'me', database: DATABASE })
  await assert.rejects(client.connect(), { code: '08001', severity: 'FATAL', detail: 'IAMSQL_NETWORK' })
})
