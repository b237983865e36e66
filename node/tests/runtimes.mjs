// Where Bun and Deno are, and how each runs a module; `missing` says so where one is not installed.

import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const BUN = runtime('Bun', `@oven/bun-linux-${process.arch === 'arm64' ? 'aarch64' : process.arch}/bin/bun`, [])
export const DENO = runtime('Deno', `@deno/linux-${process.arch}-glibc/deno`, ['run', '--allow-all'])

function runtime(name, path, args) {
  const program = fileURLToPath(new URL(`runtimes/node_modules/${path}`, import.meta.url))
  return { name, program, args, missing: !existsSync(program) && `${name} is not installed for this machine` }
}
