// What is asked wrongly, and what each mistake is told: the official codes and texts where they exist, and ours always.

import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { inspect } from 'node:util'

import { Connector, IamsqlError } from 'iamsql'

import { ERROR_CODES } from '../dist/errors.js'
import { native } from '../dist/native.js'
import { DEMO, useEmulator } from './emulator.mjs'

let connector
let directory
const emulator = useEmulator(
  async ({ host }) => {
    connector = new Connector({ emulatorHost: host, timeoutMs: 10_000 })
    directory = await mkdtemp(join(tmpdir(), 'iamsql-node-'))
  },
  async () => {
    connector.close()
    await rm(directory, { recursive: true })
  },
)

async function refusal(call) {
  try {
    await call()
  } catch (error) {
    assert.ok(error instanceof IamsqlError, inspect(error))
    return error
  }
  return assert.fail('not refused')
}

const options = (given) => refusal(() => connector.getOptions(given))

describe('getOptions() refuses', () => {
  for (const instanceConnectionName of [undefined, null, '', 7]) {
    test(`the missing name ${instanceConnectionName}`, async () => {
      const error = await options({ instanceConnectionName })
      assert.equal(error.code, 'ENOCONNECTIONNAME')
      assert.equal(error.name, 'CloudSQLConnectorError')
      assert.equal(error.iamsqlCode, 'IAMSQL_CONFIG')
      assert.equal(error.message, 'Missing instance connection name, expected: "PROJECT:REGION:INSTANCE" or a valid domain name.')
    })
  }

  for (const name of ['demo-postgres', 'a:b', 'a:b:c:d:e', ' p:r:i', 'p:r:i\n', 'p::i', 'p:r:../i', `p:r:${'i'.repeat(99)}`]) {
    test(`the malformed name ${JSON.stringify(name).slice(0, 40)}`, async () => {
      const error = await options({ instanceConnectionName: name })
      assert.equal(error.code, 'EBADCONNECTIONNAME')
      assert.equal(error.iamsqlCode, 'IAMSQL_CONFIG')
      assert.equal(error.retryable, false)
      assert.match(error.message, /^Malformed Instance connection name, expected an instance connection name in the form "PROJECT:REGION:INSTANCE" or a valid domain name/)
      assert.match(error.advice, /gcloud sql instances describe/)
    })
  }

  test('an unknown instance', async () => {
    const error = await options({ instanceConnectionName: 'your-project-id:us-central1:nobody' })
    assert.equal(error.code, 'ENOSQLADMIN')
    assert.equal(error.iamsqlCode, 'IAMSQL_NOT_FOUND')
    assert.match(error.message, /^Failed to find metadata on project id: your-project-id and instance id: nobody\. Ensure network connectivity/)
    assert.equal(error.instance, 'your-project-id:us-central1:nobody')
  })

  test('the wrong region', async () => {
    const error = await options({ instanceConnectionName: DEMO.replace('us-central1', 'europe-west1') })
    assert.equal(error.code, 'EBADSQLADMINREGION')
    assert.match(error.message, /^Provided region was mismatched\. Got us-central1, want europe-west1/)
  })

  for (const [addresses, ipType, code, text] of [
    [['PRIVATE'], undefined, 'ENOPUBLICSQLADMINIPADDRESS', 'Cannot connect to instance, public Ip address not found'],
    [['PRIMARY'], 'PRIVATE', 'ENOPRIVATESQLADMINIPADDRESS', 'Cannot connect to instance, private Ip address not found'],
    [['PRIMARY'], 'PSC', 'ENOPSCSQLADMINIPADDRESS', 'Cannot connect to instance, PSC address not found'],
    [[], 'AUTO', 'ENOSQLADMINIPADDRESS', 'Cannot connect to instance, it has no supported IP addresses'],
  ]) {
    test(`the absent address type ${ipType ?? 'PUBLIC'}`, async () => {
      const error = await options({ instanceConnectionName: await emulator.instance({ addresses }), ipType })
      assert.equal(error.code, code)
      assert.equal(error.iamsqlCode, 'IAMSQL_NOT_FOUND')
      assert.ok(error.message.startsWith(text), error.message)
    })
  }

  test('what the Admin API forbids', async () => {
    const instance = await emulator.instance()
    await emulator.fault({ endpoint: 'connectSettings', effect: { kind: 'status', status: 403 }, instance })
    const error = await options({ instanceConnectionName: instance })
    assert.equal(error.code, 'IAMSQL_PERMISSION')
    assert.equal(error.httpStatus, 403)
    assert.match(error.message, /HTTP 403/)
    assert.match(error.advice, /roles\/cloudsql\.client/)
    assert.equal(error.name, 'IamsqlError')
  })

  test('a quota that stays exhausted', async () => {
    const instance = await emulator.instance()
    await emulator.fault({ endpoint: 'connectSettings', effect: { kind: 'status', status: 429 }, instance })
    const error = await options({ instanceConnectionName: instance, timeoutMs: 1_500 })
    assert.match(error.iamsqlCode, /^IAMSQL_(UNAVAILABLE|TIMEOUT)$/)
    assert.equal(error.retryable, true)
  })

  for (const [given, message] of [
    [{ ipType: 'IPV9' }, /"IPV9" is not known: want PUBLIC/],
    [{ authType: 'KERBEROS' }, /"KERBEROS" is not known: want IAM or PASSWORD/],
    [{ timeoutMs: -1 }, /timeoutMs -1/],
    [{ timeoutMs: 0 }, /out of range/],
    [{ timeoutMs: '5' }, /^timeoutMs must be a number$/],
  ]) {
    test(`the option ${JSON.stringify(given)}`, async () => {
      const error = await options({ instanceConnectionName: DEMO, ...given })
      assert.equal(error.iamsqlCode, 'IAMSQL_CONFIG')
      assert.match(error.message, message)
    })
  }

  test('a closed connector', async () => {
    const closed = new Connector({ emulatorHost: emulator.host })
    closed.close()
    closed.close()
    for (const call of [() => closed.getOptions({ instanceConnectionName: DEMO }), () => closed.user({ instanceConnectionName: DEMO })]) {
      const error = await refusal(call)
      assert.equal(error.code, 'ERRCLOSED')
      assert.match(error.message, /^The connector was closed\./)
    }
  })
})

