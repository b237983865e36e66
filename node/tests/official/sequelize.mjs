import {Sequelize} from 'sequelize';
import {Connector} from '@google-cloud/cloud-sql-connector';

const connector = new Connector();
const clientOpts = await connector.getOptions({
  instanceConnectionName: process.env.POSTGRES_CONNECTION_NAME,
  ipType: 'PUBLIC',
  authType: 'IAM',
});
const database = new Sequelize({
  dialect: 'postgres',
  username: process.env.POSTGRES_IAM_USER,
  database: process.env.POSTGRES_DB,
  logging: false,
  dialectOptions: {
    ...clientOpts,
  },
});
await database.authenticate();
const [rows] = await database.query('SELECT current_user AS me');
console.log(rows[0].me);

await database.close();
connector.close();
