// The public Connector: options in, the engine's answers or typed errors out.

import type { Socket } from 'node:net'

import { tokenSource } from './auth.js'
import { misuse, toError } from './errors.js'
import { native, type NativeConnectOptions, type NativeConnector, type NativeListenOptions } from './native.js'
import {
  AuthTypes,
  type ConnectionOptions,
  type ConnectorOptions,
  type DriverOptions,
  type SocketConnectionOptions,
  type TediousDriverOptions,
  toNativeConnectOptions,
  toNativeConnectorOptions,
  type UserOptions,
} from './options.js'
import { LocalProxies } from './proxy.js'

/**
 * Connects database drivers to Cloud SQL and AlloyDB instances as this process's Google identity.
 *
 * One per process is enough. It holds no timer and no socket that would keep the process from exiting.
 *
 * ```js
 * const connector = new Connector()
 * const pool = new pg.Pool({ ...await connector.getOptions({ instanceConnectionName, authType: 'IAM' }), user, database })
 * ```
 */
export class Connector {
  readonly #native: NativeConnector
  /** Made as `#native` was, but for how often it looks domain names up. */
  readonly #watching = new Map<number, NativeConnector>()
  readonly #make: (failoverPeriod?: number) => NativeConnector
  readonly #proxies = new LocalProxies()
  #closed = false

  /**
   * Chooses credentials, reading a file if that is where they are; contacts nobody.
   *
   * @throws {@link IamsqlError} `IAMSQL_CONFIG` for an option that cannot mean anything; `IAMSQL_CREDENTIALS` for an unreadable credentials file.
   */
  constructor(options: ConnectorOptions = {}) {
    const { auth, loginAuth } = options
    const sources = (['auth', 'credentialsFile', 'gcloud'] as const).filter((source) => options[source])
    if (sources.length > 1) throw misuse(`${sources.join(' and ')} exclude each other`)
    if (options.delegates != null && options.impersonate == null) throw misuse('delegates belong to impersonate')
    const ask = auth == null ? undefined : tokenSource(auth, 'auth')
    const askLogin = loginAuth == null ? undefined : tokenSource(loginAuth, 'loginAuth')
    const chosen = toNativeConnectorOptions(options)
    this.#make = (failoverPeriod = options.failoverPeriod) =>
      translated(() => new (native().Connector)({ ...chosen, ...(failoverPeriod == null ? {} : { failoverPeriod }) }, ask, askLogin))
    this.#native = this.#make()
  }

  /**
   * Fetches the instance's settings and a certificate, and gives what a driver's options need.
   *
   * Each socket made by `stream` dials for itself when it is first used, with a newer certificate if one is due.
   *
   * Rejects with {@link IamsqlError}: `ENOCONNECTIONNAME`, `EBADCONNECTIONNAME`, `EBADSQLADMINREGION`,
   * `ENOPUBLICSQLADMINIPADDRESS` and its kin, `ENOSQLADMIN` for an unknown instance, `ERRCLOSED`; or one of our own codes.
   */
  async getOptions(options: ConnectionOptions): Promise<DriverOptions> {
    const stream = await this.#streams(options)
    return { stream }
  }

  /**
   * As `getOptions()`, in the form that tedious (and mssql on it) takes. SQL Server has no IAM login.
   *
   * Rejects as `getOptions()` does, and with `ENOIAM` for `authType: 'IAM'`.
   */
  async getTediousOptions(options: ConnectionOptions): Promise<TediousDriverOptions> {
    if (options.authType === AuthTypes.IAM) {
      throw misuse('Tedious does not support Auto IAM DB Authentication', { code: 'ENOIAM' })
    }
    const stream = await this.#streams(options)
    return { connector: () => connected(stream()), encrypt: false }
  }

