// AlloyDB from Node, for which there is no official connector: named by its URI, by IAM and by password, primary and read pool.

import assert from 'node:assert/strict'
import { test } from 'node:test'

import { Connector } from 'iamsql'
import pg from 'pg'
import postgres from 'postgres'

import { DATABASE, DEMO, IAM_USER, useEmulator } from './emulator.mjs'

const CLUSTER = 'projects/my-project/locations/us-central1/clusters/my-alloydb-cluster'
const PRIMARY = `${CLUSTER}/instances/my-primary`
const READ_POOL = `${CLUSTER}/instances/my-read-pool`

let connector
const emulator = useEmulator(
  async ({ host }) => (connector = new Connector({ emulatorHost: host })),
  async () => connector.close(),
)

async function whoAmI(options, identity = { user: IAM_USER }) {
  const pool = new pg.Pool({ ...options, ...identity, database: DATABASE, max: 2 })
  try {
    return (await pool.query('SELECT current_user AS me')).rows[0].me
  } finally {
    await pool.end()
  }
}

for (const [option, name] of [['instanceUri', PRIMARY], ['instanceUri', READ_POOL], ['instanceConnectionName', PRIMARY]]) {
  test(`pg logs in by IAM to ${option} ${name.split('/').at(-1)}`, async () => {
    const given = { [option]: name }
    assert.equal(await connector.user(given), IAM_USER)
    assert.equal(await whoAmI(await connector.getOptions({ ...given, authType: 'IAM' })), IAM_USER)
  })
}

test('a built-in user logs in with its password, and not without', async () => {
  const options = await connector.getOptions({ instanceUri: PRIMARY })
  const { user, password } = emulator.builtInUser
  assert.equal(await whoAmI(options, { user, password }), user)
  await assert.rejects(whoAmI(options, { user, password: 'not it' }), { code: '28P01' })
})

test('postgres.js logs in by IAM', async () => {
  const { stream } = await connector.getOptions({ instanceUri: PRIMARY, authType: 'IAM' })
  const sql = postgres({ socket: stream, user: IAM_USER, database: DATABASE, max: 2 })
  assert.deepEqual([...(await sql`SELECT current_user AS me`)], [{ me: IAM_USER }])
  await sql.end()
})

test('one Connector serves Cloud SQL and AlloyDB', async () => {
  const options = await Promise.all([DEMO, PRIMARY].map((instanceConnectionName) => connector.getOptions({ instanceConnectionName, authType: 'IAM' })))
  assert.deepEqual(await Promise.all(options.map((made) => whoAmI(made))), [IAM_USER, IAM_USER])
})

test('another IAM user is refused in the server’s words', async () => {
  const options = await connector.getOptions({ instanceUri: PRIMARY, authType: 'IAM' })
  await assert.rejects(whoAmI(options, { user: 'jane@example.com' }), { code: '28000', message: /AlloyDB IAM user authentication failed/ })
})

for (const [what, instanceUri, code] of [
  ['malformed', `${CLUSTER}/instance/my-primary`, 'EBADCONNECTIONNAME'],
  ['unknown', `${CLUSTER}/instances/nobody`, 'IAMSQL_NOT_FOUND'],
]) {
  test(`a URI that is ${what} is ${code}`, async () => {
    await assert.rejects(connector.getOptions({ instanceUri }), { code })
  })
}

test('an address that the instance lacks is named', async () => {
  await assert.rejects(connector.getOptions({ instanceUri: PRIMARY, ipType: 'PSC' }), {
    code: 'ENOPSCSQLADMINIPADDRESS',
    iamsqlCode: 'IAMSQL_NOT_FOUND',
  })
})
