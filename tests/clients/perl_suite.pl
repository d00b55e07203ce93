# Cache::Memcached::Fast: the text protocol with noreply and gat. Prints `ok` or `not ok` lines.
use strict;
use warnings;
use Cache::Memcached::Fast;

my $client = Cache::Memcached::Fast->new({ servers => ["127.0.0.1:$ARGV[0]"], io_timeout => 5 });
my $failed = 0;
sub check {
    my ($name, $right) = @_;
    print $right ? "ok $name\n" : "not ok $name\n";
    $failed += !$right;
}
sub is { defined $_[0] && $_[0] eq $_[1] }

check('flush_all', $client->flush_all);
check('set and get', $client->set('a', 'text') && is($client->get('a'), 'text'));
check('get of nothing', !defined $client->get('none'));
check('add and replace', !$client->add('a', 1) && $client->add('b', 1) && $client->replace('b', 2) && !$client->replace('none', 1));
check('append and prepend', $client->append('a', '>') && $client->prepend('a', '<') && is($client->get('a'), '<text>'));
my $cas = $client->gets('a');
check('cas', $client->cas('a', $cas->[0], 'new') && !$client->cas('a', $cas->[0], 'newer'));
$client->set('n', 10);
check('incr and decr', is($client->incr('n', 5), 15) && $client->decr('n', 20) == 0);
# Without a use for the answer the client sends noreply.
$client->set("q$_", $_) for 1 .. 300;
my $many = $client->get_multi(map { "q$_" } 1 .. 400);
check('noreply and get_multi', keys %$many == 300 && is($many->{q300}, 300));
check('touch', $client->touch('a', 100));
check('delete', $client->delete('a') && !$client->delete('a'));
my $large = 'x' x 1_000_000;
check('large values', $client->set('large', $large) && is($client->get('large'), $large));
check('version', (values %{ $client->server_versions })[0] =~ /^1\.6\.\d+$/);
exit($failed ? 1 : 0);
