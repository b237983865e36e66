/**
 * Connect to Cloud SQL with the process's own Google identity: no password, no key file.
 *
 * @packageDocumentation
 */
export type { TokenGiver } from './auth.js'
export { Connector } from './connector.js'
export { type ErrorCode, IamsqlError } from './errors.js'
export {
  AuthTypes,
  type ConnectionOptions,
  type ConnectorOptions,
  type DriverOptions,
  IpAddressTypes,
  RefreshStrategies,
  type TediousDriverOptions,
  type UserOptions,
} from './options.js'
