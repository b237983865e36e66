// Google's Node connector logs in through the emulator, and is refused where the real service refuses it.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { after, before, describe, test } from 'node:test'
import { promisify } from 'node:util'

import { Connector } from '@google-cloud/cloud-sql-connector'
import { OAuth2Client } from 'google-auth-library'
import pg from 'pg'

import { CAS, HUMAN, INSTANCE, NO_IAM, SERVICE_ACCOUNT, startEmulator } from './emulator.mjs'

const USER = 'cloudsql-client@your-project-id.iam'
const ADMIN_SCOPE = 'https://www.googleapis.com/auth/sqlservice.admin'
const LOGIN_SCOPE = 'https://www.googleapis.com/auth/sqlservice.login'

describe("Google's Node connector", () => {
  let emulator

  before(async () => {
    emulator = await startEmulator()
  })
  after(() => emulator.stop())

  /** Who the database says we are, or why it does not let us in. */
  async function login(config, { connect = {}, options = {} } = {}) {
    const connector = new Connector({ sqlAdminAPIEndpoint: emulator.url, ...options })
    let client
    try {
      const made = await connector.getOptions({ instanceConnectionName: INSTANCE, authType: 'IAM', ...connect })
      client = new pg.Client({ ...made, database: 'mydb', ...config })
      client.on('error', () => {})
      await client.connect()
      return (await client.query('SELECT current_user AS me')).rows[0].me
    } finally {
      await client?.end().catch(() => {})
      connector.close()
    }
  }

  /** A client whose one token is what the emulator makes for it: the library sends key files to Google alone. */
  function holder(principal, scopes) {
    const client = new OAuth2Client()
    client.refreshHandler = async () => {
      const { access_token } = await emulator.control('/token', { principal, scopes })
      return { access_token, expiry_date: Date.now() + 3_600_000 }
    }
    return client
  }

  const lastSession = async (instance) => {
    const sessions = await emulator.control('/sessions', undefined, 'GET')
    return sessions.filter((session) => session.instance === instance).at(-1)
  }

  for (const instance of [INSTANCE, CAS]) {
    for (const ipType of ['PUBLIC', 'PRIVATE']) {
      test(`logs in to ${instance} by its ${ipType} address`, async () => {
        assert.equal(await login({ user: USER }, { connect: { instanceConnectionName: instance, ipType } }), USER)
      })
    }
  }

  test('serves a pool', async () => {
    const connector = new Connector({ sqlAdminAPIEndpoint: emulator.url })
    const options = await connector.getOptions({ instanceConnectionName: INSTANCE, authType: 'IAM' })
    const pool = new pg.Pool({ ...options, user: USER, database: 'mydb', max: 4 })
    const rows = await Promise.all(Array.from({ length: 8 }, () => pool.query('SELECT current_user AS me')))
    assert.deepEqual(new Set(rows.map((result) => result.rows[0].me)), new Set([USER]))
    await pool.end()
    connector.close()
  })

  test('logs in with a client of the caller', async () => {
    const auth = holder(HUMAN, [ADMIN_SCOPE, LOGIN_SCOPE])
    assert.equal(await login({ user: HUMAN }, { options: { auth } }), HUMAN)
  })

  test('a built-in user logs in with its password, and not without', async () => {
    const { user, password } = emulator
    assert.equal(await login({ user, password }), user)
    assert.equal(await login({ user, password }, { connect: { authType: 'PASSWORD' } }), user)
    await assert.rejects(login({ user, password: 'wrong' }), { code: '28P01' })
    await assert.rejects(login({ user }), /password must be a string/)
  })

  test("another IAM user is refused in the service's words", async () => {
    await assert.rejects(login({ user: HUMAN }), {
      code: '28000',
      message: `Cloud SQL IAM user authentication failed for user "${HUMAN}"`,
    })
  })

  test('an instance without the IAM flag refuses IAM users', async () => {
    await assert.rejects(login({ user: USER }, { connect: { instanceConnectionName: NO_IAM } }), { code: '28000' })
    assert.match((await lastSession(NO_IAM)).error, /cloudsql.iam_authentication/)
  })

  test('a principal without roles/cloudsql.instanceUser is refused', async () => {
    const email = 'no-login-node@your-project-id.iam.gserviceaccount.com'
    await emulator.control('/principals', { email, roles: ['roles/cloudsql.client'] })
    const auth = holder(email, [ADMIN_SCOPE, LOGIN_SCOPE])
    const user = email.replace('.gserviceaccount.com', '')
    await assert.rejects(login({ user }, { options: { auth } }), { code: '28000' })
    assert.match((await lastSession(INSTANCE)).error, /roles\/cloudsql.instanceUser/)
  })

  test('a token that may not log in is refused', async () => {
    const auth = holder(SERVICE_ACCOUNT, [ADMIN_SCOPE])
    await assert.rejects(login({ user: USER }, { options: { auth } }), { code: '28000' })
    assert.match((await lastSession(INSTANCE)).error, /scope/)
  })

  test('the Admin API refuses who lacks roles/cloudsql.client, and what does not exist', async () => {
    const email = 'no-client-node@your-project-id.iam.gserviceaccount.com'
    await emulator.control('/principals', { email, roles: [] })
    const { access_token: refused } = await emulator.control('/token', { principal: email, scopes: [ADMIN_SCOPE] })
    assert.deepEqual(await failure(INSTANCE, refused), [403, 'The client is not authorized to make this request.'])
    const wanted = { principal: SERVICE_ACCOUNT, scopes: [ADMIN_SCOPE] }
    const { access_token: allowed } = await emulator.control('/token', wanted)
    const absent = 'your-project-id:us-central1:absent'
    assert.deepEqual(await failure(absent, allowed), [404, 'The Cloud SQL instance does not exist.'])
  })

  /** How getOptions() fails. In a process of its own: the connector leaves a rejected promise behind, which ends ours. */
  async function failure(instanceConnectionName, token) {
    const script = `
      import { Connector } from '@google-cloud/cloud-sql-connector'
      import { OAuth2Client } from 'google-auth-library'
      const auth = new OAuth2Client()
      auth.setCredentials({ access_token: process.env.TOKEN })
      const connector = new Connector({ sqlAdminAPIEndpoint: ${JSON.stringify(emulator.url)}, auth })
      await connector
        .getOptions({ instanceConnectionName: ${JSON.stringify(instanceConnectionName)} })
        .catch((error) => console.log(JSON.stringify([error.status, error.message])))
      process.exit()`
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ['--unhandled-rejections=none', '--input-type=module', '-e', script],
      { cwd: import.meta.dirname, env: { ...process.env, TOKEN: token } },
    )
    return JSON.parse(stdout)
  }

  test('a server with the name of another instance is refused before a certificate is sent', async () => {
    const path = `/instances/${CAS}`
    await emulator.control(path, { certificate: 'wrong_name' }, 'PATCH')
    try {
      await assert.rejects(login({ user: USER }, { connect: { instanceConnectionName: CAS } }))
      const session = await lastSession(CAS)
      assert.equal(session.authenticated, false)
      assert.equal(session.received, 0)
    } finally {
      await emulator.control(path, { certificate: 'genuine' }, 'PATCH')
    }
  })
})
