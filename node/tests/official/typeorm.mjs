import typeorm from 'typeorm';
import {Connector} from '@google-cloud/cloud-sql-connector';

const connector = new Connector();
const clientOpts = await connector.getOptions({
  instanceConnectionName: process.env.POSTGRES_CONNECTION_NAME,
  ipType: 'PUBLIC',
  authType: 'IAM',
});
const dataSource = new typeorm.DataSource({
  type: 'postgres',
  username: process.env.POSTGRES_IAM_USER,
  database: process.env.POSTGRES_DB,
  extra: {
    ...clientOpts,
  },
});
await dataSource.initialize();
const [{me}] = await dataSource.query('SELECT current_user AS me');
console.log(me);

await dataSource.destroy();
connector.close();
