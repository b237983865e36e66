import {resolve} from 'node:path';
import {Connector} from '@google-cloud/cloud-sql-connector';
import {PrismaPg} from '@prisma/adapter-pg';

const path = resolve('.s.PGSQL.5432'); // postgres-required socket filename
const connector = new Connector();
await connector.startLocalProxy({
  instanceConnectionName: process.env.POSTGRES_CONNECTION_NAME,
  ipType: 'PUBLIC',
  authType: 'IAM',
  listenOptions: {path},
});
const connectionString = `postgresql://${encodeURIComponent(process.env.POSTGRES_IAM_USER)}@localhost/${process.env.POSTGRES_DB}?host=${process.cwd()}`;

// The generated client is made of an engine that has to be downloaded; the adapter is what connects.
const adapter = await new PrismaPg({connectionString}).connect();
const {rows} = await adapter.queryRaw({sql: 'SELECT current_user::text', args: [], argTypes: []});
console.log(rows[0][0]);

await adapter.dispose();
connector.close();
