// The driver matrix: every driver on every database with both ways to log in, each row tested or told why not.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { appendFileSync, existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { inspect, promisify } from 'node:util'
import { Worker } from 'node:worker_threads'

import { Connector } from 'iamsql'

import { DATABASE, DEMO, IAM_USER, useEmulator } from './emulator.mjs'
import { LOGINS } from './matrix/logins.mjs'
import { BUN, DENO } from './runtimes.mjs'

const DATABASES = {
  postgres: { instance: DEMO, user: IAM_USER },
  mysql: { instance: 'your-project-id:us-central1:demo-mysql', user: 'cloudsql-client' },
  sqlserver: { instance: 'your-project-id:us-central1:demo-sqlserver' },
  alloydb: { instance: 'projects/my-project/locations/us-central1/clusters/my-alloydb-cluster/instances/my-primary', user: IAM_USER },
}

/** What somebody's machine may lack; never where CI is set. */
const OPTIONAL = { mysql: 'MariaDB is not installed' }

const visitor = fileURLToPath(new URL('matrix/visitor.mjs', import.meta.url))
const POSTGRES_ONLY = 'speaks PostgreSQL’s protocol alone'
const MYSQL_ONLY = 'speaks MySQL’s protocol alone'
const SQL_SERVER_ONLY = 'speaks SQL Server’s protocol alone'
const NO_LIBPQ = !existsSync(new URL('runtimes/node_modules/libpq/build/Release/addon.node', import.meta.url)) && 'libpq-dev or Node’s headers are missing, so its addon is not built'

/** Each driver: how it is run, and why it cannot be where it cannot. */
const DRIVERS = {
  pg: { others: POSTGRES_ONLY },
  'pg-native': { others: POSTGRES_ONLY, run: throughPath, missing: NO_LIBPQ },
  'postgres.js': { others: POSTGRES_ONLY },
  mysql2: { others: MYSQL_ONLY },
  mariadb: { others: MYSQL_ONLY },
  tedious: { others: SQL_SERVER_ONLY },
  mssql: { others: SQL_SERVER_ONLY },
  Knex: {},
  Sequelize: {},
  TypeORM: {},
  Drizzle: { others: 'its stable release has no SQL Server dialect' },
  'Prisma 7 (PrismaPg)': { others: 'the adapter is PostgreSQL’s; other databases have adapters of their own' },
  startLocalProxy: { run: throughPath },
  worker_threads: { run: inWorker, as: NATIVE_DRIVERS() },
  Bun: { run: (given) => inRuntime(BUN, given), as: NATIVE_DRIVERS(), missing: BUN.missing },
  Deno: { run: (given) => inRuntime(DENO, given), as: NATIVE_DRIVERS(), missing: DENO.missing },
}

let connector
let directory
const emulator = useEmulator(
  async ({ host }) => {
    connector = new Connector({ emulatorHost: host })
    directory = await mkdtemp(join(tmpdir(), 'iamsql-matrix-'))
  },
  async () => {
    connector.close()
    await rm(directory, { recursive: true })
  },
)

for (const [driver, { others, run = here, as, missing }] of Object.entries(DRIVERS)) {
  describe(driver, () => {
    for (const [kind, { instance, user }] of Object.entries(DATABASES)) {
      for (const auth of ['iam', 'password']) {
        const row = { language: 'node', driver, database: kind, auth }
        const login = LOGINS[as?.[kind] ?? driver][kind]
        const impossible = login === undefined ? others : user === undefined && auth === 'iam' ? 'SQL Server has no IAM login' : undefined
        const name = `${kind}, ${auth}`
        if (impossible !== undefined) {
          test(name, { skip: impossible }, () => {})
          report({ ...row, result: 'not applicable', why: impossible })
        } else if (missing) {
          test(name, { skip: missing }, () => {})
          report({ ...row, result: 'known gap', why: missing, machine: true })
        } else {
          test(name, { timeout: 60_000 }, async (t) => {
            if (OPTIONAL[kind] && !(await isThere(instance)) && !process.env.CI) {
              report({ ...row, result: 'known gap', why: OPTIONAL[kind], machine: true })
              return t.skip(OPTIONAL[kind])
            }
            const identity = auth === 'iam' ? { user: await connector.user({ instanceConnectionName: instance }) } : emulator.builtInUser
            if (auth === 'iam') assert.equal(identity.user, user)
            const given = { driver: as?.[kind] ?? driver, kind, instance, authType: auth.toUpperCase(), database: DATABASE, ...identity }
            const me = await run(given)
            assert.equal(kind === 'mysql' ? me.replace(/@.*/, '') : me, identity.user)
            report({ ...row, result: 'pass' })
          })
        }
      }
    }
  })
}

test('a login that is refused fails in every driver, so that none passes by chance', async () => {
  for (const [driver, kinds] of Object.entries(LOGINS)) {
    if (kinds.postgres === undefined || DRIVERS[driver].missing) continue
    const given = { driver, kind: 'postgres', instance: DEMO, authType: 'PASSWORD', database: DATABASE, ...emulator.builtInUser, password: 'not it' }
    const refused = await (DRIVERS[driver].run ?? here)(given).then(assert.fail, (error) => error)
    assert.match(inspect(refused, { depth: 5 }), /password authentication failed|AuthenticationFailed/, driver)
  }
})

function report(row) {
  const file = process.env.IAMSQL_DRIVER_MATRIX
  if (file) appendFileSync(file, `${JSON.stringify(row)}\n`)
}

function here(given) {
  return LOGINS[given.driver][given.kind]({ connector, ...given })
}

async function throughPath(given) {
  const { instance, authType, driver, kind } = given
  const home = await mkdtemp(join(directory, 'proxy-'))
  const path = join(home, '.s.PGSQL.5432')
  const proxying = new Connector({ emulatorHost: emulator.host })
  try {
    await proxying.startLocalProxy({ instanceConnectionName: instance, authType, listenOptions: { path } })
    return await LOGINS[driver][kind]({ path, ...given })
  } finally {
    proxying.close()
  }
}

async function inWorker(given) {
  const worker = new Worker(visitor, { workerData: { emulatorHost: emulator.host, ...given } })
  // Both at once: a worker may give its last message and end within the same turn of the loop.
  const [[me], exit] = await Promise.all([once(worker, 'message'), once(worker, 'exit')])
  assert.deepEqual(exit, [0])
  return me
}

async function inRuntime(runtime, given) {
  const VISIT = JSON.stringify({ emulatorHost: emulator.host, ...given })
  const { stdout } = await promisify(execFile)(runtime.program, [...runtime.args, visitor], { env: { ...process.env, VISIT, NO_COLOR: '1' }, timeout: 50_000 })
  const [, me] = /^I am (.*)\.$/m.exec(stdout) ?? assert.fail(stdout)
  return me
}

function NATIVE_DRIVERS() {
  return { postgres: 'pg', alloydb: 'pg', mysql: 'mysql2', sqlserver: 'tedious' }
}

async function isThere(instance) {
  return connector.getOptions({ instanceConnectionName: instance }).then(
    () => true,
    ({ iamsqlCode }) => iamsqlCode !== 'IAMSQL_NOT_FOUND',
  )
}
