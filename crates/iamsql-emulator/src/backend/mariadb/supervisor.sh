# Runs one throw-away MariaDB and leaves nothing behind, however the emulator ends.
#
# Arguments: the program, the SQL that makes the system tables, the administrator, then directories to try for the data.
# Input: the stored form of the administrator's password on a line; the server stops at the end of the input, so also
# when the emulator is killed. Output: the directory that was made, on a line.

umask 077
trap '' PIPE
exec 3<&0 </dev/null
IFS= read -r password <&3 || exit 1

program=$1 tables=$2 administrator=$3
shift 3

directory= watch= server=

# Ends the server at once, since nothing of it is kept, then removes everything.
finish() {
    trap '' TERM INT HUP
    [ -z "$watch" ] || kill "$watch" 2>/dev/null
    if [ -n "$server" ]; then
        kill -KILL "$server" 2>/dev/null
        wait "$server" 2>/dev/null
    fi
    [ -z "$directory" ] || rm -rf "$directory"
    exit "$1"
}

fail() {
    echo "$1:" >&2
    [ ! -f "$directory/log" ] || grep -v '\[Note\]' "$directory/log" | tail -n 4 >&2
    finish 1
}

trap 'finish 0' TERM INT HUP
{ IFS= read -r line <&3; kill -TERM $$; } &
watch=$!

# A directory may be closed to this user (a TMPDIR inside a home), or too long for a socket's name.
for base; do
    [ ${#base} -le 64 ] || continue
    directory=$(mktemp -d "$base/iamsql-mariadb.XXXXXXXXXX" 2>/dev/null) && break
    directory=
done
[ -n "$directory" ] || { echo "none of these directories can hold a database for user $(id -un): $*" >&2; finish 1; }
echo "$directory"
mkdir "$directory/data" "$directory/data/mysql" "$directory/temporary" "$directory/nothing"

# Nothing here outlives the run, so nothing is made durable: that is most of the time that a start takes. Plugins and
# files are looked for in an empty directory.
maria() {
    exec "$program" --no-defaults --datadir="$directory/data" --tmpdir="$directory/temporary" \
        --skip-networking --skip-name-resolve --skip-symbolic-links --skip-log-bin --performance-schema=off \
        --plugin-dir="$directory/nothing" --secure-file-priv="$directory/nothing" \
        --character-set-server=utf8mb4 --collation-server=utf8mb4_general_ci \
        --debug-no-sync --skip-sync-frm --innodb-flush-method=nosync --innodb-flush-log-at-trx-commit=0 \
        --innodb-doublewrite=0 --innodb-fast-shutdown=1 --innodb-buffer-pool-size=32M --innodb-log-file-size=16M \
        --innodb-data-file-path=ibdata1:2M:autoextend --innodb-autoextend-increment=4 \
        --innodb-temp-data-file-path=ibtmp1:2M:autoextend --innodb-buffer-pool-dump-at-shutdown=0 \
        --innodb-buffer-pool-load-at-startup=0 \
        --aria-log-file-size=8M --aria-pagecache-buffer-size=8M --key-buffer-size=1M "$@"
}

# The one administrator, and the one time zone whose name clients use.
statements() {
    echo "USE mysql;"
    cat "$tables"
    echo "INSERT INTO mysql.global_priv VALUES ('localhost', '$administrator', '{\"access\": 18446744073709551615,
          \"plugin\": \"mysql_native_password\", \"authentication_string\": \"$password\"}');"
    echo "DELETE FROM mysql.proxies_priv;"
    echo "INSERT INTO mysql.time_zone VALUES (1, 'N');"
    echo "INSERT INTO mysql.time_zone_name VALUES ('UTC', 1), ('Etc/UTC', 1);"
    echo "INSERT INTO mysql.time_zone_transition_type VALUES (1, 0, 0, 0, 'UTC');"
}

statements >"$directory/temporary/statements" || fail "cannot read $tables"
maria --bootstrap <"$directory/temporary/statements" >"$directory/log" 2>&1 3<&- &
server=$!
wait "$server" || fail "the bootstrap failed"
rm "$directory/temporary/statements"
password=

maria --socket="$directory/socket" --pid-file="$directory/pid" --max-connections=300 --max-allowed-packet=64M \
    --connect-timeout=120 >"$directory/log" 2>&1 3<&- &
server=$!
wait "$server"
fail "MariaDB ended"
