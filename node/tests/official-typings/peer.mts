// The installed original's types beside ours: whatever it takes is taken, whatever it gives is given.

import type * as theirs from '../../../tests/peers/node/node_modules/@google-cloud/cloud-sql-connector/dist/mjs/index.js'
import type * as ours from 'iamsql'

/** An enumeration's values as text: enumerations of two packages are never the same type. */
type Texts<T> = { [K in keyof T]: T[K] extends string | undefined ? `${NonNullable<T[K]>}` | Extract<T[K], undefined> : T[K] }

declare const connection: Texts<theirs.ConnectionOptions>
declare const settings: theirs.ConnectorOptions
declare const socket: theirs.UnixSocketOptions
declare const driver: ours.DriverOptions
declare const tedious: ours.TediousDriverOptions
declare const state: theirs.SqlDataState
declare const wanted: Texts<Omit<Parameters<theirs.Connector['startLocalProxy']>[0], 'listenOptions'>> & { listenOptions: theirs.UnixSocketOptions }

export const takes: [ours.ConnectionOptions, ours.ConnectorOptions, ours.UnixSocketOptions, ours.SqlDataState] = [connection, settings, socket, state]
export const gives: theirs.DriverOptions = driver
export const givesTedious: Awaited<ReturnType<theirs.Connector['getTediousOptions']>> = tedious
export const proxied = (connector: ours.Connector): Promise<void> => connector.startLocalProxy(wanted)

/** No option of theirs is unknown here. */
type Missing<Theirs, Ours> = Exclude<keyof Theirs, keyof Ours>
export const missing: [
  Missing<theirs.ConnectionOptions, ours.ConnectionOptions>,
  Missing<theirs.ConnectorOptions, ours.ConnectorOptions>,
  Missing<theirs.UnixSocketOptions, ours.UnixSocketOptions>,
  Missing<theirs.Connector, ours.Connector>,
  Missing<typeof theirs, typeof ours>,
] extends [never, never, never, never, never] ? true : false = true

export const backoff: typeof theirs.cooldownBackoff = (base, attempt) => base * attempt
export const auth: Pick<typeof ours, 'GoogleAuth' | 'AuthClient'> | undefined = undefined
