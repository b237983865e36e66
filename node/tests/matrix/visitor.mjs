// One login in a runtime or thread of its own: asked by the environment or by workerData, answered as a line or a message.

import { parentPort, workerData } from 'node:worker_threads'

import { Connector } from 'iamsql'

import { LOGINS } from './logins.mjs'

const { emulatorHost, driver, kind, ...given } = workerData ?? JSON.parse(process.env.VISIT)
const connector = new Connector({ emulatorHost })
const me = await LOGINS[driver][kind]({ connector, ...given })
connector.close()
if (parentPort) parentPort.postMessage(me)
else console.log(`I am ${me}.`)
