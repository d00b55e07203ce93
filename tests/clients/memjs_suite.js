// memjs: the binary protocol from Node. Prints `ok` or `not ok` lines.
const assert = require('assert');
const { connect, check, finish } = require('./memjs_check');

const client = connect();
const get = async (key) => (await client.get(key)).value;

(async () => {
  await client.flush();
  await check('set and get', async () => {
    assert.strictEqual(await client.set('a', 'text', { expires: 600 }), true);
    assert.strictEqual((await get('a')).toString(), 'text');
  });
  await check('get of nothing', async () => assert.strictEqual(await get('none'), null));
  await check('binary values', async () => {
    const value = Buffer.from([0, 13, 10, 255, 128]);
    await client.set('bin', value, {});
    assert.deepStrictEqual(await get('bin'), value);
  });
  await check('add', async () => {
    assert.strictEqual(await client.add('a', 'x', {}), false);
    assert.strictEqual(await client.add('b', 'x', {}), true);
  });
  await check('replace', async () => {
    assert.strictEqual(await client.replace('a', 'y', {}), true);
    assert.strictEqual(await client.replace('none', 'y', {}), false);
  });
  await check('append', async () => {
    await client.append('a', '>');
    assert.strictEqual((await get('a')).toString(), 'y>');
  });
  await check('increment and decrement', async () => {
    assert.strictEqual((await client.increment('n', 5, { initial: 10 })).value, 10);
    assert.strictEqual((await client.increment('n', 5, {})).value, 15);
    assert.strictEqual((await client.decrement('n', 20, {})).value, 0);
  });
  await check('touch', async () => assert.strictEqual(await client.touch('a', 100), true));
  await check('delete', async () => {
    assert.strictEqual(await client.delete('a'), true);
    assert.strictEqual(await client.delete('a'), false);
  });
  await check('large values', async () => {
    const value = Buffer.alloc(1000000, 'x');
    await client.set('large', value, {});
    assert.ok(value.equals(await get('large')));
  });
  await check('1000 at once', async () => {
    await Promise.all([...Array(1000).keys()].map((i) => client.set(`k${i}`, `${i}`, {})));
    const values = await Promise.all([...Array(1000).keys()].map((i) => get(`k${i}`)));
    values.forEach((value, i) => assert.strictEqual(value.toString(), `${i}`));
  });
  await check('stats', async () => {
    await new Promise((resolve, reject) => {
      client.stats((error, _server, stats) => (error || !stats.curr_items ? reject(error || stats) : resolve()));
    });
  });
  client.close();
  finish();
})();
