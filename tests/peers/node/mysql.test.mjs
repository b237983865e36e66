// Google's Node connector on MySQL: mysql2 logs in through the emulator, and is refused where the real service refuses it.

import assert from 'node:assert/strict'
import { existsSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { after, before, describe, test } from 'node:test'

import { Connector } from '@google-cloud/cloud-sql-connector'
import mysql from 'mysql2/promise'

import { HUMAN, SERVICE_ACCOUNT, startEmulator } from './emulator.mjs'

const MYSQL = 'your-project-id:us-central1:peer-mysql'
const NATIVE = 'your-project-id:us-central1:peer-mysql-native'
const USER = 'cloudsql-client'
const THEIRS =
  'Cloud SQL MySQL: Automatic IAM authentication via the auth-proxy requires an IAM-authenticated user. ' +
  'Access denied for other users.'

const directories = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin']
const installed = directories.some((directory) => existsSync(join(directory, 'mariadbd')))
const skip = !installed && !process.env.CI && 'no MariaDB on this machine'

describe("Google's Node connector on MySQL", { skip }, () => {
  let emulator

  before(async () => {
    emulator = await startEmulator()
    await emulator.control('/instances', { name: MYSQL, database: 'mysql' })
    await emulator.control('/instances', { name: NATIVE, database: 'mysql', password_plugin: 'mysql_native_password' })
  })
  after(() => emulator.stop())

  /** Who the database says we are, or why it does not let us in. */
  async function login(config, connect = {}) {
    const connector = new Connector({ sqlAdminAPIEndpoint: emulator.url })
    let connection
    try {
      const made = await connector.getOptions({ instanceConnectionName: MYSQL, authType: 'IAM', ...connect })
      connection = await mysql.createConnection({ ...made, database: 'mydb', ...config })
      const [rows] = await connection.query('SELECT CURRENT_USER() AS me')
      return rows[0].me
    } finally {
      await connection?.end()
      connector.close()
    }
  }

  for (const ipType of ['PUBLIC', 'PRIVATE']) {
    test(`logs in by the ${ipType} address`, async () => {
      assert.equal(await login({ user: USER }, { ipType }), `${USER}@%`)
      const sessions = await emulator.control('/sessions', undefined, 'GET')
      const session = sessions.findLast((one) => one.instance === MYSQL)
      assert.deepEqual([session.principal, session.user, session.database], [SERVICE_ACCOUNT, USER, 'mydb'])
    })
  }

  test('an IAM connection is for its principal alone', async () => {
    for (const user of [HUMAN, 'jane', 'root', emulator.user]) {
      const refused = { code: 'ER_ACCESS_DENIED_ERROR', errno: 1045, sqlState: '28000', sqlMessage: THEIRS }
      await assert.rejects(login({ user, password: emulator.password }), refused)
    }
  })

  for (const instance of [MYSQL, NATIVE]) {
    test(`a built-in user logs in to ${instance} with its password`, async () => {
      const connect = { instanceConnectionName: instance, authType: 'PASSWORD' }
      // First the whole password, encrypted; then what is remembered of it.
      for (let i = 0; i < 2; i++) {
        const user = await login({ user: emulator.user, password: emulator.password }, connect)
        assert.equal(user, `${emulator.user}@%`)
      }
      const refused = { errno: 1045, sqlMessage: /Access denied for user .* \(using password: YES\)/ }
      await assert.rejects(login({ user: emulator.user, password: 'wrong' }, connect), refused)
    })
  }

  test('one user does not become another', async () => {
    const connector = new Connector({ sqlAdminAPIEndpoint: emulator.url })
    const made = await connector.getOptions({ instanceConnectionName: MYSQL, authType: 'IAM' })
    const connection = await mysql.createConnection({ ...made, user: USER })
    const other = { user: emulator.user, password: emulator.password }
    await assert.rejects(connection.changeUser(other), { errno: 1047 })
    connection.destroy()
    connector.close()
  })
})
