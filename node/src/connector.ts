// The public Connector: options in, the engine's answers or typed errors out.

import type { Socket } from 'node:net'

import { tokenSource } from './auth.js'
import { misuse, toError } from './errors.js'
import { native, type NativeConnectOptions, type NativeConnector } from './native.js'
import {
  AuthTypes,
  type ConnectionOptions,
  type ConnectorOptions,
  type DriverOptions,
  IpAddressTypes,
  type TediousDriverOptions,
  toNativeConnectOptions,
  toNativeConnectorOptions,
  type UserOptions,
} from './options.js'

/**
 * Connects database drivers to Cloud SQL instances as this process's Google identity.
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

  /**
   * Chooses credentials, reading a file if that is where they are; contacts nobody.
   *
   * @throws {@link IamsqlError} `IAMSQL_CONFIG` for an option that cannot mean anything; `IAMSQL_CREDENTIALS` for an unreadable credentials file.
   */
  constructor(options: ConnectorOptions = {}) {
    const { auth } = options
    if (auth != null && options.credentialsFile != null) throw misuse('auth and credentialsFile exclude each other')
    const ask = auth == null ? undefined : tokenSource(auth)
    this.#native = translated(() => new (native().Connector)(toNativeConnectorOptions(options), ask))
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
    const instance = named(options.instanceConnectionName)
    return settled(() => this.#native.user(instance))
  }

  /** Not available yet: rejects with `IAMSQL_CONFIG`. For tools that take only a path or a URL, use `iamsql-proxy`. */
  async startLocalProxy(_options: object): Promise<void> {
    throw misuse('startLocalProxy is not available yet', { advice: 'run iamsql-proxy beside the application' })
  }

  /** Ends dials in flight and refuses new ones with `ERRCLOSED`. Open connections live on. May be called again. */
  close(): void {
    this.#native.close()
  }

  /** Refuses: a connector stands for credentials, and does not belong in a log. */
  toJSON(): never {
    throw new TypeError('a Connector cannot be written as JSON')
  }

  async #streams(options: ConnectionOptions): Promise<() => Socket> {
    const instance = named(options.instanceConnectionName, options.domainName)
    if (options.ipType === IpAddressTypes.PSC) {
      throw misuse('ipType PSC is not supported yet', { advice: 'use PUBLIC, PRIVATE or AUTO' })
    }
    const chosen: NativeConnectOptions = toNativeConnectOptions(options)
    await settled(() => this.#native.warm(instance, chosen))
    // Loaded here, since node:net is half of what importing this package would cost.
    const { tunnel } = require('./socket.js') as typeof import('./socket.js')
    return () => tunnel(() => this.#native.pair(instance, chosen))
  }
}

function named(instance: string | undefined, domainName?: string): string {
  if (domainName != null) {
    throw misuse('domainName is not supported yet', { advice: 'pass instanceConnectionName' })
  }
  if (typeof instance !== 'string' || instance === '') throw misuse(MISSING_NAME, { code: 'ENOCONNECTIONNAME' })
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
