import mysql from 'mysql2/promise';
import {Connector} from '@google-cloud/cloud-sql-connector';

const connector = new Connector();
const clientOpts = await connector.getOptions({
  instanceConnectionName: process.env.MYSQL_CONNECTION_NAME,
  ipType: 'PUBLIC',
  authType: 'IAM',
});
const pool = await mysql.createPool({
  ...clientOpts,
  user: process.env.MYSQL_IAM_USER,
  database: process.env.MYSQL_DB,
});
const conn = await pool.getConnection();
const [result] = await conn.query('SELECT CURRENT_USER() AS me');
console.log(result[0].me);

await conn.release();
await pool.end();
connector.close();
