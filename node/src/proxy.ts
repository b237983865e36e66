// What `startLocalProxy()` opened, kept until the connector is closed.

import type { NativeProxy } from './native.js'

/** The local proxies of one connector. While there is one, the process stays alive, as with any server. */
export class LocalProxies {
  readonly #open: NativeProxy[] = []
  #hold: NodeJS.Timeout | undefined

  add(proxy: NativeProxy): void {
    this.#open.push(proxy)
    this.#hold ??= setInterval(() => {}, LONGEST_INTERVAL)
  }

  close(): void {
    clearInterval(this.#hold)
    this.#hold = undefined
    for (const proxy of this.#open.splice(0)) proxy.close()
  }
}

const LONGEST_INTERVAL = 2 ** 31 - 1
