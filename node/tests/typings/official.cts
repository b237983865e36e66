// The same types by `require`.

import iamsql = require('iamsql')

const connector: iamsql.Connector = new iamsql.Connector({ timeoutMs: 10_000, refreshStrategy: 'LAZY' })
const options: Promise<iamsql.DriverOptions> = connector.getOptions({ instanceConnectionName: 'p:r:i', authType: iamsql.AuthTypes.PASSWORD })
options.then(({ stream }) => stream().on('connect', () => connector.close()))
