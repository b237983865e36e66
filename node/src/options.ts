// What a caller may choose, and how it is handed to the engine, which reads and checks the values.

import type { Socket } from 'node:net'

import type { TokenGiver } from './auth.js'
import type { NativeConnectOptions, NativeConnectorOptions } from './native.js'

/** How the database login happens. Default `PASSWORD`. */
export enum AuthTypes {
  /** The driver sends a user and a password of its own. */
  PASSWORD = 'PASSWORD',
  /** The server logs in as the IAM principal of this process; no password is sent. */
  IAM = 'IAM',
}

/** Which of an instance's addresses to dial. Default `PUBLIC` for Cloud SQL, `PRIVATE` for AlloyDB. */
export enum IpAddressTypes {
  /** The public address. */
  PUBLIC = 'PUBLIC',
  /** The private address, inside the VPC network. */
  PRIVATE = 'PRIVATE',
  /** A Private Service Connect endpoint, found by the instance's DNS name. */
  PSC = 'PSC',
  /** No address: a stream through Cloud SQL's API, where no network path leads to the instance. */
  SQL_DATA = 'SQL_DATA',
  /** The public address if the instance has one, else the private. */
  AUTO = 'AUTO',
}

/** When certificates are renewed. Default `AUTO`. */
export enum RefreshStrategies {
  /** Ahead of expiry while the instance is in use, asleep while it is not. */
  AUTO = 'AUTO',
  /** Ahead of expiry, always. */
  BACKGROUND = 'BACKGROUND',
  /** Only when a connect needs it: for machines that get no CPU between requests. */
  LAZY = 'LAZY',
}

/** Which token a database login may use. Default `NARROW`. */
export enum LoginScopes {
  /** One that only logs in; a broader one, with a warning, where the credentials have no other. */
  NARROW = 'NARROW',
  /** One that only logs in, or none. */
  STRICT = 'STRICT',
}

/** What `new Connector()` takes. Everything has a default; credentials come from where Google's libraries look for them. */
export interface ConnectorOptions {
  /** A service-account key, `authorized_user` or other credentials file. Default: Application Default Credentials. */
  credentialsFile?: string
  /** Whether tokens are those of `gcloud auth login`, which asks the `gcloud` command. Default `false`. */
  gcloud?: boolean
  /** A service account to act as: the credentials need `roles/iam.serviceAccountTokenCreator` on it. */
  impersonate?: string
  /** Service accounts on the way to `impersonate`, in order, each allowed to act as the next. */
  delegates?: string[]
  /** The project that is billed for Admin API calls. Default: that of the credentials. */
  quotaProject?: string
  /** When certificates are renewed. Default `AUTO`. */
  refreshStrategy?: RefreshStrategies | `${RefreshStrategies}`
  /** The Admin API's address, with or without a trailing slash; https, or http to a loopback address. Tokens are sent there. */
  sqlAdminAPIEndpoint?: string
  /** AlloyDB's API, likewise. */
  alloyDBAPIEndpoint?: string
  /** JSON text that stands in for AlloyDB's API: addresses, a key and certificates by instance. For development. */
  staticConnectionInfo?: string
  /** How long one connect may take, from name to ready socket, in milliseconds. Default 30 000, at least 1, at most 3 600 000. */
  timeoutMs?: number
  /** The Google universe. Default: that of the environment, else `googleapis.com`. */
  universeDomain?: string
  /** Added to the user agent that the Admin API sees. */
  userAgent?: string
  /** `HOST:PORT` of an `iamsql-emulator`. Default: the environment variable `IAMSQL_EMULATOR_HOST`. */
  emulatorHost?: string
  /** The DNS servers that domain names are looked up with, `ADDRESS` or `ADDRESS:PORT` each. Default: the emulator's, else the system's. */
  dnsServers?: string[]
  /** The projects that a domain name may lead to. Default: the project of its first answer. */
  domainProjects?: string[]
  /** How often a domain name is looked up again while it is used, in milliseconds. Default 30 000, at least 100; 0: only when connecting. */
  failoverPeriod?: number
  /** Gives tokens instead: a `GoogleAuth` or an `AuthClient` from `google-auth-library`. Its scopes are not narrowed. */
  auth?: TokenGiver
  /** Where streams of `SQL_DATA` are opened, `HOST`, `HOST:PORT` or a URL. Tokens are sent there, and all that the driver says. */
  sqlDataEndpoint?: string
  /** Accepted and unused, as the three below: the engine has its own limits for a stream through Cloud SQL's API. */
  sqlDataStreamTimeout?: number
  sqlDataKeepAliveTimeMs?: number
  sqlDataKeepAliveTimeoutMs?: number
  resourceExhaustedCooldownPeriod?: number
  /** Gives the tokens of database logins, when whoever logs in is not who calls the API. Default: the same credentials. */
  loginAuth?: TokenGiver
  /** Which token a database login may use. Default `NARROW`. */
  loginScope?: LoginScopes | `${LoginScopes}`
}