describe('new Connector() refuses', () => {
  for (const [given, message] of [
    [{ auth: {} }, /^auth has no getAccessToken\(\)$/],
    [{ auth: { getAccessToken() {} }, credentialsFile: '/dev/null' }, /exclude each other/],
    [{ gcloud: true, credentialsFile: '/dev/null' }, /exclude each other/],
    [{ delegates: ['a@b.iam.gserviceaccount.com'] }, /^delegates belong to impersonate$/],
    [{ loginAuth: {} }, /^loginAuth has no getAccessToken\(\)$/],
    [{ loginScope: 'broad' }, /"broad" is not known: want NARROW or STRICT/],
    [{ refreshStrategy: 'HOURLY' }, /"HOURLY" is not known/],
    [{ timeoutMs: Number.NaN }, /timeoutMs NaN/],
    [{ credentialsFile: 7 }, /^credentialsFile must be a string$/],
    [{ sqlAdminAPIEndpoint: 'http://sqladmin.example' }, /sqladmin\.example/],
    [{ emulatorHost: '192.0.2.1:80' }, /192\.0\.2\.1/],
  ]) {
    test(inspect(given), async () => {
      const error = await refusal(() => new Connector(given))
      assert.equal(error.iamsqlCode, 'IAMSQL_CONFIG', error.message)
      assert.match(error.message, message)
    })
  }

  test('an unreadable credentials file', async () => {
    const error = await refusal(() => new Connector({ emulatorHost: emulator.host, credentialsFile: join(directory, 'absent.json') }))
    assert.equal(error.iamsqlCode, 'IAMSQL_CREDENTIALS')
    assert.match(error.message, /absent\.json/)
  })

  test('a credentials file that is none', async () => {
    const path = join(directory, 'broken.json')
    await writeFile(path, '{"type": "service_account", "private_key": "-----BEGIN PRIVATE KEY-----c2VjcmV0"')
    const error = await refusal(() => new Connector({ emulatorHost: emulator.host, credentialsFile: path }))
    assert.equal(error.iamsqlCode, 'IAMSQL_CREDENTIALS')
    assert.doesNotMatch(inspect(error), /c2VjcmV0/)
  })
})

test('tedious gets a connected socket, and no IAM login', async () => {
  const instance = await emulator.instance()
  const { connector: connect, encrypt } = await connector.getTediousOptions({ instanceConnectionName: instance })
  assert.equal(encrypt, false)
  const socket = await connect()
  assert.equal(socket.connecting, false)
  socket.destroy()

  await emulator.fault({ endpoint: 'tcp', effect: { kind: 'refuse' }, instance })
  assert.equal((await refusal(connect)).code, 'ECONNREFUSED')

  const error = await refusal(() => connector.getTediousOptions({ instanceConnectionName: DEMO, authType: 'IAM' }))
  assert.deepEqual([error.code, error.message], ['ENOIAM', 'Tedious does not support Auto IAM DB Authentication'])
})

test('an error prints once what failed, with its fields, and gives its causes', async () => {
  const instance = await emulator.instance()
  await emulator.fault({ endpoint: 'tcp', effect: { kind: 'refuse' }, instance })
  const { connector: connect } = await connector.getTediousOptions({ instanceConnectionName: instance })
  const error = await refusal(connect)
  assert.ok(error.cause instanceof Error)
  assert.deepEqual(error.errors, [error.cause])
  assert.equal(error.message.split('Connection refused').length, 2)
  assert.equal(inspect(error).split('Connection refused').length, 2)
  assert.match(inspect(error), /code: 'ECONNREFUSED'/)
})

test('every kind of the engine has its code here', () => {
  assert.deepEqual(native().errorCodes(), ERROR_CODES)
})

test('a Connector shows nothing of itself', () => {
  assert.equal(inspect(connector, { depth: null, showHidden: true }).replaceAll(/\s+/g, ' '), 'Connector {}')
  assert.throws(() => JSON.stringify({ connector }), TypeError)
  assert.deepEqual(Object.keys(connector), [])
})

test('an answer that repeats our token does not put it into an error', async () => {
  const instance = await emulator.instance()
  await emulator.fault({ endpoint: 'connectSettings', effect: { kind: 'echo_secrets', status: 403 }, instance })
  const error = await options({ instanceConnectionName: instance })
  const shown = inspect(error) + error.stack + JSON.stringify(error) + inspect(error.cause)
  assert.doesNotMatch(shown, /emulator-[\w-]{8}/)
  assert.doesNotMatch(error.message, /[\n\u001b\u202e]/)
})
