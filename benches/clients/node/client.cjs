// One fresh process, one measurement, one JSON line. Usage: client.cjs MEASUREMENT SIDE DRIVER
'use strict'
const { measure } = require('./measurements.cjs')

const [measurement, side, driver] = process.argv.slice(2)
measure(measurement, side, driver).then(
  (report) => console.log(JSON.stringify(report)),
  (error) => {
    console.error(error)
    console.error(String(error))
    process.exit(1)
  },
)
