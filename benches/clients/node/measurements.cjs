// What is measured: import, first-row, and, with everything warm, connect, select, bulk, burst and idle.
'use strict'
const fs = require('node:fs')
const { monitorEventLoopDelay } = require('node:perf_hooks')
const { modules, openDoor } = require('./doors.cjs')

async function load(side) {
  const resident = process.memoryUsage.rss()
  const before = cpu()
  modules[side]()
  return { cpu: cpu() - before, resident: process.memoryUsage.rss() - resident }
}

async function firstRow(side, driver) {
  const door = openDoor(side, driver)
  await door.prepare()
  const session = await door.connect()
  if ((await session.one()) !== 1) throw new Error('SELECT 1 is not 1')
  const report = { cpu: cpu(), moment: seconds() }
  await session.end()
  door.close()
  return report
}

async function connect(door) {
  const latencies = []
  const before = cpu()
  for (let n = 0; n < CONNECTS; n++) {
    const begin = seconds()
    const session = await door.connect()
    latencies.push(seconds() - begin)
    await session.end()
  }
  return { p50: median(latencies), cpu: (cpu() - before) / CONNECTS }
}

async function select(door) {
  const latencies = []
  let spent = 0
  for (let m = 0; m < SELECT_SESSIONS; m++) {
    const session = await door.connect()
    for (let n = 0; n < SELECTS / 10; n++) await session.one()
    const before = cpu()
    for (let n = 0; n < SELECTS; n++) {
      const begin = seconds()
      await session.one()
      latencies.push(seconds() - begin)
    }
    spent += cpu() - before
    await session.end()
  }
  return { p50: median(latencies), cpu: spent / latencies.length }
}

async function bulk(door) {
  const session = await door.connect()
  let received = 0
  const [begin, before] = [seconds(), cpu()]
  for (let n = 0; n < BULK_QUERIES; n++) {
    const { rows } = await session.query(BULK_SQL)
    for (const row of rows) received += row.repeat.length
  }
  const report = { cpu: cpu() - before, wall: seconds() - begin }
  if (received !== BULK_QUERIES * BULK_ROWS * BULK_ROW_BYTES) throw new Error(`received ${received} bytes`)
  await session.end()
  return report
}

async function burst(door) {
  const [latencies, stalls] = [[], []]
  for (let n = 0; n < BURSTS; n++) {
    const delay = monitorEventLoopDelay({ resolution: 1 })
    delay.enable()
    await pause(10)
    delay.reset()
    const sessions = await Promise.all(
      Array.from({ length: BURST_SIZE }, async () => {
        const begin = seconds()
        const session = await door.connect()
        latencies.push(seconds() - begin)
        return session
      }),
    )
    await pause(10)
    delay.disable()
    stalls.push(Math.max(0, delay.max / 1e9 - 0.001))
    for (const session of sessions) await session.end()
  }
  return { p50: median(latencies), stall: median(stalls) }
}

async function idle(door) {
  const kept = [await door.connect()]
  await kept[0].one()
  const levels = [await privateMemory()]
  for (let n = 0; n < IDLE_BATCHES; n++) {
    for (let m = 0; m < IDLE_BATCH; m++) {
      kept.push(await door.connect())
      await kept.at(-1).one()
    }
    levels.push(await privateMemory())
  }
  for (const session of kept) await session.end()
  // Of the batches the median: once in a while an engine gives back megabytes that it had no use for.
  const added = levels.slice(1).map((level, n) => level - levels[n])
  return { private: median(added) / IDLE_BATCH }
}

async function measure(measurement, side, driver) {
  if (measurement === 'import') return load(side)
  if (measurement === 'first-row') return firstRow(side, driver)
  const door = openDoor(side, driver)
  await door.prepare()
  await (await door.connect()).end()
  const report = await { connect, select, bulk, burst, idle }[measurement](door)
  door.close()
  return report
}

function cpu() {
  const { user, system } = process.cpuUsage()
  return (user + system) / 1e6
}

function seconds() {
  return Number(process.hrtime.bigint()) / 1e9
}

function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

function pause(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds))
}

/** Bytes that belong to this process alone, after collecting. */
async function privateMemory() {
  for (let n = 0; n < 3; n++) {
    globalThis.gc()
    await pause(30)
  }
  const rollup = fs.readFileSync('/proc/self/smaps_rollup', 'utf8')
  return [...rollup.matchAll(/^Private_\w+:\s+(\d+) kB/gm)].reduce((sum, [, kib]) => sum + kib * 1024, 0)
}

const CONNECTS = 30
const [SELECT_SESSIONS, SELECTS] = [5, 3000]
const [BULK_ROWS, BULK_QUERIES, BULK_ROW_BYTES] = [1280, 10, 8192]
const BULK_SQL = `SELECT repeat('x', ${BULK_ROW_BYTES}) FROM generate_series(1, ${BULK_ROWS})`
const [BURSTS, BURST_SIZE] = [3, 16]
const [IDLE_BATCHES, IDLE_BATCH] = [7, 6]

module.exports = { measure }