/** What `getOptions()`, `getTediousOptions()` and `startLocalProxy()` take: an instance, by one of its names, and how to reach it. */
export interface ConnectionOptions {
  /**
   * `PROJECT:REGION:INSTANCE`, as `gcloud sql instances describe INSTANCE --format='value(connectionName)'` prints it; or
   * what `instanceUri` or `domainName` takes.
   */
  instanceConnectionName?: string
  /** An AlloyDB instance: `projects/P/locations/REGION/clusters/CLUSTER/instances/INSTANCE`. */
  instanceUri?: string
  /** A DNS name whose TXT record, or whose own form, says which Cloud SQL instance it stands for. */
  domainName?: string
  /** How the database login happens. Default `PASSWORD`. */
  authType?: AuthTypes | `${AuthTypes}`
  /** Which address to dial. Default `PUBLIC` for Cloud SQL, `PRIVATE` for AlloyDB. */
  ipType?: IpAddressTypes | `${IpAddressTypes}`
  /** How long one connect may take, in milliseconds. Default: the connector's. */
  timeoutMs?: number
  /** How often `domainName` is looked up again, in milliseconds. Default: the connector's. When it leads elsewhere, its sockets end with `ERRCLOSED`. */
  failoverPeriod?: number
  /** Accepted and unused: the engine fetches at most twice at once after a refused connect, then once in 30 s. */
  limitRateInterval?: number
  /** Accepted and unused, as the four below: the connector's own settings of a stream through Cloud SQL's API. */
  sqlDataEndpoint?: string
  sqlDataStreamTimeout?: number
  sqlDataKeepAliveTimeMs?: number
  sqlDataKeepAliveTimeoutMs?: number
  resourceExhaustedCooldownPeriod?: number
}

/** Where `startLocalProxy()` listens. */
export interface UnixSocketOptions {
  /** The socket's path, at most 107 bytes; it must be free. */
  path: string | undefined
  /** Whether other users may read the socket's file, which on Linux does not let them connect. Default `false`. */
  readableAll?: boolean | undefined
  /** Whether other users may connect. Default `false`; refused with `authType: 'IAM'`, since they would log in as this process's principal. */
  writableAll?: boolean | undefined
}

/** What `startLocalProxy()` takes. */
export interface SocketConnectionOptions extends ConnectionOptions {
  listenOptions: UnixSocketOptions
}

/** What `user()` takes: an instance, whose database engine decides how the principal's user is spelled. */
export type UserOptions = Pick<ConnectionOptions, 'instanceConnectionName' | 'instanceUri' | 'domainName'>

/** What `getOptions()` gives: spread it into the options of `pg.Pool`, `pg.Client` or another driver that takes `stream`. */
export interface DriverOptions {
  /** Makes a socket to the instance. It dials when it is first used and reports every failure by `'error'`. */
  stream: () => Socket
}

/** What `getTediousOptions()` gives: spread it into the `options` of a tedious or mssql configuration. */
export interface TediousDriverOptions {
  /** Makes a connected socket to the instance. */
  connector: () => Promise<Socket>
  /** False: the socket is encrypted already. */
  encrypt: boolean
}

export function toNativeConnectorOptions(options: ConnectorOptions): NativeConnectorOptions {
  const { delegates, dnsServers, domainProjects, failoverPeriod, gcloud, impersonate } = options
  const { credentialsFile, quotaProject, refreshStrategy, sqlAdminAPIEndpoint } = options
  const { sqlDataEndpoint } = options
  const { alloyDBAPIEndpoint, loginScope, staticConnectionInfo, timeoutMs, universeDomain, userAgent, emulatorHost } = options
  return present({
    credentialsFile,
    gcloud,
    impersonate,
    delegates,
    quotaProject,
    refreshStrategy,
    adminEndpoint: sqlAdminAPIEndpoint,
    alloydbEndpoint: alloyDBAPIEndpoint,
    sqlDataEndpoint: sqlDataEndpoint ? url(sqlDataEndpoint) : undefined,
    staticConnectionInfo,
    loginScope,
    dnsServers,
    domainProjects,
    failoverPeriod,
    timeoutMs,
    universeDomain,
    userAgent,
    emulatorHost,
  })
}

export function toNativeConnectOptions(options: ConnectionOptions): NativeConnectOptions {
  const { authType = AuthTypes.PASSWORD, ipType, timeoutMs } = options
  return present({ authMode: authType, ipType, timeoutMs })
}

/** The official connector takes gRPC's form, without a scheme. */
function url(endpoint: string): string {
  return endpoint.includes('://') ? endpoint : `https://${endpoint}`
}

/** Leaves out what is undefined or null: for the engine, unset. */
function present<T extends object>(options: T): { [K in keyof T]: NonNullable<T[K]> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined && value !== null)
  return Object.fromEntries(entries) as { [K in keyof T]: NonNullable<T[K]> }
}
