// Does with a socket what the environment asks, and prints the outcome as JSON.

import { Connector } from 'iamsql'

const { emulatorHost, options, use } = JSON.parse(process.env.REQUEST)
const connector = new Connector({ emulatorHost })
const { stream } = await connector.getOptions(options)
const next = (socket, event) => new Promise((resolve) => socket.once(event, resolve))

const USES = {
  async echo() {
    const socket = stream()
    const sent = Buffer.alloc(3 << 20, 'abcdefg')
    const connected = next(socket, 'connect')
    const received = []
    let bytes = 0
    const all = new Promise((resolve) => socket.on('data', (data) => {
      received.push(data)
      if ((bytes += data.length) === sent.length) resolve()
    }))
    socket.write(sent.subarray(0, 1 << 20))
    await connected
    socket.write(sent.subarray(1 << 20))
    await all
    socket.destroy()
    return { connected: !socket.connecting, same: Buffer.concat(received).equals(sent), bytes }
  },
  async fail() {
    const socket = stream()
    socket.write('x')
    const { code, iamsqlCode } = await next(socket, 'error')
    return { code, iamsqlCode }
  },
  async nothing() {
    stream()
    return {}
  },
  async many() {
    const answers = await Promise.all(Array.from({ length: 16 }, async (_, number) => {
      const socket = stream()
      socket.connect()
      await next(socket, 'connect')
      socket.write(`number ${number}`)
      const answer = String(await next(socket, 'data'))
      socket.destroy()
      return answer
    }))
    return { distinct: new Set(answers).size }
  },
}

console.log(JSON.stringify(await USES[use]()))
