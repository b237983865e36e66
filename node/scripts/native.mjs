// Builds the addon with cargo, optimised, and puts it where src/native.ts looks for it.

import { execFileSync } from 'node:child_process'
import { copyFileSync, mkdirSync, renameSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const workspace = fileURLToPath(new URL('../..', import.meta.url))
const cargo = (...args) => execFileSync('cargo', args, { cwd: workspace, stdio: ['ignore', 'pipe', 'inherit'], encoding: 'utf8', maxBuffer: 1 << 28 })

const library = {
  darwin: 'libiamsql_node.dylib',
  linux: 'libiamsql_node.so',
  win32: 'iamsql_node.dll',
}[process.platform]
if (library === undefined) throw new Error(`no native addon for ${process.platform}`)

const libc = process.platform === 'linux' ? (process.report.getReport().header.glibcVersionRuntime ? '-gnu' : '-musl') : ''
const addon = join(workspace, 'node', 'native', `iamsql.${process.platform}-${process.arch}${libc}.node`)

cargo('build', '--release', '--locked', '--package', 'iamsql-node')
const { target_directory } = JSON.parse(cargo('metadata', '--no-deps', '--format-version', '1'))
mkdirSync(dirname(addon), { recursive: true })
// A rename, because a running process may have the old file mapped.
copyFileSync(join(target_directory, 'release', library), `${addon}.new`)
renameSync(`${addon}.new`, addon)
