// Logs in as whoever this process is, through pg's Pool, and prints who that was: the demo's Node door.
const begun = performance.now()

import { createRequire } from 'node:module'

const packages = createRequire(new URL('../../../node/package.json', import.meta.url))
const pg = packages('pg')
const { Connector } = await import(new URL('../../../node/dist/index.mjs', import.meta.url))

const [instanceConnectionName, database] = process.argv.slice(2)
const connector = new Connector()
const pool = new pg.Pool({
  ...(await connector.getOptions({ instanceConnectionName, authType: 'IAM' })),
  user: await connector.user({ instanceConnectionName }),
  database,
  max: 5,
})
const { rows } = await pool.query("select current_user, current_setting('server_version') as version")
const seconds = (performance.now() - begun) / 1000
await pool.end()
connector.close()
console.log(JSON.stringify({ user: rows[0].current_user, version: rows[0].version, seconds }))
