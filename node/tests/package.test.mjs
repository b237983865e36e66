// The package as others get it: by import and by require, typed, installed from the checkout, its README run as printed.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { copyFile, cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import * as imported from 'iamsql'

import { IAM_USER, useEmulator } from './emulator.mjs'

const execute = promisify(execFile)
const root = fileURLToPath(new URL('..', import.meta.url))
let directory
const emulator = useEmulator(
  async () => (directory = await mkdtemp(join(tmpdir(), 'iamsql-package-'))),
  () => rm(directory, { recursive: true }),
)

test('import and require give the same names and the same objects', () => {
  const required = createRequire(import.meta.url)('iamsql')
  const names = ['AuthClient', 'AuthTypes', 'Connector', 'GoogleAuth', 'IamsqlError', 'IpAddressTypes', 'LoginScopes', 'RefreshStrategies', 'cooldownBackoff']
  assert.deepEqual(Object.keys(required).sort(), names)
  assert.deepEqual(Object.keys(imported).filter((name) => name !== 'default').sort(), names)
  for (const name of names) assert.equal(imported[name], required[name])
})

test('the enumerations hold the official values and ours', () => {
  assert.deepEqual({ ...imported.AuthTypes }, { PASSWORD: 'PASSWORD', IAM: 'IAM' })
  assert.deepEqual({ ...imported.IpAddressTypes }, { PUBLIC: 'PUBLIC', PRIVATE: 'PRIVATE', PSC: 'PSC', SQL_DATA: 'SQL_DATA', AUTO: 'AUTO' })
})

test('the typings serve both module systems', async () => {
  await execute(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '--project', join(root, 'tests/typings')]).catch(
    ({ stdout }) => assert.fail(stdout),
  )
})

test('the lock file names no registry', async () => {
  assert.doesNotMatch(await readFile(join(root, 'package-lock.json'), 'utf8'), /"resolved"|"(?!url")[^"]*": "https?:/)
})

test('no package script runs at installation', async () => {
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  for (const name of ['preinstall', 'install', 'postinstall', 'prepare', 'prepublish']) assert.equal(scripts[name], undefined)
})

test('it installs from the checkout and loads', async () => {
  const application = join(directory, 'application')
  await mkdir(application)
  await writeFile(join(application, 'package.json'), '{"private": true}')
  await execute('npm', ['install', '--offline', '--no-audit', '--no-fund', root], { cwd: application })
  const source = "import('iamsql').then(({ Connector }) => console.log(typeof new Connector().getOptions))"
  const { stdout } = await execute(process.execPath, ['--eval', source], { cwd: application })
  assert.equal(stdout.trim(), 'function')
})

test('without its addon it says how to get one, when it is used', async () => {
  const copy = join(directory, 'bare')
  await mkdir(copy)
  await cp(join(root, 'dist'), join(copy, 'dist'), { recursive: true })
  await copyFile(join(root, 'package.json'), join(copy, 'package.json'))
  const { Connector } = createRequire(import.meta.url)(copy)
  assert.throws(() => new Connector(), /no native addon for \S+: run `npm run build`/)
})

test('the README runs as printed', async () => {
  const readme = await readFile(join(root, 'README.md'), 'utf8')
  const snippets = [...readme.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code)
  assert.ok(snippets.length > 0)
  const application = join(directory, 'readme')
  await mkdir(join(application, 'node_modules'), { recursive: true })
  await symlink(root, join(application, 'node_modules/iamsql'))
  await symlink(join(root, 'node_modules/pg'), join(application, 'node_modules/pg'))
  for (const [index, code] of snippets.entries()) {
    const file = join(application, `snippet-${index}.mjs`)
    await writeFile(file, code)
    const { stdout } = await execute(process.execPath, [file], { env: { ...process.env, IAMSQL_EMULATOR_HOST: emulator.host }, timeout: 60_000 })
    assert.match(stdout, new RegExp(IAM_USER))
  }
})
