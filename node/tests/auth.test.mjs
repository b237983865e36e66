// Whose tokens are used: a credentials file's, or those of an object like google-auth-library's.

import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { inspect } from 'node:util'

import { AuthClient, Connector, GoogleAuth } from 'iamsql'
import pg from 'pg'

import { DATABASE, DEMO, IAM_USER, PRINCIPAL, useEmulator } from './emulator.mjs'

const emulator = useEmulator()
const SCOPES = ['https://www.googleapis.com/auth/sqlservice.admin', 'https://www.googleapis.com/auth/sqlservice.login']

async function whoAmI(connector) {
  const options = await connector.getOptions({ instanceConnectionName: DEMO, authType: 'IAM' })
  const user = await connector.user({ instanceConnectionName: DEMO })
  const client = new pg.Client({ ...options, user, database: DATABASE })
  await client.connect()
  const { rows } = await client.query('SELECT current_user AS me')
  await client.end()
  connector.close()
  return rows[0].me
}

test('a service-account key file', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'iamsql-node-'))
  const credentialsFile = join(directory, 'key.json')
  await writeFile(credentialsFile, JSON.stringify(await emulator.control('POST', 'service-account-key', { principal: PRINCIPAL })), { mode: 0o600 })
  assert.equal(await whoAmI(new Connector({ emulatorHost: emulator.host, credentialsFile })), IAM_USER)
  await rm(directory, { recursive: true })
})

for (const [kind, answer] of [
  ['an AuthClient', (token) => ({ token })],
  ['a GoogleAuth', (token) => token],
]) {
  test(`an object like ${kind}, whose broad tokens draw one warning`, async () => {
    const { access_token: token } = await emulator.control('POST', 'token', { principal: PRINCIPAL, scopes: SCOPES })
    const auth = { email: PRINCIPAL, credentials: { expiry_date: Date.now() + 3_600_000 }, getAccessToken: async () => answer(token) }
    const warnings = []
    const listen = (warning) => warnings.push(warning)
    process.on('warning', listen)
    const connector = new Connector({ auth, sqlAdminAPIEndpoint: `http://${emulator.host}` })
    assert.equal(await whoAmI(connector), IAM_USER)
    await new Promise(setImmediate)
    process.off('warning', listen)
    assert.deepEqual(warnings.map(({ name }) => name), ['IamsqlWarning'])
    assert.doesNotMatch(inspect(connector, { depth: null, showHidden: true }), new RegExp(token))
  })
}

for (const [what, getAccessToken, message] of [
  ['rejects', async () => { throw new Error('no luck today') }, /no luck today/],
  ['throws', () => { throw new Error('no luck at all') }, /no luck at all/],
  ['gives nothing', async () => null, /auth gave no access token/],
]) {
  test(`an object that ${what} is a failure of the credentials`, async () => {
    const connector = new Connector({ auth: { getAccessToken }, sqlAdminAPIEndpoint: `http://${emulator.host}`, timeoutMs: 5_000 })
    await assert.rejects(connector.getOptions({ instanceConnectionName: DEMO }), (error) => {
      assert.equal(error.iamsqlCode, 'IAMSQL_CREDENTIALS')
      assert.match(error.message, message)
      return true
    })
    connector.close()
  })
}

test('beside an emulator, foreign tokens are refused and never sent', async () => {
  let asked = false
  const auth = { getAccessToken: async () => ((asked = true), 'a real token') }
  const call = async () => new Connector({ auth, emulatorHost: emulator.host }).getOptions({ instanceConnectionName: DEMO })
  await assert.rejects(call, { iamsqlCode: 'IAMSQL_CONFIG' })
  assert.equal(asked, false)
})

const library = createRequire(import.meta.url)('google-auth-library')

/** A client of the library whose tokens the emulator makes; the library itself sends key files to Google alone. */
function client(scopes = SCOPES) {
  const made = new library.OAuth2Client()
  made.refreshHandler = async () => {
    const { access_token } = await emulator.control('POST', 'token', { principal: PRINCIPAL, scopes })
    return { access_token, expiry_date: Date.now() + 3_600_000 }
  }
  return made
}

