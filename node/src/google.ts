// `GoogleAuth` and `AuthClient`, exported again as the official connector does, without loading their library before they are used.

import { misuse } from './errors.js'

/** `GoogleAuth` of `google-auth-library`, if that is installed. */
/** @ts-ignore: any, if it is not */
export type GoogleAuth<T extends AuthClient = AuthClient> = import('google-auth-library').GoogleAuth<T>
/** @ts-ignore: any, if it is not */
export const GoogleAuth: typeof import('google-auth-library').GoogleAuth = lazily('GoogleAuth')

/** `AuthClient` of `google-auth-library`, if that is installed. */
/** @ts-ignore: any, if it is not */
export type AuthClient = import('google-auth-library').AuthClient
/** @ts-ignore: any, if it is not */
export const AuthClient: typeof import('google-auth-library').AuthClient = lazily('AuthClient')

/**
 * A class that becomes the library's own when it is first looked at.
 *
 * A getter would not do: whoever imports this package as an ECMAScript module reads all its exports at once.
 */
function lazily<T extends Function>(name: string): T {
  let found: Function | undefined
  const real = (): Function => (found ??= load(name))
  const stand: T = new Proxy(function () {} as unknown as T, {
    construct: (_, given, made) => Reflect.construct(real(), given, made === stand ? real() : made) as object,
    get: (_, key) => Reflect.get(real(), key) as unknown,
    getPrototypeOf: () => Reflect.getPrototypeOf(real()),
    has: (_, key) => Reflect.has(real(), key),
    set: (_, key, value) => Reflect.set(real(), key, value),
  })
  return stand
}

function load(name: string): Function {
  try {
    return (require('google-auth-library') as Record<string, Function>)[name] as Function
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error
    throw misuse(`${name} is a class of google-auth-library, which is not installed`, { advice: 'npm install google-auth-library' })
  }
}
