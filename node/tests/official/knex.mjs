import knex from 'knex';
import {Connector} from '@google-cloud/cloud-sql-connector';

const connector = new Connector();
const clientOpts = await connector.getOptions({
  instanceConnectionName: process.env.POSTGRES_CONNECTION_NAME,
  ipType: 'PUBLIC',
  authType: 'IAM',
});
const database = knex({
  client: 'pg',
  connection: {
    ...clientOpts,
    user: process.env.POSTGRES_IAM_USER,
    database: process.env.POSTGRES_DB,
  },
});
const {me} = await database.first(database.raw('current_user AS me'));
console.log(me);

await database.destroy();
connector.close();
