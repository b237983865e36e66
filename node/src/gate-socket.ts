// A `net.Socket` for Bun, whose sockets adopt no descriptor: it connects to a private path of the engine's.

import { Socket } from 'node:net'

import { toError } from './errors.js'
import type { NativeGate } from './native.js'

/** A socket to an instance, with the manners of `TunnelSocket`: it dials when it is first used, and fails with `'error'`. */
export class GateSocket extends Socket {
  readonly #gate: NativeGate
  readonly #waiting: Array<() => void> = []
  #phase: 'idle' | 'dialing' | 'open' = 'idle'
  #referenced = true
  /** Keeps the process alive while dialing, as a connecting socket does; the engine's callback does not. */
  #hold: ReturnType<typeof setInterval> | undefined

  constructor(gate: NativeGate) {
    super()
    this.#gate = gate
    this.once('connect', () => {
      this.#phase = 'open'
      clearInterval(this.#hold)
      for (const write of this.#waiting.splice(0)) write()
    })
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

  override _read(size: number): void {
    this.#dial()
    if (this.#phase === 'open') super._read(size)
  }

  override _write(chunk: unknown, encoding: BufferEncoding, callback: Callback): void {
    this.#dial()
    if (this.#phase === 'open') super._write(chunk, encoding, callback)
    else this.#waiting.push(() => super._write(chunk, encoding, callback))
  }

  override _final(callback: Callback): void {
    if (this.#phase === 'open') super._final(callback)
    else if (this.#phase === 'dialing') this.#waiting.push(() => super._final(callback))
    else {
      this.destroy()
      callback()
    }
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    clearInterval(this.#hold)
    super._destroy(error, (closed) => callback(closed ?? null))
  }

  #dial(): void {
    if (this.#phase !== 'idle' || this.destroyed) return
    this.#phase = 'dialing'
    this.#hold = setInterval(() => {}, LONGEST_INTERVAL)
    if (!this.#referenced) this.#hold.unref()
    this.#attempt(() => this.#gate.dial((failure) => this.#dialed(failure)))
  }

  #dialed(failure: unknown): void {
    if (this.destroyed) return
    if (failure !== null && failure !== undefined) this.destroy(toError(failure))
    else this.#attempt(() => super.connect(this.#gate.path()))
  }

  #attempt(step: () => void): void {
    try {
      step()
    } catch (thrown) {
      process.nextTick(() => this.destroy(toError(thrown)))
    }
  }
}

type Callback = (error?: Error | null) => void

const LONGEST_INTERVAL = 2 ** 31 - 1
