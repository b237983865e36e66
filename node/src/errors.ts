// The engine's failures as JavaScript errors: the official connector's codes and texts where it has one, Node's system codes else.

import { getSystemErrorName, inspect, type InspectOptions } from 'node:util'

/** Every kind of failure, in the engine's order. */
export const ERROR_CODES = [
  /** The name, an option or an environment variable cannot mean anything. Fix the call. */
  'IAMSQL_CONFIG',
  /** No usable Google credentials. */
  'IAMSQL_CREDENTIALS',
  /** The Admin API refused: grant the role named in the advice. */
  'IAMSQL_PERMISSION',
  /** No such instance, or it lacks the address type asked for. */
  'IAMSQL_NOT_FOUND',
  /** The Admin API or metadata server could not be reached, or is overloaded. */
  'IAMSQL_UNAVAILABLE',
  /** A domain name did not resolve to an instance. */
  'IAMSQL_DNS',
  /** TCP never connected. */
  'IAMSQL_NETWORK',
  /** TLS failed: wrong server identity, or the certificate was refused. */
  'IAMSQL_TLS',
  /** The server refused the metadata exchange. */
  'IAMSQL_HANDSHAKE',
  /** The database refused the login. */
  'IAMSQL_LOGIN',
  /** The deadline passed. */
  'IAMSQL_TIMEOUT',
  /** The connector was closed. */
  'IAMSQL_CLOSED',
] as const

/** Whose move it is, the same in every language. `err.iamsqlCode` is always one of these. */
export type ErrorCode = (typeof ERROR_CODES)[number]

/** What the addon throws, rejects with or calls back with: an `Error` with these fields. */
export interface Failure {
  code: ErrorCode
  /** The message and its causes, joined. */
  chain: string
  causes: string[]
  retryable: boolean
  advice?: string | null
  instance?: string | null
  httpStatus?: number | null
  errno?: number | null
  ioKind?: string | null
  detail?: Detail | null
}

type Detail =
  | ['malformedName']
  | ['wrongRegion', named: string, actual: string]
  | ['noAddress', ipType: string]
  | ['wrongServer', presented: string, expected: string]

/** Why a call failed. */
export class IamsqlError extends Error {
  /**
   * A system code such as `ECONNREFUSED` where the network failed, the official connector's code such as
   * `EBADCONNECTIONNAME` where it has one, else the same as `iamsqlCode`.
   */
  readonly code: string
  /** Whose move it is, the same in every language. */
  readonly iamsqlCode: ErrorCode
  /** Whether the same call may succeed later with nothing changed. */
  readonly retryable: boolean
  /** What to do about it, often with the command to run. */
  declare readonly advice?: string
  /** The instance that the call was for, as it was spelled. */
  declare readonly instance?: string
  /** The HTTP status of the answer that caused this, if one did. */
  declare readonly httpStatus?: number
  /** The system's error number, negative as Node has it, where `code` is a system code. */
  declare readonly errno?: number
  readonly #cause: Error | undefined

  /** @internal */
  constructor(failure: Failure, official = officialFor(failure)) {
    super(official === undefined ? failure.chain : withOfficial(official.text, failure.chain))
    const name = official === undefined ? 'IamsqlError' : OFFICIAL_NAME
    Object.defineProperty(this, 'name', { value: name, configurable: true, writable: true })
    this.code = official?.code ?? systemCode(failure) ?? failure.code
    this.iamsqlCode = failure.code
    this.retryable = failure.retryable
    const { advice, instance, httpStatus, errno } = failure
    if (advice != null) this.advice = advice
    if (instance != null) this.instance = instance
    if (httpStatus != null) this.httpStatus = httpStatus
    if (errno != null) this.errno = -errno
    this.#cause = chained(failure.causes)
  }

  /** What failed beneath, if anything did; `message` ends with its text already. */
  override get cause(): Error | undefined {
    return this.#cause
  }

  /** The cause as a list, as the official connector's errors have it. */
  get errors(): Error[] {
    return this.#cause === undefined ? [] : [this.#cause]
  }

  /** The stack and the fields; not the cause, which the message has told. */
  [inspect.custom](_depth: number, options: InspectOptions): string {
    return `${this.stack} ${inspect({ ...this }, options)}`
  }
}

/** What the addon threw, as an error for users. */
export function toError(thrown: unknown): Error {
  if (!(thrown instanceof Error)) return new Error(String(thrown))
  if ('chain' in thrown) return new IamsqlError(thrown as Error & Failure)
  const [, wanted] = WRONG_TYPE.exec((thrown as NodeJS.ErrnoException).code ?? '') ?? []
  const [, option] = OPTION_AT_END.exec(thrown.message) ?? []
  return wanted === undefined ? thrown : misuse(`${option ?? 'the argument'} must be a ${wanted.toLowerCase()}`)
}

