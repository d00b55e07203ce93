# Dalli, the client of Rails, over the binary protocol. Prints `ok` or `not ok` lines.
require 'dalli'

$failed = 0
def check(name)
  right = yield
  puts right ? "ok #{name}" : "not ok #{name}"
  $failed += 1 unless right
rescue StandardError => e
  puts "not ok #{name}: #{e.class} #{e.message}"
  $failed += 1
end

client = Dalli::Client.new("127.0.0.1:#{ARGV[0]}", socket_timeout: 5)
client.flush_all
check('set and get') { client.set('a', 'text') && client.get('a') == 'text' }
check('get of nothing') { client.get('none').nil? }
check('objects') { client.set('o', { a: [1, nil] }) && client.get('o') == { a: [1, nil] } }
check('add') { client.add('a', 1) == false && client.add('b', 1) }
check('replace') { client.replace('b', 2) && [0, false, nil].include?(client.replace('none', 1)) }
check('raw append and prepend') do
  client.set('r', 'mid', nil, raw: true)
  client.append('r', '>') && client.prepend('r', '<') && client.get('r', raw: true) == '<mid>'
end
check('cas') { client.cas('a') { |value| "#{value}!" } && client.get('a') == 'text!' }
check('incr and decr') { client.incr('n', 5, 0, 10) == 10 && client.incr('n', 5) == 15 && client.decr('n', 20) == 0 }
check('multi') do
  client.multi { 300.times { |i| client.set("m#{i}", i) } }
  client.get_multi((0...400).map { |i| "m#{i}" }) == (0...300).to_h { |i| ["m#{i}", i] }
end
check('touch') { client.touch('a', 100) }
check('gat') { client.gat('a', 100) == 'text!' }
check('delete') { client.delete('a') && !client.delete('a') }
check('large') { client.set('large', 'x' * 1_000_000, nil, raw: true) && client.get('large', raw: true).bytesize == 1_000_000 }
check('stats') { client.stats.values.first['curr_items'].to_i.positive? }
check('version') { client.version.values.first =~ /\A1\.6\.\d+\z/ }
client.close
exit($failed.zero? ? 0 : 1)
