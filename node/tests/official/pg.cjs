const {Pool} = require('pg');
const {Connector, AuthTypes, IpAddressTypes} = require('@google-cloud/cloud-sql-connector');

async function main() {
  const connector = new Connector();
  const clientOpts = await connector.getOptions({
    instanceConnectionName: process.env.POSTGRES_CONNECTION_NAME,
    ipType: IpAddressTypes.PRIVATE,
    authType: AuthTypes.PASSWORD,
  });
  const pool = new Pool({
    ...clientOpts,
    user: process.env.POSTGRES_USER,
    password: process.env.POSTGRES_PASS,
    database: process.env.POSTGRES_DB,
    max: 5,
  });
  const {rows} = await pool.query('SELECT current_user AS me');
  console.log(rows[0].me);
  await pool.end();
  connector.close();
}

main();
