// A `net.Socket` over the JavaScript end of the engine's socket pair, which dials when it is first used.

import { Socket, type SocketConstructorOpts } from 'node:net'

import { toError } from './errors.js'
import type { NativePair } from './native.js'

/** Makes a socket on the pair that `open` gives. Never throws: what goes wrong is reported when the socket is first used. */
export function tunnel(open: () => NativePair): TunnelSocket {
  let pair: NativePair | undefined
  try {
    pair = open()
    const socket = new TunnelSocket(pair, pair.fd)
    pair.adopted()
    return socket
  } catch (thrown) {
    pair?.abort()
    return new TunnelSocket(toError(thrown))
  }
}

/**
 * A socket to an instance. To a driver it is a socket that is being connected.
 *
 * It dials on `connect()`, on the first read or on the first write, and stays `connecting` until TLS is up. A socket
 * that is never used contacts nobody and does not keep the process from exiting.
 */
export class TunnelSocket extends Socket {
  readonly #way: NativePair | Error
  #phase: 'idle' | 'dialing' | 'done' = 'idle'
  #referenced = true
  /** Keeps the process alive while dialing, as a connecting socket does; the engine's callback does not. */
  #hold: NodeJS.Timeout | undefined

  constructor(way: NativePair | Error, fd: number | null = null) {
    // Without manualStart the constructor would read, and so dial, before anybody asked.
    const options: SocketConstructorOpts & { manualStart: boolean } = { manualStart: true }
    if (fd !== null) options.fd = fd
    super(options)
    this.#way = way
    this.#setConnecting(true)
  }

  /** Dials. A callback is called on `'connect'`; the host and port that drivers give have no meaning here. */
  override connect(...given: unknown[]): this {
    const callback = given.at(-1)
    if (typeof callback === 'function') this.once('connect', callback as () => void)
    this.#dial()
    return this
  }

  override ref(): this {
    this.#referenced = true
    this.#hold?.ref()
    return super.ref()
  }

  override unref(): this {
    this.#referenced = false
    this.#hold?.unref()
    return super.unref()
  }

  /** As `destroy()`: the connection to the instance is the engine's, and cannot be reset from here. */
  override resetAndDestroy(): this {
    return this.destroy()
  }

  override _read(size: number): void {
    this.#dial()
    super._read(size)
  }

  override _write(chunk: unknown, encoding: BufferEncoding, callback: Callback): void {
    this.#dial()
    super._write(chunk, encoding, callback)
  }

  override _writev(chunks: Array<{ chunk: unknown; encoding: BufferEncoding }>, callback: Callback): void {
    this.#dial()
    super._writev?.(chunks, callback)
  }

  /** Ending a socket that was never used closes it: there is nothing to say goodbye to. */
  override _final(callback: Callback): void {
    if (this.#phase === 'idle') {
      this.destroy()
      callback()
    } else {
      super._final(callback)
    }
  }

  /** The end of what the instance sends: an error, if it came otherwise than by its goodbye. */
  override push(chunk: unknown, encoding?: BufferEncoding): boolean {
    const failure = chunk === null ? this.#failure() : undefined
    if (failure === undefined) return super.push(chunk, encoding)
    this.destroy(failure)
    return false
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    const dialing = this.#phase !== 'done'
    this.#settle()
    // The engine's end outlives ours, so that nobody sees EPIPE in place of the cause.
    super._destroy(isBroken(error) ? (this.#failure() ?? error) : error, (closed) => callback(closed ?? null))
    if (dialing && !(this.#way instanceof Error)) this.#way.abort()
  }

  #dial(): void {
    if (this.#phase !== 'idle' || this.destroyed) return
    this.#phase = 'dialing'
    const way = this.#way
    if (way instanceof Error) {
      process.nextTick(() => this.destroy(way))
      return
    }
    this.#hold = setInterval(() => {}, LONGEST_INTERVAL)
    if (!this.#referenced) this.#hold.unref()
    try {
      way.dial((failure) => this.#dialed(failure))
    } catch (thrown) {
      process.nextTick(() => this.destroy(toError(thrown)))
    }
  }

  #failure(): Error | undefined {
    const failure = this.#way instanceof Error ? null : this.#way.failure()
    return failure === null ? undefined : toError(failure)
  }

  #dialed(failure: unknown): void {
    if (this.destroyed) return
    if (failure !== null && failure !== undefined) {
      this.destroy(toError(failure))
      return
    }
    this.#settle()
    this.#setConnecting(false)
    this.emit('connect')
    this.emit('ready')
    if (!this.destroyed && !this.isPaused()) this.read(0)
  }

  #settle(): void {
    this.#phase = 'done'
    clearInterval(this.#hold)
    this.#hold = undefined
  }

  #setConnecting(connecting: boolean): void {
    ;(this as { connecting: boolean }).connecting = connecting
  }
}

/** Whether the pair failed, which is never the cause but what the engine's end did about it. */
function isBroken(error: Error | null): boolean {
  const { code } = (error ?? {}) as NodeJS.ErrnoException
  return code === 'ECONNRESET' || code === 'EPIPE'
}

type Callback = (error?: Error | null) => void

const LONGEST_INTERVAL = 2 ** 31 - 1
