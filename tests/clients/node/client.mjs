// Carries out one request (a line of JSON on standard input) through the npm package, and prints the outcome.
import { createRequire } from 'node:module'
import { text } from 'node:stream/consumers'

const packages = createRequire(new URL('../../../node/package.json', import.meta.url))
const pg = packages('pg')
const { Connector } = await import(new URL('../../../node/dist/index.mjs', import.meta.url))

const QUERY = "select current_user, current_setting('server_version') as version"

const request = JSON.parse(await text(process.stdin))
const begun = performance.now()
const outcome = await ask(request).catch((error) => ({
  code: error.iamsqlCode ?? error.cause?.iamsqlCode ?? error.code ?? error.name,
  message: error.message,
  advice: error.advice ?? error.cause?.advice ?? null,
}))
console.log(JSON.stringify({ ...outcome, seconds: (performance.now() - begun) / 1000 }))

async function ask({ instance, user, password, iam, ip_type, timeout, admin_endpoint }) {
  const connector = new Connector(
    defined({ timeoutMs: timeout === null ? null : timeout * 1000, sqlAdminAPIEndpoint: admin_endpoint }),
  )
  try {
    const options = await connector.getOptions(
      defined({ instanceConnectionName: instance, ipType: ip_type, authType: authType(iam, password) }),
    )
    const client = new pg.Client({
      ...options,
      user: user ?? (await connector.user({ instanceConnectionName: instance })),
      password: password ?? undefined,
      database: 'mydb',
    })
    client.on('error', () => {})
    try {
      await client.connect()
      const { rows } = await client.query(QUERY)
      return { user: rows[0].current_user, version: rows[0].version }
    } finally {
      await client.end().catch(() => {})
    }
  } finally {
    connector.close()
  }
}

function authType(iam, password) {
  return iam ?? password === null ? 'IAM' : 'PASSWORD'
}

function defined(options) {
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null && value !== undefined))
}
