// memjs with a user and a password: the server was started with -S and knows `joe:secret`.
const assert = require('assert');
const { connect, check, finish } = require('./memjs_check');

(async () => {
  const client = connect({ username: 'joe', password: 'secret' });
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
    const other = connect({ username: 'joe', password: 'wrong' });
    await assert.rejects(other.get('b'));
    other.close();
  });
  finish();
})();