for (const [kind, make] of [
  ['an OAuth2Client of google-auth-library', () => client()],
  ['a GoogleAuth of google-auth-library, as exported here', () => new GoogleAuth({ authClient: client() })],
]) {
  test(kind, async () => {
    const auth = make()
    const connector = new Connector({ auth, sqlAdminAPIEndpoint: `http://${emulator.host}` })
    const options = await connector.getOptions({ instanceConnectionName: DEMO, authType: 'IAM' })
    const login = new pg.Client({ ...options, user: IAM_USER, database: DATABASE })
    await login.connect()
    assert.equal((await login.query('SELECT current_user AS me')).rows[0].me, IAM_USER)
    await login.end()
    connector.close()
  })
}

test('loginAuth gives the tokens of logins, auth those of the API', async () => {
  const auth = client([SCOPES[0]])
  const settings = { auth, sqlAdminAPIEndpoint: `http://${emulator.host}` }
  for (const [more, outcome] of [[{ loginAuth: client([SCOPES[1]]) }, IAM_USER], [{}, '28000']]) {
    const connector = new Connector({ ...settings, ...more })
    const options = await connector.getOptions({ instanceConnectionName: DEMO, authType: 'IAM' })
    const login = new pg.Client({ ...options, user: IAM_USER, database: DATABASE })
    const me = await login.connect().then(async () => (await login.query('SELECT current_user AS me')).rows[0].me, ({ code }) => code)
    assert.equal(me, outcome)
    await login.end().catch(() => {})
    connector.close()
  }
})

test('an object without a token for a login is refused in the official words', async () => {
  const api = client()
  const connector = new Connector({ auth: api, loginAuth: { getAccessToken: async () => null }, sqlAdminAPIEndpoint: `http://${emulator.host}` })
  await assert.rejects(connector.getOptions({ instanceConnectionName: DEMO, authType: 'IAM' }), {
    name: 'CloudSQLConnectorError',
    code: 'ENOACCESSTOKEN',
    iamsqlCode: 'IAMSQL_CREDENTIALS',
    message: /^Failed to get access token for automatic IAM authentication\./,
  })
  connector.close()
})

test('GoogleAuth and AuthClient are the library’s own classes, loaded when they are used', () => {
  assert.ok(new GoogleAuth() instanceof library.GoogleAuth)
  assert.ok(new library.GoogleAuth() instanceof GoogleAuth)
  assert.ok(client() instanceof AuthClient)
  class Own extends AuthClient {}
  assert.ok(new Own() instanceof library.AuthClient)
  assert.ok(new Own() instanceof Own)
  assert.equal(GoogleAuth.name, 'GoogleAuth')
  const source = "import('iamsql').then(({ GoogleAuth }) => { const loaded = () => Object.keys(require('node:module')._cache).some((file) => file.includes('google-auth-library')); console.log(loaded()); new GoogleAuth(); console.log(loaded()) })"
  const printed = execFileSync(process.execPath, ['--eval', source], { cwd: import.meta.dirname, encoding: 'utf8' })
  assert.equal(printed, 'false\ntrue\n')
})

test('impersonate: the credentials act as another service account', async () => {
  const reader = `reader-${process.pid}@your-project-id.iam.gserviceaccount.com`
  await emulator.control('POST', 'principals', { email: reader })
  await emulator.control('POST', 'token-creators', { service_account: reader, member: PRINCIPAL })
  const connector = new Connector({ emulatorHost: emulator.host, impersonate: reader })
  assert.equal(await whoAmI(connector), reader.replace('.gserviceaccount.com', ''))
  const stranger = new Connector({ emulatorHost: emulator.host, impersonate: `nobody-may-${reader}` })
  await assert.rejects(stranger.getOptions({ instanceConnectionName: DEMO }), ({ iamsqlCode }) => /^IAMSQL_(CREDENTIALS|PERMISSION)$/.test(iamsqlCode))
  stranger.close()
})
