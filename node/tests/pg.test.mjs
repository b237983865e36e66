// pg over our sockets, on a real PostgreSQL: Pool, Client, cursor, LISTEN, cancel, and who is logged in.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { test } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'

import { Connector } from 'iamsql'
import pg from 'pg'
import Cursor from 'pg-cursor'

import { DATABASE, DEMO, HUMAN, IAM_USER, useEmulator } from './emulator.mjs'

let connector
let iam
const emulator = useEmulator(
  async ({ host }) => {
    connector = new Connector({ emulatorHost: host })
    const user = await connector.user({ instanceConnectionName: DEMO })
    iam = { ...(await connector.getOptions({ instanceConnectionName: DEMO, authType: 'IAM' })), user, database: DATABASE }
  },
  async () => connector.close(),
)

async function withClient(config, use) {
  const client = new pg.Client(config)
  await client.connect()
  try {
    return await use(client)
  } finally {
    await client.end()
  }
}

test('user() is the principal as PostgreSQL spells it', () => {
  assert.equal(iam.user, IAM_USER)
})

test('a Pool logs in as the IAM principal, without a password', async () => {
  const pool = new pg.Pool({ ...iam, max: 3 })
  const answers = await Promise.all(Array.from({ length: 9 }, () => pool.query('SELECT current_user AS me, 6 * $1::int AS product', [7])))
  for (const { rows } of answers) assert.deepEqual(rows, [{ me: IAM_USER, product: 42 }])
  assert.ok(pool.totalCount <= 3)
  await pool.end()
})

test('a built-in user logs in with a password', async () => {
  const { user, password } = emulator.builtInUser
  const options = await connector.getOptions({ instanceConnectionName: DEMO })
  const { rows } = await withClient({ ...options, user, password, database: DATABASE }, (client) => client.query('SELECT current_user AS me'))
  assert.deepEqual(rows, [{ me: user }])
})

test('a wrong password is refused with the server’s own words', async () => {
  const { user } = emulator.builtInUser
  const options = await connector.getOptions({ instanceConnectionName: DEMO })
  const client = new pg.Client({ ...options, user, password: 'not it', database: DATABASE })
  await assert.rejects(client.connect(), { code: '28P01', message: /password authentication failed/ })
})

test('IAM login as another IAM user is refused with the server’s own words', async () => {
  const client = new pg.Client({ ...iam, user: HUMAN })
  await assert.rejects(client.connect(), {
    severity: 'FATAL',
    code: '28000',
    message: `Cloud SQL IAM user authentication failed for user "${HUMAN}"`,
  })
})

test('IAM login as a user with a password is asked for it', async () => {
  const client = new pg.Client({ ...iam, user: emulator.builtInUser.user })
  await assert.rejects(client.connect(), /client password must be a string/)
})

test('a Client built long before connect() connects', async () => {
  const client = new pg.Client(iam)
  await sleep(400)
  await client.connect()
  assert.equal((await client.query('SELECT 1 AS one')).rows[0].one, 1)
  await client.end()
})

test('sixteen connect at once', async () => {
  const clients = Array.from({ length: 16 }, () => new pg.Client(iam))
  await Promise.all(clients.map((client) => client.connect()))
  const pids = await Promise.all(clients.map(async (client) => (await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid))
  assert.equal(new Set(pids).size, 16)
  await Promise.all(clients.map((client) => client.end()))
})

test('a cursor reads in portions', async () => {
  await withClient(iam, async (client) => {
    const cursor = client.query(new Cursor('SELECT n FROM generate_series(1, 250) AS n'))
    const sizes = []
    for (let rows = await cursor.read(100); rows.length > 0; rows = await cursor.read(100)) sizes.push(rows.length)
    assert.deepEqual(sizes, [100, 100, 50])
    await cursor.close()
  })
})

test('LISTEN receives what another session notifies', async () => {
  await withClient(iam, async (listener) => {
    await listener.query('LISTEN news')
    const told = once(listener, 'notification')
    await withClient(iam, (client) => client.query("NOTIFY news, 'extra'"))
    const [{ channel, payload }] = await told
    assert.deepEqual([channel, payload], ['news', 'extra'])
  })
})

test('cancel reaches the server over a socket of its own', async () => {
  await withClient(iam, async (client) => {
    const query = new pg.Query('SELECT pg_sleep(30)')
    const refused = once(query, 'error')
    client.query(query)
    await sleep(200)
    const canceller = new pg.Client(iam)
    canceller.cancel(client, query)
    const [error] = await refused
    assert.equal(error.code, '57014')
    assert.equal((await client.query('SELECT 1 AS one')).rows[0].one, 1)
  })
})

test('a megabyte goes both ways', async () => {
  const text = 'x'.repeat(1 << 20)
  const { rows } = await withClient(iam, (client) => client.query('SELECT $1::text AS back', [text]))
  assert.equal(rows[0].back, text)
})

test('a backend that is terminated is an error of the client, and the pool goes on', async () => {
  const pool = new pg.Pool({ ...iam, max: 2 })
  const told = once(pool, 'error')
  const victim = await pool.connect()
  const { rows } = await victim.query('SELECT pg_backend_pid() AS pid')
  victim.release()
  await withClient(iam, (client) => client.query('SELECT pg_terminate_backend($1)', [rows[0].pid]))
  await told
  assert.equal((await pool.query('SELECT 1 AS one')).rows[0].one, 1)
  await pool.end()
})
