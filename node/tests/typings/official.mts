// Code written for the official connector type-checks here with the import changed; so does what is ours.

import { AuthTypes, type ConnectionOptions, Connector, type ConnectorOptions, type DriverOptions, GoogleAuth, IamsqlError, IpAddressTypes } from 'iamsql'
import pg from 'pg'

const settings: ConnectorOptions = { sqlAdminAPIEndpoint: 'https://sqladmin.googleapis.com', universeDomain: 'googleapis.com', userAgent: 'app/1' }
const connector = new Connector(settings)
const wanted: ConnectionOptions = { instanceConnectionName: 'p:r:i', ipType: IpAddressTypes.PUBLIC, authType: AuthTypes.IAM, limitRateInterval: 30_000 }
const options: DriverOptions = await connector.getOptions(wanted)

const pool = new pg.Pool({ ...options, user: await connector.user({ instanceConnectionName: 'p:r:i' }), database: 'mydb', max: 5 })
const client = new pg.Client({ ...(await connector.getOptions({ instanceConnectionName: 'p:r:i', authType: 'IAM', ipType: 'AUTO' })) })
const tedious: { connector: () => Promise<import('node:net').Socket>; encrypt: boolean } = await connector.getTediousOptions(wanted)

const own = new Connector({ loginAuth: { getAccessToken: async () => 'token' }, loginScope: 'STRICT', dnsServers: ['192.0.2.53'], domainProjects: ['p'], failoverPeriod: 1_000, impersonate: 'a@p.iam.gserviceaccount.com' })
await own.startLocalProxy({ domainName: 'db.example.com', ipType: 'PSC', listenOptions: { path: '/tmp/.s.PGSQL.5432', readableAll: true } })
await own.getOptions({ instanceUri: 'projects/p/locations/r/clusters/c/instances/i', failoverPeriod: 0 })
const google: GoogleAuth = new GoogleAuth()
new Connector({ auth: google })

try {
  await client.connect()
} catch (error) {
  if (error instanceof IamsqlError && error.iamsqlCode === 'IAMSQL_LOGIN') console.error(error.code, error.advice)
}

// @ts-expect-error: not an authentication type
await connector.getOptions({ instanceConnectionName: 'p:r:i', authType: 'KERBEROS' })
// @ts-expect-error: a name is text
await connector.user({ instanceConnectionName: 7 })
// @ts-expect-error: no such kind
if (new Error() instanceof IamsqlError && (new Error() as IamsqlError).iamsqlCode === 'IAMSQL_OTHER') connector.close()

void pool
void tedious
