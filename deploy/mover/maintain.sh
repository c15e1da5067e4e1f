#!/bin/bash
# Claims or maintains one Kopia repository, inside a Pod that has the VolSync mover image.
#
#   maintain.sh claim|run <what follows "kopia repository connect">
#
# claim  makes the holder of the grant Kopia's recorded maintenance owner, and proves it by reading it back.
# run    maintains the repository, if the recorded owner is exactly the one of this grant.
#
# It never creates a repository, and a claim never maintains one. Everything happens under one timeout inside the
# container. The log is for people. The outcome is one line of JSON in the termination log.
#
# Variables (the hub sets them; credentials come beside them, under the names that kopia itself reads):
#   HUB_REPOSITORY HUB_ID HUB_EPOCH HUB_OWNER HUB_DEADLINE_SECONDS           always
#   HUB_CYCLE                                                                run: Auto, Full or Quick
#   HUB_PERMIT_REPLACES HUB_PERMIT_ISSUED HUB_PERMIT_NOT_AFTER               claim
#   HUB_READ_BACK_SECONDS HUB_CACHE_MB CUSTOM_CA                             where wanted
#   HUB_CACHE_DIR TMPDIR HUB_CREDENTIALS_DIR HUB_TERMINATION_LOG             where the Pod's places are elsewhere
#
# Tools: bash, GNU coreutils, jq and kopia; the mover image has no more to offer.
# The questions to jq stand in single quotes, because jq expands what is in them.
# shellcheck disable=SC2016
set -uo pipefail
shopt -s extglob
export LC_ALL=C

readonly STANDARD_CREDENTIALS_DIR=/credentials
: "${HUB_CACHE_DIR:=/cache}" "${HUB_CREDENTIALS_DIR:=$STANDARD_CREDENTIALS_DIR}"
: "${HUB_TERMINATION_LOG:=/dev/termination-log}" "${TMPDIR:=/tmp}"
export TMPDIR

# A permit made on the hub is good from two minutes before its own time: so far may clocks lie apart.
readonly CLOCK_TOLERANCE_SECONDS=120
# A full run is due again 20 hours after the last success: a daily schedule never misses it, an hourly one spares it.
readonly FULL_RUN_REST_SECONDS=72000
# Kopia refuses to run where its clock is 5 minutes off; two such clocks lie at most 10 minutes apart. A start later
# than that is no start: someone has paused maintenance, which moves the next time too.
readonly FUTURE_START_SECONDS=600
# A kubelet reads 4,096 bytes. The message is the part that may be long; what is left holds two owners.
readonly MESSAGE_CHARACTERS=256
readonly TERMINATION_BYTES=4000

# What is known so far, as it will stand in the outcome.
unique_id='' owner='' previous_owner='' kopia_version='' last_run_start='' busy_until='' reclaimed='' owner_written=false run_began=''
verb='' step='starting' info='' work=${MAINTAIN_WORK:-}
secrets=() inside=''

# ---------------------------------------------------------------------------------------------------- log and outcome

say() {
    TZ=UTC0 printf '%(%H:%M:%S)T %s\n' -1 "$1"
}

begin_step() {
    step=$1
    say "==> $1"
}

fix_for() {
    case $1 in
    Succeeded) echo 'nothing' ;;
    Claimed) echo 'nothing: runs start when the former owner can no longer be in the middle of one' ;;
    ClaimRefused) echo 'stop the maintainer that this owner stands for; where the ledger knows no such grant, restore the KopiaRepository with its status, or set the owner of the grant that it shows by hand, kopia maintenance set --owner=volsync-hub-EPOCH@MEMBER.ID.HUBID' ;;
    ClaimIneffective) echo 'correct the clock of the former owner and stop its maintenance; the hub then claims again' ;;
    Fenced) echo 'nothing if the KopiaRepository shows that newer grant; else stop what runs under it, then restore the KopiaRepository with its status, or set the owner of the grant that it shows by hand, kopia maintenance set --owner=volsync-hub-EPOCH@MEMBER.ID.HUBID' ;;
    NotGranted) echo 'find and stop the other maintainer of this repository, then give the ownership back by hand, kopia maintenance set --owner=volsync-hub-EPOCH@MEMBER.ID.HUBID; the hub claims it again by itself once a day' ;;
    Busy) echo 'wait: the full run that is under way, or was killed, is over by then; more maintainers than one need a look' ;;
    ConnectFailed) echo 'check address, bucket, prefix, network policy, proxy and CA in the repository Secret of this member' ;;
    AuthFailed) echo 'correct the password, the keys or their permissions in the repository Secret of this member' ;;
    ClockSkew) echo 'set the clock of the node (NTP) and of the object store, and see that Jobs start within minutes' ;;
    OutOfMemory) echo 'raise resources.limits.memory in the policy' ;;
    DeadlineExceeded) echo 'raise activeDeadlineSeconds in the policy, run more often, or give the Job more CPU and bandwidth' ;;
    *) echo 'read the log of this Job from the first error on' ;;
    esac
}

