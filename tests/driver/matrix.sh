#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The fault matrix: every session on every link, every byte of every message broken in every way; matrix.c says what is
# right. One line PASS or FAIL for each link, session and kind of fault, with the number of cases in it.
#
#   matrix.sh BUILD                                 a sample: every byte of every message with one of the eight kinds of
#                                                   fault, and every kind at every eighth byte; of some sessions on the
#                                                   AET63's other transports, and of some in a build with sanitizers
#                                                   that stands beside this one, every kind once in every message. What
#                                                   is not begun after MATRIX_SECONDS (300) is left out: a SKIP says so
#   matrix.sh BUILD all                             every kind at every byte (and the sample of above where the sample
#                                                   has one of each)
#   matrix.sh BUILD [all] aet63/read hid            only what begins so
#   matrix.sh BUILD serial/debit/in1/byte7/flip     one case, with the driver's log
#
# Cases wait more than they work, so MATRIX_JOBS (5) programs run at a time, each with a simulator of its own.
set -u
build=$(cd "$1" && pwd) || exit 2
shift
results=$(mktemp -d)
trap 'rm -rf "$results"' EXIT
export TMPDIR="$results"

# run BUILD LINK SESSION WHAT
cat >"$results/run" <<'END'
#!/bin/sh
build=$1 handler=$1/libifdpurse.so
[ "$2" = serial ] && handler=$1/libifdpurse-serial.so
[ -f "$handler" ] || exit 0
PURSE_SIM_READERS=$build/tests/sim/purse-sim exec "$build/tests/driver/matrix" "$handler" "$2" "$3" "$4"
END
chmod +x "$results/run"

for dir in "$build" "${build%/*}/clang"; do
    [ -f "$dir/Makefile" ] || continue
    make -s -C "$dir" tests/driver/matrix tests/sim/purse-sim >"$results/make" 2>&1 || {
        echo "FAIL build $(tail -n 1 "$results/make")"
        exit 1
    }
done

case ${1-} in
*/byte*)
    link=${1%%/*} rest=${1#*/}
    exec "$results/run" "$build" "$link" "${rest%%/*}" "${rest#*/}"
    ;;
esac

often=8 seldom=64
if [ "${1-}" = all ]; then
    shift && often=1 seldom=8
else
    MATRIX_END=$(($(date +%s) + ${MATRIX_SECONDS:-300}))
    export MATRIX_END
fi

# Into how many programs a session is cut: those in which a reader is polled wait long, a ViVOpay has much to say when
# it is opened.
parts() {
    case $1 in
    */leave | */poll) echo 12 ;;
    serial/identity | hid/identity) echo 8 ;;
    *) echo 4 ;;
    esac
}

# part_jobs BUILD LINK SESSION SAMPLE
part_jobs() {
    n=$(parts "$2/$3") i=0
    case $4 in 8) n=$((n / 4)) ;; 64) n=1 ;; esac
    while [ "$i" -lt "$n" ]; do
        echo "$1 $2 $3 $i/$n/$4"
        i=$((i + 1))
    done
}

# A line "BUILD LINK SESSION WHAT" for each program to be run, those that wait most first, the other build last.
jobs() {
    "$build/tests/driver/matrix" list | while read -r link session; do
        wanted=$#
        for word in "$@"; do case $link/$session in "$word"*) wanted=0 ;; esac done
        [ "$wanted" -eq 0 ] || continue
        case $often/$link/$session in
        1/aet63-?/* | */aet63-?/power-up | */aet63-?/read | */aet63-?/chain-t1)
            part_jobs "$build" "$link" "$session" $seldom && continue ;;
        */aet63-?/*) continue ;;
        esac
        part_jobs "$build" "$link" "$session" $often
        case $link/$session in aet63/read | serial/debit | hid/write*) echo "$build $link $session real" ;; esac
        other=${build%/*}/clang
        if [ "$other" = "$build" ] || [ ! -x "$other/tests/driver/matrix" ]; then continue; fi
        case $often/$session in
        1/* | */identity | */chain* | */debit | */write* | */contact) part_jobs "$other" "$link" "$session" $seldom ;;
        esac
    done | awk -v build="$build" '{
        print ($1 != build ? 4 : $2 ~ /-/ ? 3 : $4 == "real" ? 0 : $2 != "aet63" && $3 ~ /poll|leave/ ? 1 : 2), NR, $0
    }' | sort -n | cut -d' ' -f3-
}

begin=$(date +%s)
jobs "$@" >"$results/jobs"
# shellcheck disable=SC2016 # the inner shell's variables
xargs -P "${MATRIX_JOBS:-5}" -L 1 sh -c '"$0/run" "$@" >"$(mktemp "$0/out.XXXXXX")" 2>&1 || :' "$results" \
    <"$results/jobs"
seconds=$(($(date +%s) - begin))

[ "$(cat "$results"/out.* | grep -c '^END ')" -eq "$(wc -l <"$results/jobs")" ] || {
    echo "FAIL matrix a program has died:"
    grep -L '^END ' "$results"/out.* | while read -r f; do tail -n 30 "$f"; done
}
grep -h -A 60 '^WRONG' "$results"/out.* | head -n 2000
cat "$results"/out.* | awk -v seconds="$seconds" -v script="tests/driver/matrix.sh BUILD" '
$1 == "CASES" {
    k = $2 "/" $3 " " $4; n[k] += $5; right[k] += $6; error[k] += $7; bad[k] += $8
    all += $5; rights += $6; errors += $7; bads += $8; again += $9
    kind[$4] += $5; kright[$4] += $6; kerror[$4] += $7; kbad[$4] += $8
}
$1 == "SLOW" { slow += $2 }
$1 == "LEFT" { left += $2 }
$1 == "WRONG" {
    k = $2; split(k, part, "/"); g = part[1] "/" part[2] " " (part[5] != "" ? part[5] : "session")
    if (!(g in first)) first[g] = $0
}
END {
    for (g in first) if (!(g in n)) { n[g] = 1; bad[g] = 1 } # it ended before its first case
    for (k in n) {
        if (bad[k] == 0)
            printf "PASS %s: %d cases, %d right, %d errors\n", k, n[k], right[k], error[k]
        else {
            split(first[k], w, " ")
            printf "FAIL %s: %d of %d cases; one of them: %s \"%s\" (%s)\n", k, bad[k], n[k], script, w[2],
                substr(first[k], 8 + length(w[2]))
        }
    }
    if (left > 0)
        printf "SKIP %d cases of the matrix: this machine was too busy for them; MATRIX_SECONDS gives more time\n", left
    for (k in kind)
        printf "# %-6s %6d cases: %6d right, %6d errors, %d wrong\n", k, kind[k], kright[k], kerror[k], kbad[k]
    printf "# the matrix: %d cases in %d s: %d right, %d errors, %d wrong\n", all, seconds, rights, errors, bads
    printf "# in %d the first exchange afterwards failed, too; %d times one was begun again with longer waits\n",
        again, slow
}' | sort
