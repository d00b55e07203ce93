<?php
// php-memcached (libmemcached) in text and binary. Prints `ok` or `not ok` lines.
$port = (int) $argv[1];
$failed = 0;

function check(string $name, bool $right): void
{
    global $failed;
    echo $right ? "ok $name\n" : "not ok $name\n";
    $failed += $right ? 0 : 1;
}

foreach (['text' => false, 'binary' => true] as $name => $binary) {
    $m = new Memcached();
    $m->setOption(Memcached::OPT_BINARY_PROTOCOL, $binary);
    $m->setOption(Memcached::OPT_TCP_NODELAY, true);
    $m->addServer('127.0.0.1', $port);
    check("$name: flush", $m->flush());
    check("$name: set and get", $m->set('a', 'text') && $m->get('a') === 'text');
    check("$name: get of nothing", $m->get('none') === false && $m->getResultCode() === Memcached::RES_NOTFOUND);
    check("$name: types", $m->set('t', [1, 'x' => 2.5]) && $m->get('t') === [1, 'x' => 2.5]);
    check("$name: add and replace", !$m->add('a', 1) && $m->add('b', 1) && $m->replace('b', 2) && !$m->replace('none', 1));
    $m->setOption(Memcached::OPT_COMPRESSION, false);
    $m->set('s', 'mid');
    check("$name: append and prepend", $m->append('s', '>') && $m->prepend('s', '<') && $m->get('s') === '<mid>');
    $got = $m->get('s', null, Memcached::GET_EXTENDED);
    check("$name: cas", $m->cas($got['cas'], 's', 'new') && !$m->cas($got['cas'], 's', 'newer'));
    $m->set('n', 10);
    check("$name: increment", $m->increment('n', 5) === 15 && $m->decrement('n', 20) === 0);
    $many = [];
    for ($i = 0; $i < 300; $i++) {
        $many["m$i"] = "v$i";
    }
    check("$name: setMulti and getMulti", $m->setMulti($many) && $m->getMulti(array_keys($many)) == $many);
    check("$name: touch", $m->touch('a', 100));
    check("$name: delete", $m->delete('a') && !$m->delete('a'));
    $large = str_repeat('x', 1000000);
    check("$name: large values", $m->set('large', $large) && $m->get('large') === $large);
    check("$name: too large", !$m->set('huge', str_repeat('x', 1 << 20)));
    check("$name: after the error", $m->get('large') === $large);
    $version = current($m->getVersion());
    check("$name: version", preg_match('/^1\.6\.\d+$/', $version) === 1);
    $stats = current($m->getStats());
    check("$name: stats", isset($stats['curr_items'], $stats['limit_maxbytes']));
}
exit($failed ? 1 : 0);
