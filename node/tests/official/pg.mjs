import pg from 'pg';
import {Connector} from '@google-cloud/cloud-sql-connector';

const {Pool} = pg;
const connector = new Connector();
const clientOpts = await connector.getOptions({
  instanceConnectionName: process.env.POSTGRES_CONNECTION_NAME,
  ipType: 'PUBLIC',
  authType: 'IAM',
});
const pool = new Pool({
  ...clientOpts,
  user: process.env.POSTGRES_IAM_USER,
  database: process.env.POSTGRES_DB,
  max: 5,
});
const {rows} = await pool.query('SELECT current_user AS me');
console.log(rows[0].me);

await pool.end();
connector.close();
