// How each side of a comparison opens a database session: ours, Google's connector, and the bare floor.
// Nothing is loaded before it is needed, so that no side pays for another's modules.
'use strict'
const { createRequire } = require('node:module')

const instanceConnectionName = process.env.BENCH_INSTANCE
const user = process.env.BENCH_USER
const database = process.env.BENCH_DATABASE

const peers = createRequire(`${process.env.BENCH_NODE_PEERS}/package.json`)
const modules = {
  ours: () => require(process.env.BENCH_NODE_PACKAGE),
  peer: () => peers('@google-cloud/cloud-sql-connector'),
}

/** A connector and the one driver that both sides are measured with. */
class Door {
  constructor(side) {
    const { Connector } = modules[side]()
    const options = side === 'peer' ? { sqlAdminAPIEndpoint: process.env.BENCH_ADMIN_ENDPOINT } : {}
    this.connector = new Connector(options)
    this.pg = peers('pg')
  }

  /** Fetches what a connect needs: settings and certificate. */
  async prepare() {
    this.options = await this.connector.getOptions({ instanceConnectionName, authType: 'IAM', ipType: 'PUBLIC' })
  }

  /** A logged-in client, with `one()` for a row and `end()`. */
  async connect() {
    const client = new this.pg.Client({ ...this.options, user, database })
    await client.connect()
    client.one = async () => (await client.query('SELECT 1 AS one')).rows[0].one
    return client
  }

  close() {
    this.connector.close()
  }
}

function openDoor(side) {
  if (side !== 'floor') return new Door(side)
  const { Floor } = require('./floor.cjs')
  return new Floor()
}

module.exports = { modules, openDoor }
