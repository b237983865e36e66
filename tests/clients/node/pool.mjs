// Logs in as whoever this process is, through a driver's pool, and prints who that was: the demo's Node door.
const begun = performance.now()

import { createRequire } from 'node:module'

const packages = createRequire(new URL('../../../node/package.json', import.meta.url))
const { Connector } = await import(new URL('../../../node/dist/index.mjs', import.meta.url))

const drivers = {
  async pg(options) {
    const pool = new (packages('pg').Pool)({ ...options, max: 5 })
    const { rows } = await pool.query("select current_user as user, current_setting('server_version') as version")
    return { row: rows[0], end: () => pool.end() }
  },
  async mysql2(options) {
    const pool = packages('mysql2/promise').createPool({ ...options, connectionLimit: 5 })
    const [rows] = await pool.query("select substring_index(current_user(), '@', 1) as user, version() as version")
    return { row: rows[0], end: () => pool.end() }
  },
}

const [driver, instanceConnectionName, database] = process.argv.slice(2)
const connector = new Connector()
const options = {
  ...(await connector.getOptions({ instanceConnectionName, authType: 'IAM' })),
  user: await connector.user({ instanceConnectionName }),
  database,
}
const { row, end } = await drivers[driver](options)
const seconds = (performance.now() - begun) / 1000
await end()
connector.close()
console.log(JSON.stringify({ user: row.user, version: row.version, seconds }))
