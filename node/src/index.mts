// The same objects as `require('iamsql')`: loaded both ways, there is still one Connector class.
export {
  AuthTypes,
  type ConnectionOptions,
  Connector,
  type ConnectorOptions,
  type DriverOptions,
  type ErrorCode,
  IamsqlError,
  IpAddressTypes,
  RefreshStrategies,
  type TediousDriverOptions,
  type TokenGiver,
  type UserOptions,
} from './index.js'
