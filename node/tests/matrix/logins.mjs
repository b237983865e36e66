// How each driver logs in with what the package gives it, as its documentation would show it; each says who the database says it is.

import { createRequire } from 'node:module'
import { connect } from 'node:net'
import { dirname } from 'node:path'

const require = createRequire(import.meta.url)
const apart = createRequire(new URL('../runtimes/package.json', import.meta.url))

/** The question, in each database's words. */
const WHO = {
  postgres: 'SELECT current_user AS me',
  alloydb: 'SELECT current_user AS me',
  mysql: 'SELECT CURRENT_USER() AS me',
  sqlserver: 'SELECT CURRENT_USER AS me',
}

/**
 * `LOGINS[driver][database]`: a function of
 * `{ connector, instance, authType, user, password, database }`, and of `path` for what goes through a local proxy.
 */
export const LOGINS = {
  pg: onPostgres(async (given) => {
    const pg = require('pg')
    const pool = new pg.Pool({ ...(await options(given)), ...credentials(given), max: 2 })
    return finally_(() => pool.end(), async () => (await pool.query(WHO.postgres)).rows[0].me)
  }),

  'pg-native': onPostgres(async (given) => {
    const Native = apart('pg-native')
    const { user, password, database } = given
    const client = new Native()
    const words = { host: dirname(given.path), user, password, dbname: database, sslmode: 'disable' }
    const text = Object.entries(words).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}='${value}'`)
    await new Promise((resolve, reject) => client.connect(text.join(' '), (error) => (error ? reject(error) : resolve())))
    return finally_(
      () => new Promise((resolve) => client.end(resolve)),
      () => new Promise((resolve, reject) => client.query(WHO.postgres, (error, rows) => (error ? reject(error) : resolve(rows[0].me)))),
    )
  }),

  'postgres.js': onPostgres(async (given) => {
    const { default: postgres } = await import('postgres')
    const { stream } = await options(given)
    const sql = postgres({ socket: stream, ...credentials(given), max: 2 })
    return finally_(() => sql.end(), async () => (await sql`SELECT current_user AS me`)[0].me)
  }),

  mysql2: {
    mysql: async (given) => {
      const mysql = require('mysql2/promise')
      const pool = mysql.createPool({ ...(await options(given)), ...credentials(given), connectionLimit: 2 })
      return finally_(() => pool.end(), async () => (await pool.query(WHO.mysql))[0][0].me)
    },
  },

  mariadb: {
    mysql: async (given) => {
      const mariadb = await import('mariadb')
      const pool = mariadb.createPool({ ...(await options(given)), ...credentials(given), allowPublicKeyRetrieval: true, connectionLimit: 2 })
      return finally_(() => pool.end(), async () => (await pool.query(WHO.mysql))[0].me)
    },
  },

  tedious: {
    sqlserver: async (given) => tedious(given, await given.connector.getTediousOptions(wanted(given))),
  },

  mssql: {
    sqlserver: async (given) => {
      const mssql = require('mssql')
      const pool = new mssql.ConnectionPool({
        ...credentials(given),
        server: 'instance',
        options: await given.connector.getTediousOptions(wanted(given)),
      })
      await pool.connect()
      return finally_(() => pool.close(), async () => (await pool.request().query(WHO.sqlserver)).recordset[0].me)
    },
  },

  Knex: {
    ...onPostgres((given) => knex('pg', given)),
    mysql: (given) => knex('mysql2', given),
    sqlserver: (given) => knex('mssql', given),
  },

  Sequelize: {
    ...onPostgres(async (given) => sequelize('postgres', given, await options(given))),
    mysql: async (given) => sequelize('mysql', given, await options(given)),
    sqlserver: async (given) => sequelize('mssql', given, { options: await given.connector.getTediousOptions(wanted(given)) }),
  },

  TypeORM: {
    ...onPostgres(async (given) => typeorm({ type: 'postgres', extra: await options(given) }, given)),
    mysql: async (given) => typeorm({ type: 'mysql', extra: await options(given) }, given),
    sqlserver: async (given) =>
      typeorm({ type: 'mssql', host: 'instance', extra: { options: await given.connector.getTediousOptions(wanted(given)) } }, given),
  },

  Drizzle: {
    ...onPostgres(async (given) => {
      const { drizzle } = require('drizzle-orm/node-postgres')
      const database = drizzle({ connection: { ...(await options(given)), ...credentials(given), max: 2 } })
      return finally_(() => database.$client.end(), async () => (await database.execute(WHO.postgres)).rows[0].me)
    }),
    mysql: async (given) => {
      const { drizzle } = require('drizzle-orm/mysql2')
      const database = drizzle({ connection: { ...(await options(given)), ...credentials(given) } })
      return finally_(() => database.$client.promise().end(), async () => (await database.execute(WHO.mysql))[0][0].me)
    },
  },

  'Prisma 7 (PrismaPg)': onPostgres(async (given) => {
    const { PrismaPg } = require('@prisma/adapter-pg')
    const adapter = await new PrismaPg({ ...(await options(given)), ...credentials(given), max: 2 }).connect()
    return finally_(
      () => adapter.dispose(),
      async () => (await adapter.queryRaw({ sql: 'SELECT current_user::text AS me', args: [], argTypes: [] })).rows[0][0],
    )
  }),

  startLocalProxy: {
    ...onPostgres(async (given) => {
      const pg = require('pg')
      const client = new pg.Client({ host: dirname(given.path), ...credentials(given) })
      await client.connect()
      return finally_(() => client.end(), async () => (await client.query(WHO.postgres)).rows[0].me)
    }),
    mysql: async (given) => {
      const mysql = require('mysql2/promise')
      const client = await mysql.createConnection({ socketPath: given.path, ...credentials(given) })
      return finally_(() => client.end(), async () => (await client.query(WHO.mysql))[0][0].me)
    },
    sqlserver: async (given) => tedious(given, { connector: async () => connect(given.path), encrypt: false }),
  },
}

function onPostgres(login) {
  return { postgres: login, alloydb: login }
}

function wanted({ instance, authType }) {
  return { instanceConnectionName: instance, authType }
}

function options({ connector, ...given }) {
  return connector.getOptions(wanted(given))
}

function credentials({ user, password, database }) {
  return { user, database, ...(password === undefined ? {} : { password }) }
}

async function knex(client, given) {
  const settings = client === 'mssql' ? { server: 'instance', options: await given.connector.getTediousOptions(wanted(given)) } : await options(given)
  const database = require('knex')({ client, connection: { ...settings, ...credentials(given) }, pool: { min: 0, max: 2 } })
  const kind = { pg: 'postgres', mysql2: 'mysql', mssql: 'sqlserver' }[client]
  return finally_(() => database.destroy(), async () => {
    const answer = await database.raw(WHO[kind])
    return (answer.rows ?? (kind === 'mysql' ? answer[0] : answer))[0].me
  })
}

async function sequelize(dialect, { user, password, database }, dialectOptions) {
  const { QueryTypes, Sequelize } = require('sequelize')
  // The stand-in for SQL Server does not know the statements with which it would ask for the version.
  const databaseVersion = dialect === 'mssql' ? '15.0.2000' : undefined
  const db = new Sequelize({ dialect, databaseVersion, username: user, password, database, dialectOptions, logging: false, pool: { max: 2 } })
  const kind = { mssql: 'sqlserver' }[dialect] ?? dialect
  return finally_(() => db.close(), async () => (await db.query(WHO[kind], { type: QueryTypes.SELECT }))[0].me)
}

async function typeorm(settings, { user, password, database }) {
  const { DataSource } = require('typeorm')
  const source = new DataSource({ username: user, password, database, ...settings })
  await source.initialize()
  const kind = { mssql: 'sqlserver' }[settings.type] ?? settings.type
  return finally_(() => source.destroy(), async () => (await source.query(WHO[kind]))[0].me)
}

async function tedious({ user, password, database }, given) {
  const { Connection, Request } = require('tedious')
  const connection = new Connection({
    server: 'instance',
    authentication: { type: 'default', options: { userName: user, password } },
    options: { database, ...given },
  })
  await new Promise((resolve, reject) => connection.connect((error) => (error ? reject(error) : resolve())))
  return finally_(() => connection.close(), () => new Promise((resolve, reject) => {
    const rows = []
    const request = new Request(WHO.sqlserver, (error) => (error ? reject(error) : resolve(rows[0])))
    request.on('row', ([column]) => rows.push(column.value))
    connection.execSql(request)
  }))
}

async function finally_(close, work) {
  try {
    return await work()
  } finally {
    await close()
  }
}
