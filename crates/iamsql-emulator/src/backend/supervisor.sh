# Runs one throw-away PostgreSQL and leaves nothing behind, however the emulator ends.
#
# Arguments: directory of the binaries, text of pg_hba.conf, the administrator, then directories to try for the data.
# Input: the administrator's password on a line; the server stops at the end of the input, so also when the emulator
# is killed. Output: the directory that was made, on a line.

umask 077
trap '' PIPE
exec 3<&0 </dev/null
IFS= read -r password <&3 || exit 1

bin=$1 access=$2 administrator=$3
shift 3

directory= watch= serving=

# Ends the newest background process, gently at first, then removes everything.
finish() {
    trap '' TERM INT HUP
    newest=$!
    [ -z "$watch" ] || kill "$watch" 2>/dev/null
    if [ -n "$serving" ]; then
        kill -INT "$newest" 2>/dev/null
    else
        # initdb itself only takes note; the servers that it runs, in this process group too, end at once.
        kill -TERM 0
    fi
    tries=0
    while [ "$newest" != "$watch" ] && kill -0 "$newest" 2>/dev/null; do
        tries=$((tries + 1))
        [ $tries -ne 20 ] || kill -QUIT "$newest" 2>/dev/null
        [ $tries -ne 40 ] || kill -KILL "$newest" 2>/dev/null
        sleep 0.05
    done
    [ -z "$directory" ] || rm -rf "$directory"
    exit "$1"
}

fail() {
    echo "$1:" >&2
    [ ! -f "$directory/log" ] || tail -n 4 "$directory/log" >&2
    finish 1
}

trap 'finish 0' TERM INT HUP
{ IFS= read -r line <&3; kill -TERM $$; } &
watch=$!

# A directory may be closed to this user (a TMPDIR inside a home), or too long for a socket's name.
for base; do
    [ ${#base} -le 64 ] || continue
    directory=$(mktemp -d "$base/iamsql-postgres.XXXXXXXXXX" 2>/dev/null) && break
    directory=
done
[ -n "$directory" ] || { echo "none of these directories can hold a database for user $(id -un): $*" >&2; finish 1; }
echo "$directory"

printf '%s\n' "$password" >"$directory/password"
"$bin/initdb" -D "$directory/data" -U "$administrator" --pwfile="$directory/password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C --no-sync --wal-segsize=1 \
    >"$directory/log" 2>&1 3<&- &
wait $! || fail "initdb failed"
rm "$directory/password"
password=
printf '%s\n' "$access" >"$directory/data/pg_hba.conf"

serving=yes
# Nothing here outlives the run, so nothing is made durable. Statements stay out of the log: they may hold passwords.
"$bin/postgres" -D "$directory/data" -k "$directory" \
    -c listen_addresses= -c unix_socket_permissions=0700 -c max_connections=300 \
    -c fsync=off -c synchronous_commit=off -c full_page_writes=off \
    -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=256MB -c jit=off \
    -c password_encryption=scram-sha-256 -c log_min_messages=fatal -c log_min_error_statement=panic \
    >"$directory/log" 2>&1 3<&- &
wait $!
fail "PostgreSQL ended"
