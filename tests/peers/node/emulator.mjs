// Starts the emulator's program for Google's own Node connector, which runs unmodified against it.

import { spawn } from 'node:child_process'
import { request } from 'node:http'
import { fileURLToPath } from 'node:url'
import { createInterface } from 'node:readline'

export const INSTANCE = 'your-project-id:us-central1:demo-postgres'
export const CAS = 'your-project-id:us-central1:cas-postgres'
export const NO_IAM = 'your-project-id:us-central1:plain-postgres'
export const HUMAN = 'jane@example.com'
export const SERVICE_ACCOUNT = 'cloudsql-client@your-project-id.iam.gserviceaccount.com'

const PROGRAM =
  process.env.IAMSQL_EMULATOR_PROGRAM ??
  fileURLToPath(new URL('../../../target/debug/iamsql-emulator', import.meta.url))

/** The running program: its ready line, and its control endpoints. Its environment is this process's from then on. */
export async function startEmulator() {
  const instances = [INSTANCE, `${CAS}?ca=cas`, `${NO_IAM}?iam=off`].flatMap((name) => ['--instance', name])
  const program = spawn(PROGRAM, ['--exit-with-parent', ...instances], { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise((resolve) => program.once('exit', resolve))
  const line = await new Promise((resolve, reject) => {
    createInterface({ input: program.stdout }).once('line', resolve)
    ended.then((code) => reject(new Error(`the emulator ended before it was ready (${code})`)))
  })
  const ready = JSON.parse(line)
  for (const [name, value] of Object.entries(ready.env)) {
    if (value) process.env[name] = value
    else delete process.env[name]
  }
  return {
    url: ready.url,
    dns: ready.dns,
    user: ready.users[0].name,
    password: ready.users[0].password,
    control: (path, body, method = 'POST') => control(ready, path, body, method),
    stop: async () => {
      program.kill('SIGTERM')
      await ended
    },
  }
}

// Not fetch(): it sends Sec-Fetch headers, and the emulator answers no browsers.
function control(ready, path, body, method) {
  const headers = { authorization: `Bearer ${ready.control.bearer}`, 'content-type': 'application/json' }
  return new Promise((resolve, reject) => {
    const call = request(ready.control.url + path, { method, headers }, (response) => {
      let text = ''
      response.setEncoding('utf8')
      response.on('data', (chunk) => (text += chunk))
      response.on('error', reject)
      response.on('end', () => {
        if (response.statusCode >= 300) reject(new Error(`${path}: ${response.statusCode} ${text}`))
        else resolve(text ? JSON.parse(text) : undefined)
      })
    })
    call.on('error', reject)
    call.end(body === undefined ? undefined : JSON.stringify(body))
  })
}