  /**
   * The database user of this process's IAM principal, spelled as the instance's database wants it.
   *
   * Rejects with {@link IamsqlError}, as `getOptions()` does; `IAMSQL_CREDENTIALS` if the credentials do not tell who they are.
   */
  async user(options: UserOptions): Promise<string> {
    const instance = named(options)
    return settled(() => this.#native.user(instance))
  }

  /**
   * Listens at a Unix socket that leads to the instance, for what takes only a path or a URL, until `close()`.
   *
   * Only processes of this process's own user may connect: with `authType: 'IAM'` they log in as its principal. A socket
   * named `.s.PGSQL.5432` is what PostgreSQL's own library looks for in a directory that it is given as the host.
   *
   * Rejects as `getOptions()` does, and with a system code such as `EADDRINUSE` if the path cannot be bound.
   */
  async startLocalProxy(options: SocketConnectionOptions): Promise<void> {
    const listen = listenOptions(options)
    const { engine, instance, chosen } = await this.#warm(options)
    this.#proxies.add(translated(() => engine.listen(instance, chosen, listen)))
  }

  /** Ends local proxies and dials in flight, and refuses new ones with `ERRCLOSED`. Open connections live on. May be called again. */
  close(): void {
    this.#closed = true
    this.#proxies.close()
    for (const engine of [this.#native, ...this.#watching.values()]) engine.close()
  }

  /** Refuses: a connector stands for credentials, and does not belong in a log. */
  toJSON(): never {
    throw new TypeError('a Connector cannot be written as JSON')
  }

  async #streams(options: ConnectionOptions): Promise<() => Socket> {
    const { engine, instance, chosen } = await this.#warm(options)
    // Loaded here, since node:net is half of what importing this package would cost.
    if (process.versions['bun'] !== undefined) {
      const { GateSocket } = require('./gate-socket.js') as typeof import('./gate-socket.js')
      const gate = translated(() => engine.gate(instance, chosen))
      return () => new GateSocket(gate)
    }
    const { tunnel } = require('./socket.js') as typeof import('./socket.js')
    return () => tunnel(() => engine.pair(instance, chosen))
  }

  async #warm(options: ConnectionOptions): Promise<{ engine: NativeConnector; instance: string; chosen: NativeConnectOptions }> {
    const instance = named(options)
    const chosen = toNativeConnectOptions(options)
    const engine = this.#engine(options.failoverPeriod)
    await settled(() => engine.warm(instance, chosen))
    return { engine, instance, chosen }
  }

  #engine(failoverPeriod: number | undefined): NativeConnector {
    if (failoverPeriod == null || this.#closed) return this.#native
    const engine = this.#watching.get(failoverPeriod) ?? this.#make(failoverPeriod)
    this.#watching.set(failoverPeriod, engine)
    return engine
  }
}

function listenOptions({ listenOptions }: SocketConnectionOptions): NativeListenOptions {
  const { path, readableAll, writableAll } = listenOptions ?? {}
  if (typeof path !== 'string' || path === '') throw misuse('listenOptions.path is missing')
  if (process.platform === 'win32') {
    throw misuse('startLocalProxy is not on Windows yet', { advice: 'use getOptions(), or run iamsql-proxy' })
  }
  return { path, readableAll: readableAll ?? false, writableAll: writableAll ?? false }
}

function named({ instanceConnectionName, instanceUri, domainName }: UserOptions): string {
  const instance = instanceConnectionName || instanceUri || domainName
  if (typeof instance !== 'string') throw misuse(MISSING_NAME, { code: 'ENOCONNECTIONNAME' })
  return instance
}

function connected(socket: Socket): Promise<Socket> {
  return new Promise((resolve, reject) => {
    socket.once('error', reject)
    socket.connect(0, () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

function translated<T>(call: () => T): T {
  try {
    return call()
  } catch (failure) {
    throw toError(failure)
  }
}

async function settled<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (failure) {
    throw toError(failure)
  }
}

const MISSING_NAME =
  'Missing instance connection name, expected: "PROJECT:REGION:INSTANCE" or a valid domain name.'
