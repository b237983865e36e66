// How each side of a comparison opens a database session: ours, Google's connector, and the bare floor.
// Nothing is loaded before it is needed, so that no side pays for another's modules.
'use strict'
const { createRequire } = require('node:module')

const user = process.env.BENCH_USER
const database = process.env.BENCH_DATABASE

const peers = createRequire(`${process.env.BENCH_NODE_PEERS}/package.json`)
const modules = {
  ours: () => require(process.env.BENCH_NODE_PACKAGE),
  peer: () => peers('@google-cloud/cloud-sql-connector'),
}

/** A connector and the driver that both sides are measured with. */
class Door {
  constructor(side, driver) {
    const { Connector } = modules[side]()
    const options = side === 'peer' ? { sqlAdminAPIEndpoint: process.env.BENCH_ADMIN_ENDPOINT } : {}
    this.connector = new Connector(options)
    this.driver = drivers[driver]
  }

  /** Fetches what a connect needs: settings and certificate. */
  async prepare() {
    const { instanceConnectionName } = this.driver
    this.options = await this.connector.getOptions({ instanceConnectionName, authType: 'IAM', ipType: 'PUBLIC' })
  }

  /** A logged-in client, with `one()` for a row and `end()`. */
  connect() {
    return this.driver.connect(this.options)
  }

  close() {
    this.connector.close()
  }
}

const drivers = {
  'node-pg': {
    instanceConnectionName: process.env.BENCH_INSTANCE,
    async connect(options) {
      const client = new (peers('pg').Client)({ ...options, user, database })
      await client.connect()
      client.one = async () => (await client.query('SELECT 1 AS one')).rows[0].one
      return client
    },
  },
  'node-mysql2': {
    instanceConnectionName: process.env.BENCH_MYSQL_INSTANCE,
    async connect(options) {
      const name = user.split('@')[0]
      const client = await peers('mysql2/promise').createConnection({ ...options, user: name, database })
      client.one = async () => (await client.query('SELECT 1 AS one'))[0][0].one
      return client
    },
  },
}

function openDoor(side, driver) {
  if (side !== 'floor') return new Door(side, driver)
  const { Floor } = require('./floor.cjs')
  return new Floor()
}

module.exports = { modules, openDoor }
