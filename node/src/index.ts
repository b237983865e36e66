/**
 * Connect to Cloud SQL and AlloyDB with the process's own Google identity: no password, no key file.
 *
 * @packageDocumentation
 */
export type { TokenGiver } from './auth.js'
export { cooldownBackoff, type SqlDataState } from './compatibility.js'
export { Connector } from './connector.js'
export { type ErrorCode, IamsqlError } from './errors.js'
export { AuthClient, GoogleAuth } from './google.js'
export {
  AuthTypes,
  type ConnectionOptions,
  type ConnectorOptions,
  type DriverOptions,
  IpAddressTypes,
  LoginScopes,
  RefreshStrategies,
  type SocketConnectionOptions,
  type TediousDriverOptions,
  type UnixSocketOptions,
  type UserOptions,
} from './options.js'