# What may leave the container: no secret, no userinfo in an address, no control character. The answer is in $clean.
redact() {
    local secret
    clean=$1
    for secret in "${secrets[@]}"; do
        clean=${clean//"$secret"/[redacted]}
    done
    while [[ $clean =~ ://[^/@[:space:]]+@ ]]; do
        clean=${clean/"${BASH_REMATCH[0]}"/://}
    done
    clean=${clean%%+($'\r')}
    clean=${clean##*$'\r'}
    clean=${clean//[^[:print:]]/ }
}

# redact_stream FILE: shows lines as they come, and keeps them for whoever looks for the reason.
redact_stream() {
    local line
    trap '' TERM INT
    : >"$1"
    while IFS= read -r line || [[ -n $line ]]; do
        redact "$line"
        printf '    %s\n' "${clean:0:2000}"
        printf '%s\n' "${clean:0:2000}" >>"$1"
    done
}

number_or_null() {
    if [[ $1 =~ ^[0-9]+$ ]]; then echo "$1"; else echo null; fi
}

# write_outcome OUTCOME MESSAGE. Whatever fails here, some line is left behind.
write_outcome() {
    local clean line
    redact "$2"
    clean=${clean:0:MESSAGE_CHARACTERS}
    line=$(jq -nc \
        --arg outcome "$1" --arg id "$unique_id" --arg owner "$owner" --arg previous "$previous_owner" \
        --arg kopia "$kopia_version" --arg message "$clean" --arg written "$owner_written" --arg began "$run_began" --arg verb "$verb" \
        --argjson epoch "$(number_or_null "${HUB_EPOCH:-}")" --argjson seconds "$SECONDS" \
        --argjson reclaimed "$(number_or_null "$reclaimed")" --argjson start "$(number_or_null "$last_run_start")" \
        --argjson busy "$(number_or_null "$busy_until")" --argjson bytes "$TERMINATION_BYTES" '
        def known: if . == "" then null else . end;
        {outcome: $outcome, uniqueID: ($id[:128] | known), owner: ($owner | known), previousOwner: ($previous | known),
         epoch: $epoch, kopia: ($kopia[:64] | known), seconds: $seconds, reclaimedBytes: $reclaimed,
         lastRunStart: $start, message: $message}
        | if $busy == null then . else .busyUntil = $busy end
        | if $verb == "claim" then .ownerWritten = ($written == "true") else . end
        | if $began == "" then . else .runBegan = ($began == "true") end
        | if tojson | utf8bytelength > $bytes then .owner = null | .previousOwner = null else . end') ||
        line="{\"outcome\":\"Failed\",\"message\":\"jq could not write the outcome $1\"}"
    printf '%s\n' "$line" >"$HUB_TERMINATION_LOG" ||
        say "The outcome could not be written to $HUB_TERMINATION_LOG"
}

# The last line of the log, when nothing can come after it; and the code of the container.
close() {
    local outcome message
    outcome=$(jq -r .outcome "$HUB_TERMINATION_LOG")
    message=$(jq -r .message "$HUB_TERMINATION_LOG")
    say "$outcome: $message. To do: $(fix_for "$outcome")."
    case $outcome in Succeeded | Claimed) exit 0 ;; *) exit 1 ;; esac
}

# finish OUTCOME MESSAGE: the one way out.
finish() {
    trap '' TERM INT
    write_outcome "$1" "${2%.}"
    [[ -n $inside ]] && exit
    close
}

# The outcome first, for what comes may be a kill: kopia gets the signal too, and this waits for its end; if that does
# not come, the timeout kills them all.
on_signal() {
    trap '' TERM INT
    if ((SECONDS >= MAINTAIN_LIMIT_SECONDS - 1)); then
        write_outcome DeadlineExceeded "stopped after $SECONDS s, its whole time, while $step"
    else
        write_outcome Failed "stopped from outside (SIGTERM) after $SECONDS s, while $step"
    fi
    kill -TERM 0
    wait
    exit
}

# ------------------------------------------------------------------------------------------------ contract and secrets

# need NAME PATTERN MEANING: a variable that the hub always sets.
need() {
    [[ ${!1:-} =~ ^($2)$ ]] || finish Failed "the variable $1 is missing or wrong: it must be $3"
}

read_contract() {
    need HUB_REPOSITORY '[0-9a-f]{16}' 'the 16 hex digits of the repository'
    need HUB_ID '[A-Za-z0-9._-]{1,64}' 'the identity of the hub'
    need HUB_EPOCH '[0-9]{1,15}' 'the epoch of the grant'
    need HUB_OWNER 'volsync-hub-[0-9]+@[^@[:space:]]+' 'an owner as this hub writes it'
    [[ $HUB_OWNER == "volsync-hub-$HUB_EPOCH@"?*".$HUB_ID" ]] ||
        finish Failed 'HUB_OWNER does not belong to HUB_EPOCH and HUB_ID'
    if [[ $verb == run ]]; then
        need HUB_CYCLE 'Auto|Full|Quick' 'Auto, Full or Quick'
    else
        need HUB_PERMIT_REPLACES '[^[:cntrl:]]{1,512}' 'an owner, or the word foreign'
        need HUB_PERMIT_ISSUED '[0-9]{1,15}' 'seconds since 1970'
        need HUB_PERMIT_NOT_AFTER '[0-9]{1,15}' 'seconds since 1970'
        : "${HUB_READ_BACK_SECONDS:=30}"
        need HUB_READ_BACK_SECONDS '[0-9]{1,4}' 'a number of seconds'
    fi
}

# A text of one or two characters is no secret, and would tear holes into every line.
add_secret() {
    ((${#1} >= 3)) && secrets+=("$1")
}

# add_forms SOURCE: the forms of a secret that a URL, a header or quoted text has. jq reads the value itself from its
# environment or from a file, because anyone on the node can read its arguments.
add_forms() {
    local form
    while IFS= read -r form; do add_secret "$form"; done
}

collect_secrets() {
    local name value line file
    while IFS= read -r name; do
        case $name in
        *PASSWORD* | *SECRET* | *TOKEN* | *KEY* | *CREDENTIAL* | *SAS* | *CERTIFICATE*) ;;
        *) continue ;;
        esac
        value=${!name}
        [[ $name == HUB_* || -z $value || $value == "$STANDARD_CREDENTIALS_DIR"/* || $value == "$HUB_CREDENTIALS_DIR"/* ]] && continue
        while IFS= read -r line; do add_secret "$line"; done <<<"$value"
        add_forms < <(jq -rn --arg name "$name" 'env[$name] // "" | @base64, @uri, (tojson | .[1:-1])')
    done < <(compgen -e)
    for file in "$HUB_CREDENTIALS_DIR"/*; do
        [[ -f $file ]] || continue
        # In a JSON document what is named as a secret, elsewhere values so named and whole lines, as a key has them.
        # What only says where things are stays readable.
        if jq -e . "$file" >/dev/null 2>&1; then
            add_forms < <(jq -r 'paths(strings) as $at
                | select($at | map(strings) | any(test("pass|key|token|secret|cert"; "i"))) | getpath($at)
                | split("\n")[], @base64, @uri, (tojson | .[1:-1])' "$file")
            continue
        fi
        while IFS= read -r line || [[ -n $line ]]; do
            ((${#line} >= 16)) && add_secret "$line"
            [[ $line =~ ^[^=]*(pass|key|token|secret)[^=]*=[[:space:]]*(.+)$ ]] && add_secret "${BASH_REMATCH[2]}"
        done <"$file"
    done
    # The longest first: a secret that is part of another must not leave the rest of that standing.
    mapfile -t secrets < <(for line in "${secrets[@]}"; do printf '%09d%s\n' "${#line}" "$line"; done | sort -ru | cut -c10-)
}

# ------------------------------------------------------------------------------------------------------- calling kopia

# call_kopia OUTPUT ARGUMENT…: "-" streams its standard output too, a file keeps it. In the background, because bash
# handles a signal only between commands. Fails as kopia does; what it said is in $work/said. What the outer braces
# drop is bash's own word that kopia was killed; their trap makes them outlast a signal that kopia heeds.
limit_seconds=''
call_kopia() {
    local output=$1
    local -a command=(kopia)
    shift
    [[ -n $limit_seconds ]] && command=(timeout --foreground --kill-after=5 "$limit_seconds" kopia)
    rm -f "$work/code"
    if [[ $output == - ]]; then
        { trap : TERM INT; "${command[@]}" "$@" 2>&1; echo $? >"$work/code"; } 2>/dev/null | redact_stream "$work/said" &
    else
        { trap : TERM INT; "${command[@]}" "$@" 2>&1 >"$output"; echo $? >"$work/code"; } 2>/dev/null | redact_stream "$work/said" &
    fi
    wait $!
    code=137
    [[ -s $work/code ]] && read -r code <"$work/code"
    return "$code"
}

# The line that says why: the last error, else the last line. The answer is in $reason.
find_reason() {
    local line
    reason=''
    while IFS= read -r line; do
        [[ -n ${line// /} ]] || continue
        if [[ $line == *ERROR* || $line == *rror:* || $reason != *ERROR* ]]; then reason=$line; fi
    done <"$work/said"
    reason=${reason##*ERROR }
    reason=${reason##+( )}
    : "${reason:=kopia said nothing and ended with code $code}"
}

# Kopia ends with 1 whatever went wrong, so its words have to tell. A refused clock comes before refused keys, for
# object stores answer both with 403.
classify() {
    local said
    said=$(<"$work/said")
    said=${said,,}
    case $said in
    *'unknown long flag'* | *'unknown short flag'* | *'expected command but got'*) echo Failed ;;
    *'clock skew detected'* | *requesttimetooskewed* | *'difference between the request time and'*) echo ClockSkew ;;
    *'invalid repository password'* | *'access denied'* | *accessdenied* | *invalidaccesskeyid* | *signaturedoesnotmatch* | \
        *'access key id you provided does not exist'* | *'request signature we calculated'* | *unauthorized* | \
        *authenticationfailed* | *authorizationfailure* | *authorizationpermissionmismatch* | *'authentication failed'* | \
        *invalid_grant* | *expiredtoken* | *'token has expired'* | *invalidtoken* | *bad_auth_token* | *expired_auth_token* | \
        *'unable to authenticate'* | *'no supported methods remain'* | *'could not find default credentials'* | \
        *forbidden* | *'status code 401'* | *'status code 403'* | *'status code: 403'* | *'error 403'* | *': 401 '* | \
        *'required flag --access-key'* | *'required flag --secret-access-key'* | *'must provide key'*) echo AuthFailed ;;
    *'connection refused'* | *'no such host'* | *'i/o timeout'* | *'connection reset'* | *'dial tcp'* | *x509:* | *'tls: '* | \
        *'network is unreachable'* | *'no route to host'* | *'proxyconnect'* | *'nosuchbucket'* | *'bucket does not exist'* | \
        *'not initialized in the provided storage'* | *'connection timed out'* | *'handshake failed'*) echo ConnectFailed ;;
    *) echo "$1" ;;
    esac
}

# give_up OUTCOME: the last call of kopia has failed; OUTCOME is what it means where kopia's words tell nothing else.
give_up() {
    local outcome reason
    find_reason
    if ((code == 137)); then finish OutOfMemory "kopia was killed while $step"; fi
    if ((code == 127)); then finish Failed 'there is no kopia in this image'; fi
    if [[ $reason == *'must be run by designated user: '* ]]; then
        owner=${reason##*designated user: }
        refuse_owner
    fi
    outcome=$(classify "$1")
    case $reason in
    *'not initialized in the provided storage'*)
        reason='there is no repository at this place (maintenance never creates one)' ;;
    esac
    finish "$outcome" "$step failed: $reason"
}

# ------------------------------------------------------------------------------------------------------- the repository

# The backend's arguments as this container needs them: where the credential files really are, and the custom CA.
prepare_connection() {
    local argument bundle
    local -a arguments=()
    backend=${connect[0]}
    # Only an SFTP repository with a password comes as a configuration file: kopia would take that as an argument.
    [[ $backend == from-config ]] && backend=sftp
    for argument in "${connect[@]:1}"; do
        arguments+=("${argument/=$STANDARD_CREDENTIALS_DIR\//=$HUB_CREDENTIALS_DIR/}")
    done
    if [[ -n ${CUSTOM_CA:-} ]]; then
        [[ -r $CUSTOM_CA ]] || finish Failed "the custom CA cannot be read at $CUSTOM_CA"
        if [[ $backend == s3 ]]; then
            arguments+=("--root-ca-pem-path=$CUSTOM_CA")
        else
            for bundle in "${SSL_CERT_FILE:-}" /etc/ssl/certs/ca-certificates.crt /etc/pki/tls/certs/ca-bundle.crt \
                /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem /etc/ssl/ca-bundle.pem /etc/ssl/cert.pem; do
                [[ -n $bundle && -r $bundle ]] && break
                bundle=
            done
            { [[ -n $bundle ]] && cat -- "$bundle"; echo; cat -- "$CUSTOM_CA"; } >"$work/ca.crt" ||
                finish Failed "the custom CA could not be joined with the system's in $work"
            export SSL_CERT_FILE=$work/ca.crt
        fi
    fi
    connect=("${connect[0]}" ${arguments[@]+"${arguments[@]}"})
    if [[ ${HUB_CACHE_MB:-} =~ ^[0-9]+$ ]]; then
        # Metadata is what maintenance reads over and over. A tenth stays free for what kopia holds for a moment.
        connect+=("--metadata-cache-size-limit-mb=$((HUB_CACHE_MB * 70 / 100))"
            "--content-cache-size-limit-mb=$((HUB_CACHE_MB * 20 / 100))")
    fi
}

# A new connection: new configuration, empty cache, no list cache. Whatever kopia reads then, it reads from the store.
connections=0 cache=''
open_repository() {
    connections=$((connections + 1))
    [[ -n $cache ]] && rm -rf -- "$cache"
    cache=$(mktemp -d "$HUB_CACHE_DIR/connection.XXXXXX") ||
        finish Failed "no folder could be made in $HUB_CACHE_DIR: it must be a writable volume"
    export KOPIA_CACHE_DIRECTORY=$cache KOPIA_CONFIG_PATH=$work/connection-$connections.config
    call_kopia - repository connect "${connect[@]}" --override-username="${HUB_OWNER%%@*}" \
        --override-hostname="${HUB_OWNER#*@}" --max-list-cache-duration=0s --no-auto-maintenance ||
        give_up ConnectFailed
}

# Which repository this is, in its own words. It must stay the same while this Job lasts.
read_identity() {
    local before=$unique_id
    call_kopia "$work/status.json" repository status --json --no-auto-maintenance || give_up ConnectFailed
    unique_id=$(jq -er '.uniqueIDHex | strings | select(test("^[0-9A-Za-z]{1,128}$"))' "$work/status.json" 2>/dev/null) ||
        finish Failed 'kopia did not tell the unique ID of the repository'
    if [[ -n $before && $unique_id != "$before" ]]; then
        if [[ $verb == claim ]]; then
            finish ClaimIneffective "another repository stands at this place now: its unique ID was $before"
        fi
        finish Failed "another repository stands at this place now: its unique ID was $before"
    fi
}

# Times in what "maintenance info --json" prints. The next time less the interval is when the last run began; a task
# is listed when it has ended; snapshot-gc is the first task of a full run, cleanup-logs the last.
readonly INFO_LIBRARY='
def seconds:
  if type != "string" or startswith("0001-") then null
  else capture("^(?<day>[0-9-]{10})T(?<time>[0-9:]{8})(?<part>\\.[0-9]+)?(?<zone>Z|[+-][0-9]{2}:[0-9]{2})$")
    | ("\(.day)T\(.time)Z" | fromdateiso8601) + ("0\(.part // "")" | tonumber)
      - (if .zone == "Z" then 0
         else ((.zone[1:3] | tonumber) * 3600 + (.zone[4:6] | tonumber) * 60) * (if .zone[0:1] == "-" then -1 else 1 end)
         end)
  end;
def begun(next; cycle):
  (.schedule[next] | seconds) as $next
  | if $next == null then null else $next - ((.[cycle].interval // 0) / 1000000000) end;
def runs: [(.schedule.runs // {}) | to_entries[] | .key as $task | .value[]?
  | {task: $task, start: (.start | seconds), end: (.end | seconds), good: (.success == true), extra: (.extra // [])}
  | select(.start != null and .end != null)];
def of(task): map(select(.task == task));
def only_full: map(select(.task | test("^(snapshot-gc|full-.*|extend-blob-retention-time|generate-epoch-range-index|cleanup-epoch-markers|delete-superseded-epoch-indexes)$")));

# The start of the newest run, quick or full, of whomever; never later than now.
def last_run_start($now):
  [begun("nextFullMaintenance"; "full"), begun("nextQuickMaintenance"; "quick"), (runs[] | .start)]
  | map(select(. != null)) | max // empty | [., $now] | min | floor;

# The start of a full run that has not ended and whose time is not over, else nothing. A task that failed ends a run
# as well. The millisecond is what adding and taking away an interval may cost.
def unfinished_full_run($now; $deadline; $future):
  runs as $runs
  | [begun("nextFullMaintenance"; "full"), ($runs | of("snapshot-gc")[] | .start)]
  | map(select(. != null and . <= $now + $future)) | max // empty
  | . as $start
  | select($now < $start + $deadline)
  | select($runs | of("cleanup-logs") | any(.start >= $start - 0.001) | not)
  | select($runs | only_full | any(.good == false and .start >= $start - 0.001) | not)
  | floor;

# When the newest full run that went well ended. The quick run of an old repository format cleans up logs too, but
# compacts indexes right before it, so it is no end of a full run.
def last_full_success:
  runs as $runs
  | [$runs | of("snapshot-gc")[] | select(.good) | . as $first
     | [$runs | of("cleanup-logs")[] | select(.good and .start >= $first.end)] | min_by(.start) | select(. != null)
     | . as $last
     | select($runs | of("snapshot-gc") | any(.start > $first.start and .start <= $last.start) | not)
     | select($runs | of("index-compaction") | any(.start >= $first.end and .start <= $last.start) | not)
     | .end]
  | max // empty | floor;

# Did the command that began then do its work? Kopia ends well also where it did nothing.
# New is what began since and was not recorded before.
def fresh($before; $begin): runs - ($before[0] | runs) | map(select(.start >= $begin));
# Has a run of whomever begun since? Each moves the next time before it does anything else, whatever its clock says.
def run_began($before):
  .schedule as $after | any("nextFullMaintenance", "nextQuickMaintenance"; $after[.] != $before[0].schedule[.]);
def fresh_quick_success($before; $begin): fresh($before; $begin) | length > 0 and all(.good);
def fresh_full_success($before; $begin):
  fresh($before; $begin) as $fresh
  | [$fresh | of("snapshot-gc")[] | select(.good) | .end] | max as $gc
  | $gc != null and ($fresh | of("cleanup-logs") | any(.good and .start >= $gc)) and ($fresh | all(.good));

def reclaimed_bytes($before; $begin):
  [fresh($before; $begin)[] | select(.good and (.task | test("-delete-blobs$"))) | .extra[]?
   | select(.kind == "deleteUnreferencedPacksStats") | .data.deletedTotalSize | numbers] | add // 0 | floor;
'

# ask FILTER [NAME NUMBER]…: puts a question to the maintenance info. The answer is in $answer. $before is the info
# that keep_info kept.
ask() {
    local filter=$1
    local -a arguments=()
    [[ -e $work/before.json ]] && arguments=(--slurpfile before "$work/before.json")
    shift
    while (($# > 0)); do
        arguments+=(--argjson "$1" "$2")
        shift 2
    done
    answer=$(jq -r ${arguments[@]+"${arguments[@]}"} "$INFO_LIBRARY $filter" "$info" 2>"$work/jq-error") ||
        finish Failed 'what kopia says of past maintenance could not be understood; its format may be new'
}

read_info() {
    local now
    info=$work/info.json
    call_kopia "$info" maintenance info --json --no-auto-maintenance || give_up ConnectFailed
    ask '.owner // "" | strings'
    owner=$answer
    now=$(date +%s)
    ask 'last_run_start($now)' now "$now"
    last_run_start=$answer
}

keep_info() {
    cp -- "$1" "$work/before.json" || finish Failed "nothing could be written to $work"
}

is_of_this_hub() {
    [[ $1 == "volsync-hub-"+([0-9])"@"?*".$HUB_ID" ]]
}

# The recorded owner is not this grant's: passed by a newer grant, or not of this hub, or older than this one.
refuse_owner() {
    local epoch
    if is_of_this_hub "$owner"; then
        epoch=${owner#volsync-hub-}
        epoch=${epoch%%@*}
        if ((${#epoch} <= 15 && 10#$epoch >= 10#$HUB_EPOCH)); then
            finish Fenced "a newer grant has taken over: the recorded owner is $owner"
        fi
    fi
    finish NotGranted "the recorded owner is ${owner:-nobody}, not $HUB_OWNER"
}

# --------------------------------------------------------------------------------------------------------------- claim

check_clock() {
    local now
    now=$(date +%s)
    if ((now < HUB_PERMIT_ISSUED - CLOCK_TOLERANCE_SECONDS)); then
        finish ClockSkew "the clock of this node is $((HUB_PERMIT_ISSUED - now)) s behind the permit: $1"
    fi
    if ((now > HUB_PERMIT_NOT_AFTER)); then
        finish ClockSkew "the permit ended $((now - HUB_PERMIT_NOT_AFTER)) s ago, or the clock of this node is ahead: $1"
    fi
    limit_seconds=$((HUB_PERMIT_NOT_AFTER - now + 1))
}

check_permit() {
    case $HUB_PERMIT_REPLACES in
    foreign)
        is_of_this_hub "$owner" || return 0
        finish ClaimRefused "the recorded owner $owner is of this hub, and the permit is for a foreign one"
        ;;
    "$owner") ;;
    *) finish ClaimRefused "the recorded owner is ${owner:-nobody}; the permit is for $HUB_PERMIT_REPLACES" ;;
    esac
}

set_owner() {
    begin_step 'setting the owner'
    check_clock 'nothing was set'
    owner_written=true
    if ! call_kopia - maintenance set --owner=me --no-auto-maintenance; then
        limit_seconds=''
        (($(date +%s) > HUB_PERMIT_NOT_AFTER)) && finish ClockSkew 'the permit ended while the owner was being set'
        give_up Failed
    fi
    limit_seconds=''
}

read_back() {
    begin_step "reading the owner back ($1 of 2)"
    open_repository
    read_identity
    read_info
    [[ $owner == "$HUB_OWNER" ]] ||
        finish ClaimIneffective "the owner was set, but ${owner:-nobody} is recorded: its clock may be ahead"
    say "    recorded owner: $owner"
}

claim() {
    begin_step 'checking the permit'
    check_clock 'nothing was read or set'
    limit_seconds=''
    begin_step "connecting to the $backend repository"
    open_repository
    begin_step 'reading the recorded owner'
    read_identity
    read_info
    keep_info "$info"
    previous_owner=$owner
    say "    repository $unique_id, recorded owner: ${owner:-nobody}"
    if [[ $owner == "$HUB_OWNER" ]]; then
        say '    it is this grant already'
    else
        check_permit
        set_owner
    fi
    read_back 1
    # Somebody else may have taken the repository after the owner was read, and be in the middle of a run. Whatever begins
    # from now on has to pass the owner that was set.
    ask 'run_began($before)'
    run_began=$answer
    say "    waiting $HUB_READ_BACK_SECONDS s"
    sleep "$HUB_READ_BACK_SECONDS" &
    wait $!
    read_back 2
    finish Claimed "$HUB_OWNER is the recorded owner, read back twice"
}

# ----------------------------------------------------------------------------------------------------------------- run

check_busy() {
    ask 'unfinished_full_run($now; $deadline; $future)' now "$(date +%s)" \
        deadline "$HUB_DEADLINE_SECONDS" future "$FUTURE_START_SECONDS"
    [[ -n $answer ]] || return 0
    busy_until=$((answer + HUB_DEADLINE_SECONDS))
    finish Busy "a full run that began $(date -u -d "@$answer" +%FT%TZ) has not ended, and may last until $(date -u -d "@$busy_until" +%FT%TZ)"
}

# maintain NAME QUESTION [--full]
maintain() {
    local began
    begin_step "$1 maintenance"
    began=$(date +%s)
    keep_info "$info"
    call_kopia - maintenance run "${@:3}" --no-auto-maintenance || give_up Failed
    read_info
    ask "$2(\$before; \$begin)" begin "$began"
    [[ $answer == true ]] ||
        finish Failed "kopia ended without an error, but its record shows no $1 maintenance that went well since it began"
}

full_run_wanted() {
    [[ $HUB_CYCLE == Full ]] && return 0
    [[ $HUB_CYCLE == Quick ]] && return 1
    local now
    now=$(date +%s)
    ask 'last_full_success' || return 0
    if [[ -n $answer ]] && ((now - answer < FULL_RUN_REST_SECONDS)); then
        say "    the last full run went well $(((now - answer) / 60)) minutes ago: no other before 20 hours are over"
        return 1
    fi
}

run() {
    local began done_what=quick size
    begin_step "connecting to the $backend repository"
    open_repository
    begin_step 'reading the recorded owner'
    read_identity
    read_info
    say "    repository $unique_id, recorded owner: ${owner:-nobody}"
    [[ $owner == "$HUB_OWNER" ]] || refuse_owner
    begin_step 'looking for a run that is under way'
    check_busy
    began=$(date +%s)
    cp -- "$info" "$work/first.json"
    full_run_wanted && done_what='quick and full'
    maintain quick fresh_quick_success
    if [[ $done_what != quick ]]; then
        maintain full fresh_full_success --full
    fi
    keep_info "$work/first.json"
    ask 'reclaimed_bytes($before; $begin)' begin "$began"
    reclaimed=$answer
    size=$(numfmt --to=iec-i --suffix=B "$reclaimed" 2>/dev/null) || size="$reclaimed bytes"
    finish Succeeded "$done_what maintenance went well in $SECONDS s, $size reclaimed"
}

# --------------------------------------------------------------------------------------------------------- the two parts

# Inside the timeout.
run_inside() {
    inside=yes
    trap on_signal TERM INT
    verb=$1
    shift
    connect=("$@")
    collect_secrets
    read_contract
    [[ $verb == claim || $verb == run ]] || finish Failed "unknown verb: say claim or run"
    ((${#connect[@]} > 0)) || finish Failed 'no place to connect to was given'
    export HOME=$work KOPIA_LOG_DIR=$work/log KOPIA_CHECK_FOR_UPDATES=false KOPIA_PERSIST_CREDENTIALS_ON_CONNECT=false
    step='asking kopia for its version'
    call_kopia "$work/version" --version || give_up Failed
    read -r kopia_version _ <"$work/version"
    say "volsync-hub: $verb, repository $HUB_REPOSITORY, epoch $HUB_EPOCH, as $HUB_OWNER, kopia $kopia_version"
    prepare_connection
    "$verb"
}

# Around it: the first process of the container, which outlives the timeout and leaves an outcome whatever happens.
run_around() {
    local child='' code grace
    [[ ${HUB_DEADLINE_SECONDS:-} =~ ^[1-9][0-9]{0,6}$ ]] ||
        finish Failed 'the variable HUB_DEADLINE_SECONDS is missing or wrong: it must be a number of seconds'
    work=$(mktemp -d "$TMPDIR/volsync-hub.XXXXXX") || finish Failed "no folder could be made in $TMPDIR: it must be a writable volume"
    # The end is asked for a little before the deadline and enforced at the deadline: 10 s, for short ones a tenth.
    grace=$((HUB_DEADLINE_SECONDS < 100 ? (HUB_DEADLINE_SECONDS + 9) / 10 : 10))
    ((grace < HUB_DEADLINE_SECONDS)) || grace=0
    export MAINTAIN_WORK=$work MAINTAIN_LIMIT_SECONDS=$((HUB_DEADLINE_SECONDS - grace))
    trap '[[ -n $child ]] && kill -TERM "$child" 2>/dev/null' TERM INT
    timeout --signal=TERM --kill-after="$((grace > 0 ? grace : 1))" "$MAINTAIN_LIMIT_SECONDS" \
        "$BASH" "${BASH_SOURCE[0]}" --inside "$@" &
    child=$!
    while true; do
        wait "$child" 2>/dev/null
        code=$?
        kill -0 "$child" 2>/dev/null || break
    done
    trap '' TERM INT
    rm -rf -- "$work" "$HUB_CACHE_DIR"/connection.*
    if [[ ! -s $HUB_TERMINATION_LOG ]]; then
        verb=${1:-} owner_written=true
        if ((SECONDS >= MAINTAIN_LIMIT_SECONDS)); then
            finish DeadlineExceeded "killed after $SECONDS s, its whole time"
        elif ((code == 137)); then
            finish OutOfMemory "killed after $SECONDS s"
        fi
        finish Failed "the mover script ended with code $code and said nothing"
    fi
    close
}

if [[ ${1:-} == --inside ]]; then
    shift
    run_inside "$@"
else
    run_around "$@"
fi
