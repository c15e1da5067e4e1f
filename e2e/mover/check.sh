#!/bin/bash
# Checks the mover script against a kopia, with file-system repositories in a temporary folder.
#
#   e2e/mover/check.sh KOPIA
#
# KOPIA is a real kopia binary, or e2e/mover/kopia-standin. Ends with 0 only if all checks were made and hold;
# with 1 where one failed, with 2 where they could not begin, and with 3 where all that were made hold and some were left
# out.
# One check needs a client whose clock is an hour ahead. The stand-in has one; for a real kopia give CHECK_CLOCK_AHEAD,
# a command that runs its arguments with such a clock (in a virtual machine, say). Without it that check is left out.
set -uo pipefail
export LC_ALL=C

kopia=$(command -v -- "${1:?"say which kopia: e2e/mover/check.sh KOPIA"}") || { echo "there is no $1"; exit 2; }
kopia=$(realpath -- "$kopia")
script=$(realpath -- "$(dirname -- "${BASH_SOURCE[0]}")/../../deploy/mover/maintain.sh")
for tool in jq timeout realpath pkill; do
    command -v "$tool" >/dev/null || { echo "these checks need $tool on the path"; exit 2; }
done

folder=$(mktemp -d)
trap 'rm -rf -- "$folder"' EXIT
mkdir "$folder"/{bin,cache,tmp,repository,clients}
ln -s "$kopia" "$folder/bin/kopia"
readonly PASSWORD=planted-password-of-the-check HUB=hub-3F2a
failures=0 checks=0 left_out=0

holds() {
    checks=$((checks + 1))
    if "${@:2}"; then
        echo "ok      $1"
    else
        failures=$((failures + 1))
        echo "FAILED  $1"
        [[ -e $folder/log ]] && sed 's/^/        /' "$folder/log"
        [[ -s $folder/outcome ]] && sed 's/^/        /' "$folder/outcome"
    fi
}

leave_out() {
    left_out=$((left_out + 1))
    echo "LEFT OUT  $1"
}

# client NAME ARGUMENT…: kopia by hand, with a configuration of its own; what it says is in $said.
client() {
    local own=$folder/clients/$1
    shift
    mkdir -p "$own"
    said=$(env -i PATH="$folder/bin:$PATH" HOME="$own" KOPIA_PASSWORD="$PASSWORD" KOPIA_CONFIG_PATH="$own/config" \
        KOPIA_CACHE_DIRECTORY="$own/cache" KOPIA_LOG_DIR="$own/log" KOPIA_CHECK_FOR_UPDATES=false \
        "${extra[@]}" ${ahead[@]+"${ahead[@]}"} kopia "$@" 2>&1)
}
extra=(LC_ALL=C) ahead=()

# mover VERB EPOCH MEMBER [NAME=VALUE…]: the script, as a Job of that grant; leaves log, outcome and code.
mover() {
    local now
    now=$(date +%s)
    rm -f "$folder/outcome"
    env -i PATH="$folder/bin:$PATH" HUB_REPOSITORY=0123456789abcdef HUB_ID="$HUB" HUB_EPOCH="$2" \
        HUB_OWNER="volsync-hub-$2@$3.$HUB" HUB_CYCLE=Auto HUB_DEADLINE_SECONDS=600 HUB_READ_BACK_SECONDS=1 \
        HUB_PERMIT_REPLACES=foreign HUB_PERMIT_ISSUED="$now" HUB_PERMIT_NOT_AFTER=$((now + 600)) \
        HUB_CACHE_DIR="$folder/cache" TMPDIR="$folder/tmp" HUB_CREDENTIALS_DIR="$folder/none" \
        HUB_TERMINATION_LOG="$folder/outcome" KOPIA_PASSWORD="$PASSWORD" "${@:4}" \
        bash "$script" "$1" filesystem "--path=$place" >"$folder/log" 2>&1
    code=$?
}
place=$folder/repository

