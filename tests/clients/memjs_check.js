// A memjs client of the server on the port that the script was given, and checks that print `ok` or `not ok` lines.
const memjs = require('memjs');

let failed = 0;

exports.connect = (credentials) =>
  memjs.Client.create(`127.0.0.1:${process.argv[2]}`, { retries: 0, timeout: 5, ...credentials });

exports.check = async (name, body) => {
  try {
    await body();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${name}: ${error}`);
  }
};

exports.finish = () => process.exit(failed ? 1 : 0);
