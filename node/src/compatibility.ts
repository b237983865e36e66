// Names that the official connector exports and that nothing here needs; for code that imports them.

/** How long the official connector waits before its next attempt at an exhausted quota: `base` × 1.618 to the power of `attempt`, spread. */
export function cooldownBackoff(base: number, attempt: number): number {
  return Math.floor(base * 1.618 ** (attempt - 1 + Math.random()))
}

/** What the official connector remembers of an instance's tunnel. */
export interface SqlDataState {
  allowed: boolean
  cooldownUntil: number
  lastErr?: Error
  backoffCounter: number
}