/** A mistake that is seen before the engine is asked; the official connector may have a code for it, and then the text is its. */
export function misuse(message: string, { advice, code }: { advice?: string; code?: string } = {}): IamsqlError {
  const failure: Failure = { code: 'IAMSQL_CONFIG', chain: message, causes: [], retryable: false, advice: advice ?? null }
  return new IamsqlError(failure, code === undefined ? undefined : { code, text: message })
}

interface Official {
  code: string
  text: string
}

function officialFor(failure: Failure): Official | undefined {
  const { chain, code, detail, instance } = failure
  switch (detail?.[0]) {
    case 'malformedName':
      return { code: 'EBADCONNECTIONNAME', text: MALFORMED }
    case 'wrongRegion':
      return { code: 'EBADSQLADMINREGION', text: `Provided region was mismatched. Got ${detail[2]}, want ${detail[1]}` }
    case 'noAddress':
      return NO_ADDRESS[detail[1]] ?? NO_ADDRESS['AUTO']
    case 'wrongServer':
      return { code: 'EBADSQLADMINVERIFYCERT', text: `Certificate had CN ${detail[1]}, expected ${detail[2]}` }
  }
  if (chain.includes(NO_LOGIN_TOKEN)) return { code: 'ENOACCESSTOKEN', text: NO_LOGIN_TOKEN }
  if (code === 'IAMSQL_DNS' && instance != null && !REFUSED_PROJECT.test(chain)) {
    return ALIASES.test(chain)
      ? { code: 'ECNAMELOOPLIMITEXCEEDED', text: `CNAME lookup limit exceeded (max 10) for ${instance}` }
      : { code: 'EDOMAINNAMELOOKUPFAILED', text: `No DNS record found for ${instance}` }
  }
  if (code === 'IAMSQL_CLOSED') return { code: 'ERRCLOSED', text: 'The connector was closed.' }
  const parts = instance?.split(':') ?? []
  if (code === 'IAMSQL_NOT_FOUND' && parts.length >= 3) {
    const project = parts.slice(0, -2).join(':')
    const hint = 'Ensure network connectivity and validate the provided `instanceConnectionName` config value'
    return {
      code: 'ENOSQLADMIN',
      text: `Failed to find metadata on project id: ${project} and instance id: ${parts.at(-1)}. ${hint}`,
    }
  }
  return undefined
}

function withOfficial(text: string, chain: string): string {
  return text === chain ? text : `${text}: ${chain}`
}

function systemCode({ code, errno, ioKind }: Failure): string | undefined {
  if (errno != null) return getSystemErrorName(-errno)
  if (code === 'IAMSQL_TIMEOUT') return 'ETIMEDOUT'
  return ioKind == null ? undefined : IO_KINDS[ioKind]
}

function chained(causes: string[]): Error | undefined {
  return causes.reduceRight<Error | undefined>(
    (cause, message) => (cause === undefined ? new Error(message) : new Error(message, { cause })),
    undefined,
  )
}

/** Users of the official connector look for this in `err.name`; its class is not exported there. */
const OFFICIAL_NAME = 'CloudSQLConnectorError'

/** How the engine says that a domain may not lead where it leads, and that its aliases lead nowhere. */
const REFUSED_PROJECT = / leads to .*, whose project is not /
const ALIASES = /more than 10 aliases|the aliases of .* lead in a circle/

/** What the official connector says when an `auth` object has no token for a login. */
export const NO_LOGIN_TOKEN = 'Failed to get access token for automatic IAM authentication.'

const MALFORMED =
  'Malformed Instance connection name, expected an instance connection name in the form ' +
  '"PROJECT:REGION:INSTANCE" or a valid domain name'

const NO_ADDRESS: Record<string, Official> = {
  PUBLIC: { code: 'ENOPUBLICSQLADMINIPADDRESS', text: 'Cannot connect to instance, public Ip address not found' },
  PSC: { code: 'ENOPSCSQLADMINIPADDRESS', text: 'Cannot connect to instance, PSC address not found' },
  PRIVATE: { code: 'ENOPRIVATESQLADMINIPADDRESS', text: 'Cannot connect to instance, private Ip address not found' },
  AUTO: { code: 'ENOSQLADMINIPADDRESS', text: 'Cannot connect to instance, it has no supported IP addresses' },
}

/** Input/output failures that arrive without an error number of the system. */
const IO_KINDS: Record<string, string> = {
  BrokenPipe: 'EPIPE',
  ConnectionAborted: 'ECONNABORTED',
  ConnectionRefused: 'ECONNREFUSED',
  ConnectionReset: 'ECONNRESET',
  TimedOut: 'ETIMEDOUT',
  UnexpectedEof: 'ECONNRESET',
}

/** The codes with which the addon's argument conversion refuses, as in `NumberExpected`. */
const WRONG_TYPE = /^(\w+)Expected$/
const OPTION_AT_END = /\.(\w+)$/
