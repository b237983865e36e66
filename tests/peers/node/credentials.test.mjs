// Google's Node authentication library borrows identities from the emulator, and its connector logs in with them.

import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'

import { Connector } from '@google-cloud/cloud-sql-connector'
import { GoogleAuth, Impersonated, UserRefreshClient } from 'google-auth-library'
import pg from 'pg'

import { HUMAN, INSTANCE, startEmulator } from './emulator.mjs'

const READER = 'reader@your-project-id.iam.gserviceaccount.com'
const USER = 'reader@your-project-id.iam'
const SCOPES = [
  'https://www.googleapis.com/auth/sqlservice.admin',
  'https://www.googleapis.com/auth/sqlservice.login',
]

describe("Google's Node authentication library", () => {
  const directory = mkdtempSync(join(tmpdir(), 'iamsql-peers-'))
  let emulator

  before(async () => {
    emulator = await startEmulator()
    process.env.GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES = '1'
    for (const name of Object.keys(process.env)) if (name.startsWith('AWS_')) delete process.env[name]
  })
  after(async () => {
    await emulator.stop()
    rmSync(directory, { recursive: true })
  })

  /** A service account that nobody may act as yet. */
  const reader = () => emulator.control('/principals', { email: READER })

  async function workload(source, rest = {}) {
    const token = await emulator.control('/subject-token', { subject: 'robot' })
    const body = { subject: 'robot', source, ...rest }
    if (source === 'file') {
      const path = join(directory, 'subject-token')
      writeFileSync(path, token.subject_token)
      body.source = { file: path }
    } else if (source === 'executable') {
      const script = join(directory, 'print-token')
      writeFileSync(script, `#!/bin/sh\ncat <<'END'\n${JSON.stringify(token.executable_response)}\nEND\n`)
      chmodSync(script, 0o700)
      body.source = { executable: { command: script } }
    }
    const { principal, configuration } = await emulator.control('/external-account', body)
    return { principal, auth: new GoogleAuth({ credentials: configuration, scopes: SCOPES }) }
  }

  async function login(auth, config, authType = 'IAM') {
    const connector = new Connector({ sqlAdminAPIEndpoint: emulator.url, auth })
    let client
    try {
      const made = await connector.getOptions({ instanceConnectionName: INSTANCE, authType })
      client = new pg.Client({ ...made, database: 'mydb', ...config })
      client.on('error', () => {})
      await client.connect()
      return (await client.query('SELECT current_user AS me')).rows[0].me
    } finally {
      await client?.end().catch(() => {})
      connector.close()
    }
  }

  for (const source of ['file', 'url', 'executable', 'aws']) {
    test(`a workload with ${source} acts as a service account`, async () => {
      await reader()
      const { principal, auth } = await workload(source, { impersonate: READER })
      await assert.rejects(auth.getAccessToken(), /iam\.serviceAccounts\.getAccessToken/)
      await emulator.control('/token-creators', { service_account: READER, member: principal })
      assert.equal(await login(auth, { user: USER }), USER)
    })
  }

  test('a workload is somebody itself', async () => {
    const { principal, auth } = await workload('url')
    await emulator.control('/principals', { email: principal, roles: ['roles/cloudsql.client'] })
    const built = { user: emulator.user, password: emulator.password }
    assert.equal(await login(auth, built, 'PASSWORD'), emulator.user)
  })

  test('a workforce login refreshes', async () => {
    const { principal, configuration } = await emulator.control('/workforce-user', { subject: 'ada' })
    await emulator.control('/principals', { email: principal, roles: ['roles/cloudsql.client'] })
    const auth = new GoogleAuth({ credentials: configuration })
    const built = { user: emulator.user, password: emulator.password }
    assert.equal(await login(auth, built, 'PASSWORD'), emulator.user)
  })

  test('a human acts as a service account', async () => {
    await reader()
    const body = { source: HUMAN, target: READER }
    const file = await emulator.control('/impersonated-service-account', body)
    const { source_credentials: human } = file
    const auth = new Impersonated({
      sourceClient: new UserRefreshClient({
        clientId: human.client_id,
        clientSecret: human.client_secret,
        refreshToken: human.refresh_token,
        endpoints: { oauth2TokenUrl: human.token_uri },
      }),
      targetPrincipal: READER,
      targetScopes: SCOPES,
      endpoint: emulator.url,
    })
    await assert.rejects(auth.getAccessToken(), /iam\.serviceAccounts\.getAccessToken/)
    await emulator.control('/token-creators', { service_account: READER, member: HUMAN })
    assert.equal(await login(auth, { user: USER }), USER)
  })
})
