// The package under the official connector's name: its samples with nothing but the import resolved otherwise, and its
// names and types against the installed original.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import * as ours from 'iamsql'

import { DATABASE, DEMO, IAM_USER, useEmulator } from './emulator.mjs'

const execute = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
const original = fileURLToPath(new URL('../../tests/peers/node/node_modules/@google-cloud/cloud-sql-connector', import.meta.url))
const NAME = '@google-cloud/cloud-sql-connector'
const DRIVERS = ['@prisma/adapter-pg', 'knex', 'mysql2', 'pg', 'sequelize', 'tedious', 'typeorm']

let application
const emulator = useEmulator(
  async () => (application = await install()),
  () => rm(application, { recursive: true }),
)

/** An application that depends on this package under the official name, as `npm install NAME@npm:iamsql` makes it. */
async function install() {
  const directory = await mkdtemp(join(tmpdir(), 'iamsql-official-'))
  const { stdout } = await execute('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', directory], { cwd: root })
  const [{ filename }] = JSON.parse(stdout)
  const manifest = { private: true, dependencies: { [NAME]: `file:./${filename}` } }
  await writeFile(join(directory, 'package.json'), JSON.stringify(manifest))
  await execute('npm', ['install', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: directory })
  await mkdir(join(directory, 'node_modules/@prisma'))
  for (const driver of DRIVERS) await symlink(join(root, 'node_modules', driver), join(directory, 'node_modules', driver))
  await cp(fileURLToPath(new URL('official', import.meta.url)), directory, { recursive: true })
  return directory
}

describe('the official samples, with the import resolved to this package:', () => {
  for (const [sample, user, instance] of [
    ['pg.mjs', IAM_USER],
    ['pg.cjs', 'built-in'],
    ['knex.mjs', IAM_USER],
    ['sequelize.mjs', IAM_USER],
    ['typeorm.mjs', IAM_USER],
    ['prisma.mjs', IAM_USER],
    ['mysql2.mjs', 'cloudsql-client@%', 'demo-mysql'],
    ['tedious.mjs', 'built-in'],
  ]) {
    test(sample, { timeout: 60_000 }, async (t) => {
      if (instance && !process.env.CI && !(await isThere(instance))) return t.skip('MariaDB is not installed')
      const { user: name, password } = emulator.builtInUser
      const env = {
        ...process.env,
        IAMSQL_EMULATOR_HOST: emulator.host,
        NODE_PG_FORCE_NATIVE: undefined,
        POSTGRES_CONNECTION_NAME: DEMO,
        POSTGRES_IAM_USER: IAM_USER,
        POSTGRES_USER: name,
        POSTGRES_PASS: password,
        POSTGRES_DB: DATABASE,
        MYSQL_CONNECTION_NAME: DEMO.replace('postgres', 'mysql'),
        MYSQL_IAM_USER: 'cloudsql-client',
        MYSQL_DB: DATABASE,
        SQLSERVER_CONNECTION_NAME: DEMO.replace('postgres', 'sqlserver'),
        SQLSERVER_USER: name,
        SQLSERVER_PASS: password,
        SQLSERVER_DB: DATABASE,
      }
      const { stdout } = await execute(process.execPath, [join(application, sample)], { cwd: application, env, timeout: 50_000 })
      assert.equal(stdout.trim(), user === 'built-in' ? name : user)
    })
  }
})

/** MySQL needs a MariaDB on the machine. */
async function isThere(name) {
  const connector = new ours.Connector({ emulatorHost: emulator.host })
  const wanted = { instanceConnectionName: DEMO.replace('demo-postgres', name) }
  return connector.getOptions(wanted).then(() => true, () => false).finally(() => connector.close())
}

describe('against the installed original:', { skip: !existsSync(original) && `${NAME} is not installed` }, () => {
  const theirs = existsSync(original) ? createRequire(import.meta.url)(original) : {}

  test('every name it exports is exported, of the same sort', () => {
    for (const [name, value] of Object.entries(theirs)) assert.equal(typeof ours[name], typeof value, name)
  })

  test('its enumerations’ values are ours', () => {
    for (const name of ['AuthTypes', 'IpAddressTypes']) {
      for (const [key, value] of Object.entries(theirs[name])) assert.equal(ours[name][key], value, `${name}.${key}`)
    }
  })

  test('every method of its Connector is one of ours', () => {
    const isPrivate = ['constructor', 'getSqlDataState', 'getFallbackIpType', 'createDirectSocket', 'developerEditionOptions']
    const methods = Object.getOwnPropertyNames(theirs.Connector.prototype).filter((name) => !isPrivate.includes(name))
    assert.deepEqual(methods.sort(), ['close', 'getOptions', 'getTediousOptions', 'startLocalProxy'])
    for (const name of methods) {
      assert.equal(ours.Connector.prototype[name].length, theirs.Connector.prototype[name].length, name)
    }
  })

  test('what is asked wrongly is refused with the same name, code and text, in the same order', async () => {
    const connectors = [theirs, ours].map(({ Connector }) => new Connector({ auth: new ours.GoogleAuth(), sqlAdminAPIEndpoint: 'http://127.0.0.1:9/' }))
    for (const [method, ...options] of [
      ['getOptions', {}],
      ['getOptions', { ipType: 'PSC' }],
      ['getOptions', { instanceConnectionName: '', authType: 'IAM' }],
      ['getOptions', { instanceConnectionName: 'not an instance' }],
      ['getOptions', { instanceConnectionName: 'a:b', ipType: 'PRIVATE' }],
      ['getTediousOptions', { authType: 'IAM' }],
      ['getTediousOptions', {}],
      ['startLocalProxy', { listenOptions: { path: '/nowhere' } }],
    ]) {
      const [wanted, given] = await Promise.all(connectors.map((connector) => connector[method](...options).then(assert.fail, (error) => error)))
      const label = `${method}(${JSON.stringify(options)})`
      assert.deepEqual([given.name, given.code], [wanted.name, wanted.code], label)
      assert.ok(given.message.startsWith(wanted.message), `${label}: ${given.message}`)
    }
    connectors.forEach((connector) => connector.close())
  })

  test('every code that it can give is ours or in the table of deviations', async () => {
    const { readFile } = await import('node:fs/promises')
    const sources = await Promise.all((await readdir(join(original, 'dist/cjs'))).filter((file) => file.endsWith('.js')).map((file) => readFile(join(original, 'dist/cjs', file), 'utf8')))
    const codes = new Set(sources.flatMap((source) => [...source.matchAll(/code: '([A-Z]+)'/g)].map(([, code]) => code)))
    const here = await readFile(join(root, 'dist/errors.js'), 'utf8') + await readFile(join(root, 'dist/connector.js'), 'utf8')
    const guide = await readFile(join(root, '../docs/migrating-node.md'), 'utf8')
    assert.ok(codes.size > 20)
    for (const code of codes) assert.ok(here.includes(`'${code}'`) || guide.includes(`\`${code}\``), code)
  })

  test('its types are assignable to ours', async () => {
    const project = join(root, 'tests/official-typings')
    await execute(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--project', project]).catch(({ stdout }) => assert.fail(stdout))
  })
})
