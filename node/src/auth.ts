// Google's authentication objects, asked the one question that the engine has: for a token.

import { misuse, NO_LOGIN_TOKEN } from './errors.js'
import type { NativeToken } from './native.js'

/**
 * What is needed of `GoogleAuth` or an `AuthClient` from `google-auth-library`; either fits, and so does your own.
 *
 * Called for each new token. It must stay one principal.
 */
export interface TokenGiver {
  /** A token that the Admin API and, for IAM logins, the database accept. */
  getAccessToken(): Promise<string | null | undefined | { token?: string | null | undefined }>
}

/** What such objects may know besides. */
interface Known {
  email?: unknown
  credentials?: { expiry_date?: unknown }
  cachedCredential?: Known | null
}

/** The function that the addon calls with the scope it wants; `option` is where `auth` was given. */
export function tokenSource(auth: TokenGiver, option: string): (scope: string) => Promise<NativeToken> {
  if (typeof auth.getAccessToken !== 'function') {
    throw misuse(`${option} has no getAccessToken()`, { advice: 'pass a GoogleAuth or an AuthClient of google-auth-library' })
  }
  let warned = false
  return async (scope) => {
    if (scope.endsWith('.login') && !warned) {
      warned = true
      process.emitWarning(`the tokens of \`${option}\` are used for database logins with all the scopes they have`, {
        type: 'IamsqlWarning',
        detail: `A token with the scope ${scope} alone would do. Application Default Credentials are narrowed to it.`,
      })
    }
    const given = await auth.getAccessToken()
    const token = typeof given === 'string' ? given : given?.token
    if (typeof token !== 'string' || token === '') throw new Error(scope.endsWith('.login') ? NO_LOGIN_TOKEN : `${option} gave no access token`)
    return { token, ...known(auth as Known) }
  }
}

function known(auth: Known): Partial<NativeToken> {
  const client = auth.cachedCredential ?? auth
  const { email: principal, credentials } = client
  const expires = credentials?.expiry_date
  return {
    ...(typeof expires === 'number' ? { expires } : {}),
    ...(typeof principal === 'string' ? { principal } : {}),
  }
}
