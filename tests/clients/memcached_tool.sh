# memcached-tool as operators use it: tests/clients/run memcached-tool PORT. Prints `ok` or `not ok` lines.
server=127.0.0.1:$1
tool=$2
say() { # name, whether
    if [ "$2" = 0 ]; then echo "ok $1"; else echo "not ok $1: $output"; fi
}
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'flush_all\r\nset tool:key 5 0 5\r\nhello\r\nset tool:ttl 0 1000 3\r\nabc\r\n' >&3
for _ in 1 2 3; do read -r _ <&3; done
output=$($tool "$server" display 2>&1)
grep -qE '^ *# +Item_Size +Max_age +Pages' <<<"$output"
say "display has its heading" $?
grep -qE '^ +1 +[0-9.]+[BK] +[0-9]+s +[0-9]+ +[0-9]+' <<<"$output"
say "display shows a class" $?
output=$($tool "$server" stats 2>&1)
grep -qE '^ +curr_items +2' <<<"$output"
say "stats shows the items" $?
output=$($tool "$server" settings 2>&1)
grep -qE 'item_size_max +[0-9]+' <<<"$output"
say settings $?
output=$($tool "$server" sizes 2>&1)
say sizes $?
output=$($tool "$server" dump 2>&1)
grep -q '^add tool:key 5 ' <<<"$output" && grep -q '^hello' <<<"$output"
say "dump writes adds that can be replayed" $?
grep -qE '^add tool:ttl 0 [0-9]{9,} 3' <<<"$output"
say "dump writes expiry times" $?
