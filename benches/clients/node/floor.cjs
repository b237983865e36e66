// The least a Node client can do: TCP, TLS with a certificate made beforehand, the startup packet. No driver.
'use strict'
const fs = require('node:fs')
const tls = require('node:tls')

/** Opens bare sessions with the certificate in BENCH_CERTIFICATE and the CA in BENCH_SERVER_CA. */
class Floor {
  async prepare() {
    const certificate = fs.readFileSync(process.env.BENCH_CERTIFICATE)
    const ca = fs.readFileSync(process.env.BENCH_SERVER_CA)
    this.secureContext = tls.createSecureContext({ cert: certificate, key: certificate, ca, minVersion: 'TLSv1.3' })
  }

  async connect() {
    const session = new Session(
      tls.connect({
        host: process.env.BENCH_ADDRESS,
        port: 3307,
        secureContext: this.secureContext,
        checkServerIdentity: () => undefined,
      }),
    )
    session.socket.setNoDelay(true)
    await session.send(startupPacket())
    return session
  }

  close() {}
}

/** A logged-in session. */
class Session {
  constructor(socket) {
    this.socket = socket
    this.received = Buffer.alloc(0)
    socket.on('data', (chunk) => this.follow(chunk))
    socket.on('error', (error) => this.reject?.(error))
    socket.on('close', () => this.reject?.(new Error('the server closed the connection')))
  }

  /** Sends one packet and waits for all that answers it. */
  send(packet) {
    return new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
      this.socket.write(packet)
    })
  }

  /** Follows the server's messages up to ReadyForQuery. */
  follow(chunk) {
    this.received = Buffer.concat([this.received, chunk])
    while (this.received.length >= 5) {
      const length = 1 + this.received.readUInt32BE(1)
      if (this.received.length < length) return
      const kind = String.fromCharCode(this.received[0])
      if (kind === 'E') this.reject(new Error(this.received.toString('utf8', 5, length)))
      this.received = this.received.subarray(length)
      if (kind === 'Z') this.resolve()
    }
  }

  async one() {
    await this.send(queryPacket('SELECT 1 AS one'))
    return 1
  }

  async end() {
    this.socket.end()
  }
}

function startupPacket() {
  const { BENCH_USER, BENCH_DATABASE } = process.env
  const parameters = Buffer.from(`user\0${BENCH_USER}\0database\0${BENCH_DATABASE}\0\0`)
  const header = Buffer.alloc(8)
  header.writeUInt32BE(8 + parameters.length, 0)
  header.writeUInt32BE(196608, 4)
  return Buffer.concat([header, parameters])
}

function queryPacket(sql) {
  const body = Buffer.from(`${sql}\0`)
  const header = Buffer.from('Q\0\0\0\0')
  header.writeUInt32BE(4 + body.length, 1)
  return Buffer.concat([header, body])
}

module.exports = { Floor }
