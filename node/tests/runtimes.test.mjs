// The socket that drivers get, in Bun and Deno: what it carries, how it fails, and that the process ends by itself.

import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

import { useEmulator } from './emulator.mjs'
import { BUN, DENO } from './runtimes.mjs'

const emulator = useEmulator()
const visitor = fileURLToPath(new URL('matrix/socket.mjs', import.meta.url))

for (const { name, program, args, missing } of [BUN, DENO]) {
  async function ask(instance, use, options = {}) {
    const REQUEST = JSON.stringify({ emulatorHost: emulator.host, options: { instanceConnectionName: instance, ...options }, use })
    const { stdout } = await promisify(execFile)(program, [...args, visitor], { env: { ...process.env, REQUEST, NO_COLOR: '1' }, timeout: 30_000 })
    return JSON.parse(stdout.trim().split('\n').at(-1))
  }

  describe(name, { skip: missing }, () => {
    test('every byte goes both ways, written before and after it is connected', async () => {
      assert.deepEqual(await ask(await emulator.instance(), 'echo'), { connected: true, same: true, bytes: 3 << 20 })
    })

    test('a refused port is an error with the system code, not an exception', async () => {
      const instance = await emulator.instance()
      await emulator.fault({ endpoint: 'tcp', effect: { kind: 'refuse' }, instance })
      assert.deepEqual(await ask(instance, 'fail'), { code: 'ECONNREFUSED', iamsqlCode: 'IAMSQL_NETWORK' })
    })

    test('a dial that never ends is ETIMEDOUT at its deadline', async () => {
      const instance = await emulator.instance()
      await emulator.fault({ endpoint: 'tls', effect: { kind: 'hang' }, instance })
      assert.deepEqual(await ask(instance, 'fail', { timeoutMs: 4_000 }), { code: 'ETIMEDOUT', iamsqlCode: 'IAMSQL_TIMEOUT' })
    })

    test('a socket that is never used dials nobody, and the process ends', async () => {
      const instance = await emulator.instance()
      assert.deepEqual(await ask(instance, 'nothing'), {})
      assert.deepEqual(await emulator.sessions(instance), [])
    })

    test('sixteen at once are sixteen sessions', async () => {
      const instance = await emulator.instance()
      assert.deepEqual(await ask(instance, 'many'), { distinct: 16 })
      assert.equal((await emulator.sessions(instance)).length, 16)
    })
  })
}
