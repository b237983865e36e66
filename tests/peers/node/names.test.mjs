// Google's Node connector finds instances by name: domain names, instance DNS names, Private Service Connect.

import assert from 'node:assert/strict'
import dns from 'node:dns'
import { after, before, describe, test } from 'node:test'

import { Connector } from '@google-cloud/cloud-sql-connector'
import pg from 'pg'

import { INSTANCE, startEmulator } from './emulator.mjs'

const USER = 'cloudsql-client@your-project-id.iam'
const PSC = 'your-project-id:us-central1:psc-postgres'
const PSC_NAME = 'a1b2.c3d4.us-central1.sql-psc.goog'

describe("Google's Node connector, by name", () => {
  const lookup = dns.lookup
  let emulator

  before(async () => {
    emulator = await startEmulator()
    // What a VPC's resolver does for every name, this process's does for the emulator's.
    dns.setServers([emulator.dns])
    dns.lookup = (name, options, callback) => {
      if (/^[\d.:]+$/.test(name)) return lookup(name, options, callback)
      dns.resolve4(name, (error, addresses) => {
        const all = addresses?.map((address) => ({ address, family: 4 }))
        if (error || options.all) callback(error, all)
        else callback(null, all[0].address, 4)
      })
    }
    const spec = { name: PSC, database: 'postgres', addresses: ['PSC'], psc_dns_name: `${PSC_NAME}.` }
    await emulator.control('/instances', spec)
  })
  after(async () => {
    dns.lookup = lookup
    await emulator.stop()
  })

  async function login(options) {
    const connector = new Connector({ sqlAdminAPIEndpoint: emulator.url })
    let client
    try {
      const made = await connector.getOptions({ authType: 'IAM', ...options })
      client = new pg.Client({ ...made, user: USER, database: 'mydb' })
      client.on('error', () => {})
      await client.connect()
      return (await client.query('SELECT current_user AS me')).rows[0].me
    } finally {
      await client?.end().catch(() => {})
      connector.close()
    }
  }

  const put = (name, records) => emulator.control(`/dns/names/${name}`, records, 'PUT')

  test('a TXT record names the instance', async () => {
    await put('db.example.com', [{ type: 'TXT', value: [INSTANCE.slice(0, 9), INSTANCE.slice(9)] }])
    assert.equal(await login({ domainName: 'db.example.com' }), USER)
  })

  test('a CNAME is followed', async () => {
    await put('alias.example.com', [{ type: 'CNAME', value: 'db.example.com' }])
    assert.equal(await login({ domainName: 'alias.example.com' }), USER)
  })

  test('a name that leads nowhere is refused', async () => {
    await assert.rejects(login({ domainName: 'absent.example.com' }), { name: 'CloudSQLConnectorError' })
  })

  test('Private Service Connect is dialled by name', async () => {
    assert.equal(await login({ instanceConnectionName: PSC, ipType: 'PSC' }), USER)
    const sessions = await emulator.control('/sessions', undefined, 'GET')
    assert.equal(sessions.at(-1).instance, PSC)
  })

  test("an instance's own name names it", async () => {
    await emulator.control('/calls', undefined, 'DELETE')
    assert.equal(await login({ instanceConnectionName: PSC_NAME, ipType: 'PSC' }), USER)
    const calls = await emulator.control('/calls', undefined, 'GET')
    assert.ok(calls.some((call) => call.endpoint === 'resolveConnectSettings' && call.status === 200))
  })
})