outcome_is() {
    [[ $(jq -r .outcome "$folder/outcome") == "$1" ]] &&
        [[ $code == "$([[ $1 == Succeeded || $1 == Claimed ]] && echo 0 || echo 1)" ]] &&
        [[ $(tail -n 1 "$folder/log") == *"$1: "*'To do: '* ]]
}
field_is() { [[ $(jq -r ".$1" "$folder/outcome") == "$2" ]]; }
log_says() { grep -qF -- "$1" "$folder/log"; }
said_has() { [[ $said == *"$1"* ]]; }
owner_is() {
    client reader repository connect filesystem "--path=$place" --max-list-cache-duration=0s >/dev/null
    client reader maintenance info --json
    [[ $(jq -r .owner <<<"$said") == "$1" ]]
}
is_fresh() {
    local start
    start=$(jq -r .lastRunStart "$folder/outcome")
    [[ $start =~ ^[0-9]+$ ]] && (($(date +%s) - start < 120))
}
is_clean() { ! grep -rqF -- "$PASSWORD" "$folder/log" "$folder/outcome"; }
is_no_repository() { [[ ! -e $1/kopia-standin && -z $(find "$1" -name 'kopia.repository*') ]]; }
is_empty() { [[ -z $(ls -A "$1") ]]; }
refuses() { ! client "$@" && said_has 'maintenance must be run by designated user: '; }

client former --version
echo "checking with kopia $said"
standin=false
[[ $said == *standin* ]] && standin=true
client former repository create filesystem "--path=$place" --override-username=Former --override-hostname=Before.example ||
    { echo "the repository could not be created: $said"; exit 2; }

mover run 7 m1
holds 'before a claim nothing is granted' outcome_is NotGranted
mover claim 7 m1 HUB_PERMIT_REPLACES=someone@else
holds 'a permit for another owner is refused' outcome_is ClaimRefused
holds 'and the owner stays, letter by letter' owner_is Former@Before.example
mover claim 7 m1
holds 'a foreign owner is replaced' outcome_is Claimed
holds 'the former owner is reported' field_is previousOwner Former@Before.example
holds 'nobody had maintained the repository before' field_is lastRunStart null
holds 'the new owner is recorded' owner_is "volsync-hub-7@m1.$HUB"
holds 'the unique ID is reported' test "$(jq -r '.uniqueID | length' "$folder/outcome")" -ge 16
holds 'the former owner is kept out from now on' refuses former maintenance run --full --no-auto-maintenance
mover claim 7 m1
holds 'a second claim of the same grant holds too' outcome_is Claimed
holds 'and writes nothing' field_is ownerWritten false

mover run 7 m1
holds 'the holder maintains the repository' outcome_is Succeeded
holds 'quick and full at first' log_says 'quick and full maintenance went well'
holds 'the start of the run is known' is_fresh
mover run 7 m1
holds 'the next run succeeds' outcome_is Succeeded
holds 'without another full one' log_says 'no other before 20 hours are over'
mover run 7 m1 HUB_CYCLE=Full
holds 'cycle Full runs full whenever it runs' log_says 'quick and full maintenance went well'
mover run 7 m1 HUB_CYCLE=Quick
holds 'cycle Quick succeeds' outcome_is Succeeded

mover claim 8 m2 HUB_PERMIT_REPLACES="volsync-hub-7@m1.$HUB"
holds 'the next grant replaces exactly this one' outcome_is Claimed
holds 'and learns when the last run began' is_fresh
mover run 7 m1
holds 'the old grant is fenced off' outcome_is Fenced
mover claim 9 m1
holds 'a permit for foreign owners covers none of this hub' outcome_is ClaimRefused

mover run 8 m2 KOPIA_PASSWORD=wrong-password-of-the-check
holds 'a wrong password is told from other errors' outcome_is AuthFailed
mkdir "$folder/empty"
place=$folder/empty
mover claim 8 m2
holds 'where no repository is there is no connection' outcome_is ConnectFailed
holds 'and none is created' is_no_repository "$folder/empty"
place=$folder/repository
now=$(date +%s)
mover claim 9 m3 HUB_PERMIT_ISSUED=$((now - 900)) HUB_PERMIT_NOT_AFTER=$((now - 300))
holds 'a permit that has ended is good for nothing' outcome_is ClockSkew
holds 'the password was never shown' is_clean
mover run 8 m2
holds 'the holder goes on' outcome_is Succeeded
holds 'no configuration is left behind' is_empty "$folder/tmp"

# Hand-overs: from 8@m2 to 9@m3, whose claim dies half-way, and back to m2.
mover claim 7 m1 HUB_PERMIT_REPLACES=Former@Before.example
holds 'the claim of an older grant that comes late is refused' outcome_is ClaimRefused
holds 'and sets nothing' owner_is "volsync-hub-8@m2.$HUB"
mover claim 9 m3 HUB_PERMIT_REPLACES="volsync-hub-7@m1.$HUB"
holds 'a permit for a grant that has gone is refused' outcome_is ClaimRefused
holds 'and reports who is recorded' field_is previousOwner "volsync-hub-8@m2.$HUB"
mover run 8 m20
holds 'a member whose name begins like the holder is fenced off' outcome_is Fenced
mover run 80 m2
holds 'an epoch that begins like the one of the holder is not granted' outcome_is NotGranted
mover run 8 m2
holds 'the holder goes on where nothing was claimed' outcome_is Succeeded

