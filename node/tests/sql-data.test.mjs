// pg through Cloud SQL's SqlData service: who is logged in, where the service does not reach, and where it is looked for.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { test } from 'node:test'

import { Connector } from 'iamsql'
import pg from 'pg'

import { DATABASE, DEMO, IAM_USER, useEmulator } from './emulator.mjs'

let connector
let developer
const emulator = useEmulator(
  async ({ host }) => {
    connector = new Connector({ emulatorHost: host })
    developer = await emulator.instance({ database: 'postgres', edition: 'developer' })
  },
  async () => connector.close(),
)

async function tunnels(instance) {
  const calls = await emulator.control('GET', 'calls')
  return calls.filter((call) => call.endpoint === 'sqlData' && call.instance === instance).length
}

async function whoIs(instanceConnectionName, login, authType) {
  const options = await connector.getOptions({ instanceConnectionName, ipType: 'SQL_DATA', authType })
  const client = new pg.Client({ ...options, ...login, database: DATABASE })
  await client.connect()
  try {
    return (await client.query('SELECT current_user AS me')).rows[0].me
  } finally {
    await client.end()
  }
}

test('pg logs in as the IAM principal and with a password', async () => {
  const earlier = await tunnels(developer)
  assert.equal(await whoIs(developer, { user: IAM_USER }, 'IAM'), IAM_USER)
  const { user, password } = emulator.builtInUser
  assert.equal(await whoIs(developer, { user, password }, 'PASSWORD'), user)
  assert.equal(await tunnels(developer), earlier + 2)
})

test('an edition without the service is reached by its address, and that is remembered', async () => {
  assert.equal(await whoIs(DEMO, { user: IAM_USER }, 'IAM'), IAM_USER)
  assert.equal(await whoIs(DEMO, { user: IAM_USER }, 'IAM'), IAM_USER)
  assert.equal(await tunnels(DEMO), 1)
})

for (const [scheme, begins] of [['http://', 'PRI * HTTP/2.0'], ['', '\x16\x03']]) {
  test(`the tunnel is opened at sqlDataEndpoint, given ${scheme ? 'as a URL' : 'without a scheme'}`, { timeout: 30_000 }, async (context) => {
    const server = createServer().listen(0, '127.0.0.1')
    context.after(() => server.close())
    await once(server, 'listening')
    const asked = once(server, 'connection').then(async ([socket]) => {
      const [bytes] = await once(socket, 'data')
      socket.destroy()
      return bytes.toString('latin1')
    })
    const sqlDataEndpoint = `${scheme}127.0.0.1:${server.address().port}`
    const elsewhere = new Connector({ emulatorHost: emulator.host, sqlDataEndpoint, timeoutMs: 10_000 })
    context.after(() => elsewhere.close())
    const options = await elsewhere.getOptions({ instanceConnectionName: developer, ipType: 'SQL_DATA', authType: 'IAM' })
    const client = new pg.Client({ ...options, user: IAM_USER, database: DATABASE })
    await assert.rejects(client.connect())
    assert.ok((await asked).startsWith(begins))
  })
}

test('an endpoint without encryption on another machine is refused', () => {
  assert.throws(() => new Connector({ emulatorHost: emulator.host, sqlDataEndpoint: 'http://collector.example' }), { code: 'IAMSQL_CONFIG' })
})
