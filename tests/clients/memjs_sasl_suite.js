// memjs with a user and a password: the server was started with -S and knows `joe:secret`.
const memjs = require('memjs');
const assert = require('assert');

const connect = (username, password) =>
  memjs.Client.create(`127.0.0.1:${process.argv[2]}`, { retries: 0, timeout: 5, username, password });
let failed = 0;
const check = async (name, body) => {
  try {
    await body();
    console.log(`ok ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`not ok ${name}: ${error}`);
  }
};

(async () => {
  const client = connect('joe', 'secret');
  await check('set and get after a login', async () => {
    assert.strictEqual(await client.set('b', 'text', { expires: 600 }), true);
    assert.strictEqual((await client.get('b')).value.toString(), 'text');
  });
  await check('1000 at once after a login', async () => {
    await Promise.all([...Array(1000).keys()].map((i) => client.set(`k${i}`, `${i}`, {})));
    const found = await Promise.all([...Array(1000).keys()].map((i) => client.get(`k${i}`)));
    found.forEach((one, i) => assert.strictEqual(one.value.toString(), `${i}`));
  });
  client.close();
  await check('a wrong password is refused', async () => {
    const other = connect('joe', 'wrong');
    await assert.rejects(other.get('b'));
    other.close();
  });
  process.exit(failed ? 1 : 0);
})();
