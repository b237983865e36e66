// Finds and loads the Node-API addon, and says what it offers.

import type { Failure } from './errors.js'

export interface NativeConnectorOptions {
  credentialsFile?: string
  gcloud?: boolean
  impersonate?: string
  delegates?: string[]
  quotaProject?: string
  refreshStrategy?: string
  adminEndpoint?: string
  alloydbEndpoint?: string
  sqlDataEndpoint?: string
  staticConnectionInfo?: string
  loginScope?: string
  dnsServers?: string[]
  domainProjects?: string[]
  failoverPeriod?: number
  timeoutMs?: number
  universeDomain?: string
  userAgent?: string
  emulatorHost?: string
}

export interface NativeToken {
  token: string
  /** Milliseconds since 1970. */
  expires?: number
  principal?: string
}

type Ask = (scope: string) => Promise<NativeToken>

export interface NativeConnectOptions {
  authMode?: string
  ipType?: string
  timeoutMs?: number
}

export interface NativeConnector {
  /** Fetches settings and certificate; rejects with a {@link Failure}, as all promises here do. */
  warm(instance: string, options: NativeConnectOptions): Promise<void>
  user(instance: string): Promise<string>
  /** Throws a {@link Failure}, as all synchronous calls here do. */
  pair(instance: string, options: NativeConnectOptions): NativePair
  /** A private path that leads to the instance. Throws a {@link Failure}. */
  gate(instance: string, options: NativeConnectOptions): NativeGate
  /** Binds a Unix socket that leads to the instance. Throws a {@link Failure}. */
  listen(instance: string, options: NativeConnectOptions, listen: NativeListenOptions): NativeProxy
  close(): void
}

export interface NativeListenOptions {
  path: string
  readableAll?: boolean
  writableAll?: boolean
}

export interface NativeProxy {
  /** Stops listening and removes the socket. */
  close(): void
}

export interface NativePair {
  /** The client end of the pair, the engine's until `adopted()`, null afterwards. */
  readonly fd: number | null
  adopted(): void
  /** Calls `done` once, unless aborted; does not hold the event loop open. */
  dial(done: (failure: Failure | null) => void): void
  abort(): void
  /** Why the session ended, once the client end has read its end; null for an ordinary goodbye. */
  failure(): Failure | null
}

export interface NativeGate {
  /** Calls `done` once; does not hold the event loop open. The connection then waits ten seconds for a client of `path()`. */
  dial(done: (failure: Failure | null) => void): void
  /** Throws a {@link Failure}. */
  path(): string
}

interface Native {
  /** The kinds that the engine knows. */
  errorCodes(): string[]
  /** Has the engine's warnings told to `hear`. */
  onWarning(hear: (text: string) => void): void
  Connector: new (options: NativeConnectorOptions, ask?: Ask, askLogin?: Ask) => NativeConnector
}

let loaded: Native | undefined

/** The addon, loaded on first use, so that importing this package costs and fails at nothing. */
export function native(): Native {
  if (loaded === undefined) {
    loaded = load()
    loaded.onWarning((text) => process.emitWarning(text, { type: 'IamsqlWarning' }))
  }
  return loaded
}

function load(): Native {
  const platform = `${process.platform}-${process.arch}`
  const targets = process.platform === 'linux' ? [`${platform}-gnu`, `${platform}-musl`] : [platform]
  const candidates = targets.flatMap((target) => [`../native/iamsql.${target}.node`, `@iamsql/native-${target}`])
  for (const candidate of candidates) {
    try {
      return require(candidate) as Native
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    }
  }
  throw new Error(
    `iamsql has no native addon for ${platform}: run \`npm run build\` in its checkout, ` +
      'or install it with optional dependencies on a supported platform',
  )
}
