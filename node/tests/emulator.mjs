// One emulator per test process: started before its tests, ended with them or with the process.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import http from 'node:http'
import { createInterface } from 'node:readline'
import { text as textOf } from 'node:stream/consumers'
import { after, before } from 'node:test'
import { fileURLToPath } from 'node:url'

export const DEMO = 'your-project-id:us-central1:demo-postgres'
export const DATABASE = 'mydb'
export const PRINCIPAL = 'cloudsql-client@your-project-id.iam.gserviceaccount.com'
export const IAM_USER = 'cloudsql-client@your-project-id.iam'
export const HUMAN = 'jane@example.com'

const binary = process.env.IAMSQL_EMULATOR ?? fileURLToPath(new URL('../../target/debug/iamsql-emulator', import.meta.url))

/**
 * The emulator of this file's tests; usable inside them. `setUp` runs once it is ready, `tearDown` before it ends.
 *
 * One pair of hooks for all, because those of a file do not wait for each other.
 */
export function useEmulator(setUp = async () => {}, tearDown = async () => {}) {
  const emulator = new Emulator()
  before(async () => {
    await emulator.start()
    await setUp(emulator)
  }, { timeout: 60_000 })
  after(async () => {
    await tearDown()
    await emulator.stop()
  })
  return emulator
}

class Emulator {
  #child
  #bearer
  #instances = 0
  /** `HOST:PORT`, for `emulatorHost` and `IAMSQL_EMULATOR_HOST`. */
  host
  /** The ready line. */
  ready
  /** A database user with a password. */
  builtInUser

  async start() {
    this.#child = spawn(binary, ['--exit-with-parent'], { stdio: ['pipe', 'pipe', 'inherit'] })
    const failed = new Promise((_, reject) => {
      this.#child.once('error', reject)
      this.#child.once('exit', (code, signal) => reject(new Error(`the emulator ended: ${code ?? signal}`)))
    })
    failed.catch(() => {})
    const lines = createInterface({ input: this.#child.stdout })
    const line = await Promise.race([new Promise((resolve) => lines.once('line', resolve)), failed])
    this.ready = JSON.parse(line)
    this.host = this.ready.host
    this.#bearer = this.ready.control.bearer
    const [{ name: user, password }] = this.ready.users
    this.builtInUser = { user, password }
  }

  async stop() {
    if (this.#child === undefined || this.#child.exitCode !== null) return
    const ended = new Promise((resolve) => this.#child.once('exit', resolve))
    this.#child.kill('SIGTERM')
    await ended
  }

  /** A new instance that echoes, or what `spec` says, and its connection name. */
  async instance(spec = {}) {
    const name = `your-project-id:us-central1:node-${process.pid}-${++this.#instances}`
    await this.control('POST', 'instances', { name, ...spec })
    return name
  }

  /** Puts a fault in force, and gives the function that clears it. */
  async fault(fault) {
    const { id } = await this.control('POST', 'faults', fault)
    return () => this.control('DELETE', `faults/${id}`)
  }

  /** The connections that the instance's server has seen. */
  async sessions(instance) {
    const sessions = await this.control('GET', 'sessions')
    return sessions.filter((session) => session.instance === instance)
  }

  /** Waits, at most 15 s, until the instance's connections are as wanted. */
  async until(instance, wanted) {
    for (const end = Date.now() + 15_000; Date.now() < end; ) {
      const sessions = await this.sessions(instance)
      if (wanted(sessions)) return sessions
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    throw new Error(`never as wanted: ${JSON.stringify(await this.sessions(instance))}`)
  }

  /** Calls a control endpoint of the emulator. */
  async control(method, path, body) {
    // Not fetch(): the emulator refuses whatever may come from a web page.
    const request = http.request(`${this.ready.control.url}/${path}`, {
      method,
      agent: false,
      headers: { authorization: `Bearer ${this.#bearer}`, 'content-type': 'application/json' },
    })
    request.end(body === undefined ? undefined : JSON.stringify(body))
    const [response] = await once(request, 'response')
    const text = await textOf(response)
    if (response.statusCode >= 300) throw new Error(`${method} ${path}: HTTP ${response.statusCode}: ${text}`)
    return text === '' ? undefined : JSON.parse(text)
  }
}