mover claim 9 m3 HUB_PERMIT_REPLACES="volsync-hub-8@m2.$HUB" HUB_READ_BACK_SECONDS=300 &
claim=$!
for _ in {1..60}; do
    owner_is "volsync-hub-9@m3.$HUB" && break
    sleep 0.5
done
pkill -TERM -P "$claim" bash
wait "$claim"
holds 'a claim that died had set the owner' owner_is "volsync-hub-9@m3.$HUB"
mover run 8 m2
holds 'from then on the former holder is fenced off' outcome_is Fenced
mover claim 9 m3 HUB_PERMIT_REPLACES="volsync-hub-8@m2.$HUB"
holds 'the next attempt finds its own owner' outcome_is Claimed
holds 'and sets nothing any more' field_is ownerWritten false
mover run 9 m3
holds 'the new holder maintains the repository' outcome_is Succeeded

mover claim 10 m2 HUB_PERMIT_REPLACES="volsync-hub-9@m3.$HUB"
holds 'it moves back' outcome_is Claimed
mover run 8 m2
holds 'a run of the first grant to that member stays fenced off' outcome_is Fenced
mover run 10 m2
holds 'and one of the second goes on' outcome_is Succeeded

# A full run that is killed before its last task. A real one takes a fraction of a second, so it is tried again, a little
# later each time. The stand-in takes 30 s, and on a machine that has much to do several of them before it begins.
client holder repository connect filesystem "--path=$place" --override-username=volsync-hub-10 \
    --override-hostname="m2.$HUB" --max-list-cache-duration=0s
killed=false milliseconds=20 limit=2500
$standin && extra=(LC_ALL=C KOPIA_STANDIN_RUN_SECONDS=30) milliseconds=1000 limit=29000
for (( ; milliseconds < limit; milliseconds = milliseconds * 5 / 4 + 1)); do
    ahead=(timeout --signal=KILL "$(printf '%d.%03d' $((milliseconds / 1000)) $((milliseconds % 1000)))")
    client holder maintenance run --full --no-auto-maintenance
    ahead=()
    client holder maintenance info --json
    # The first task of a full run is newer than the last one: that run has no end.
    if jq -e '
        def seconds: .[:19] + "Z" | fromdateiso8601;
        (.schedule.runs["cleanup-logs"][0].start | seconds) as $last
        | (.schedule.runs["snapshot-gc"][0].start | seconds) as $first
        | $first > $last' <<<"$said" >/dev/null; then
        killed=true
        break
    fi
    sleep 1
done
extra=(LC_ALL=C)
if $killed; then
    mover run 10 m2
    holds 'a full run that was killed counts as under way' outcome_is Busy
    holds 'until its deadline' test "$(jq -r .busyUntil "$folder/outcome")" -le $(($(date +%s) + 600))
    sleep 6
    mover run 10 m2 HUB_DEADLINE_SECONDS=5
    holds 'and no longer' test "$(jq -r .outcome "$folder/outcome")" != Busy
else
    leave_out 'a full run that was killed: every one was over too soon'
fi

# A client whose clock is ahead writes an owner that later writers cannot replace.
if $standin; then
    extra=(LC_ALL=C KOPIA_STANDIN_CLOCK_OFFSET=3600)
elif [[ -n ${CHECK_CLOCK_AHEAD:-} ]]; then
    read -ra ahead <<<"$CHECK_CLOCK_AHEAD"
fi
if $standin || [[ -n ${CHECK_CLOCK_AHEAD:-} ]]; then
    client fast repository connect filesystem "--path=$place" --override-username=fast --override-hostname=clock
    client fast maintenance set --owner=me --no-auto-maintenance
    extra=(LC_ALL=C) ahead=()
    mover claim 11 m1
    holds 'a former owner with a fast clock makes a claim ineffective' outcome_is ClaimIneffective
    holds 'and goes on' owner_is fast@clock
else
    leave_out 'a former owner with a fast clock: give CHECK_CLOCK_AHEAD'
fi

if ((failures > 0)); then
    echo "$failures of $checks checks failed"
    exit 1
fi
if ((left_out > 0)); then
    echo "$checks checks hold, and $left_out were left out: see LEFT OUT above"
    exit 3
fi
echo "$checks checks, all of them hold"
