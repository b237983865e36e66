// Domain names: found by their records, followed within a project, watched; and Private Service Connect by its DNS name.

import assert from 'node:assert/strict'
import { once } from 'node:events'
import { describe, test } from 'node:test'

import { Connector } from 'iamsql'
import pg from 'pg'

import { DATABASE, DEMO, IAM_USER, useEmulator } from './emulator.mjs'

const connectors = []
const emulator = useEmulator(undefined, async () => connectors.forEach((connector) => connector.close()))

let names = 0
/** A new domain with a TXT record for each of `instances`. */
async function domain(...instances) {
  const name = `db${++names}.example.com`
  await point(name, ...instances)
  return name
}

async function point(name, ...instances) {
  await emulator.control('PUT', `dns/names/${name}`, instances.map((value) => ({ type: 'TXT', value: [value] })))
}

function make(options) {
  const connector = new Connector({ emulatorHost: emulator.host, userAgent: `domains-${++names}`, ...options })
  connectors.push(connector)
  return connector
}

for (const option of ['domainName', 'instanceConnectionName']) {
  test(`pg logs in by a domain given as ${option}`, async () => {
    const given = { [option]: await domain(DEMO) }
    const connector = make({ dnsServers: [emulator.ready.dns] })
    assert.equal(await connector.user(given), IAM_USER)
    const client = new pg.Client({ ...(await connector.getOptions({ ...given, authType: 'IAM' })), user: IAM_USER, database: DATABASE })
    await client.connect()
    assert.equal((await client.query('SELECT current_user AS me')).rows[0].me, IAM_USER)
    await client.end()
  })
}

test('when a domain moves, its sockets end with ERRCLOSED and new ones go where it leads', async () => {
  const [first, second] = [await emulator.instance(), await emulator.instance()]
  const domainName = await domain(first)
  const { stream } = await make().getOptions({ domainName, failoverPeriod: 200 })
  const socket = stream()
  socket.write('hello')
  assert.equal(String((await once(socket, 'data'))[0]), 'hello')

  await point(domainName, second)
  const [error] = await once(socket, 'error')
  assert.equal(error.name, 'CloudSQLConnectorError')
  assert.equal(error.code, 'ERRCLOSED')
  assert.match(error.message, /^The connector was closed\..*/)
  assert.match(error.message, new RegExp(second))

  const next = stream()
  next.write('again')
  await once(next, 'data')
  assert.equal((await emulator.sessions(second)).length, 1)
  next.destroy()
})

test('a pool goes on after its domain has moved', async () => {
  const domainName = await domain(DEMO)
  const standby = await emulator.instance({ database: 'postgres' })
  const pool = new pg.Pool({ ...(await make({ failoverPeriod: 200 }).getOptions({ domainName, authType: 'IAM' })), user: IAM_USER, database: DATABASE, max: 1 })
  const told = once(pool, 'error')
  await pool.query('SELECT 1')
  await point(domainName, standby)
  assert.equal((await told)[0].code, 'ERRCLOSED')
  assert.equal((await pool.query('SELECT current_user AS me')).rows[0].me, IAM_USER)
  assert.equal((await emulator.sessions(standby)).length, 1)
  await pool.end()
})

describe('a domain is refused', () => {
  for (const [what, records, code, message] of [
    ['that has no record', undefined, 'EDOMAINNAMELOOKUPFAILED', /^No DNS record found for db\d+\.example\.com/],
    ['whose record names nothing', [{ type: 'TXT', value: ['v=spf1'] }], 'EDOMAINNAMELOOKUPFAILED', /names no instance/],
  ]) {
    test(what, async () => {
      const domainName = `db${++names}.example.com`
      if (records) await emulator.control('PUT', `dns/names/${domainName}`, records)
      await assert.rejects(make().getOptions({ domainName }), { name: 'CloudSQLConnectorError', iamsqlCode: 'IAMSQL_DNS', code, message })
    })
  }

  test('whose aliases lead in a circle', async () => {
    const [one, two] = [`db${++names}.example.com`, `db${++names}.example.com`]
    await emulator.control('PUT', `dns/names/${one}`, [{ type: 'CNAME', value: two }])
    await emulator.control('PUT', `dns/names/${two}`, [{ type: 'CNAME', value: one }])
    await assert.rejects(make().getOptions({ domainName: one }), { code: 'ECNAMELOOPLIMITEXCEEDED', iamsqlCode: 'IAMSQL_DNS' })
  })

  test('that leads to a project which domainProjects does not list', async () => {
    const domainName = await domain(DEMO)
    await assert.rejects(make({ domainProjects: ['another-project'] }).getOptions({ domainName }), {
      name: 'IamsqlError',
      code: 'IAMSQL_DNS',
      message: /is not in domain_projects/,
    })
  })
})

for (const [given, message] of [
  [{ dnsServers: ['dns.example.com'] }, /dnsServers: "dns.example.com" is no address/],
  [{ failoverPeriod: -1 }, /failoverPeriod -1/],
]) {
  test(`new Connector(${JSON.stringify(given)}) is refused`, () => {
    assert.throws(() => make(given), { iamsqlCode: 'IAMSQL_CONFIG', message })
  })
}

test('ipType PSC dials the address that the DNS name leads to', async () => {
  const instance = await emulator.instance({ addresses: ['PRIMARY', 'PSC'] })
  const { stream } = await make().getOptions({ instanceConnectionName: instance, ipType: 'PSC' })
  const socket = stream()
  socket.write('hello')
  assert.equal(String((await once(socket, 'data'))[0]), 'hello')
  socket.destroy()
  const queries = await emulator.control('GET', 'dns/queries')
  assert.ok(queries.some(({ name }) => /\.sql-psc\.goog\.?$/.test(name)), JSON.stringify(queries))
})
