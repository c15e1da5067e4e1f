// Crontable asks robfig/cron, the library of the CronJob controller, when schedules fire, and prints what it says as
// a table. The schedule evaluator of volsync-hub is held against that table by `cargo test schedule`.
//
// To make the table anew, from e2e/tools:
//
//	go run ./crontable > crontable/table.tsv
//
// Columns: schedule, zone, after, and the next five fire times (RFC 3339, UTC, parted by a blank), the last of which
// can be `never` where robfig gives up, `endless` where it never answers, or `later` as told below; or `refused: ` and
// robfig's reason.
//
// Time zone data comes from the Go distribution, never from the machine, so that the table depends on the Go version
// alone. Fire times from 2026 on are shown as `later` where the zone has clock changes: governments may still move
// them, and then another release of the zone data would say another time.
package main

import (
	"bufio"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/robfig/cron/v3"
)

// times is how many fire times a row shows.
const times = 5

// patience is how long robfig may think about one fire time. It needs microseconds, or does not come back at all:
// where a zone skipped a whole day, its search for that day steps on the spot.
const patience = 3 * time.Second

// settled is up to when all releases of the zone data from 2025c on agree.
var settled = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func main() {
	if err := useBundledZones(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	fmt.Fprintln(out, "# robfig/cron v3.0.1, made by e2e/tools/crontable: do not edit")
	table := &table{out: out, seen: map[string]bool{}}
	table.syntax()
	table.calendar()
	table.clockChanges()
	table.random(rand.New(rand.NewSource(20260101)))
}

// useBundledZones must run before the first zone is loaded: the time package reads ZONEINFO once.
func useBundledZones() error {
	zones := filepath.Join(runtime.GOROOT(), "lib", "time", "zoneinfo.zip")
	if _, err := os.Stat(zones); err != nil {
		return fmt.Errorf("the Go distribution's time zones are needed: %w", err)
	}
	return os.Setenv("ZONEINFO", zones)
}

type table struct {
	out  *bufio.Writer
	seen map[string]bool
}

func (t *table) row(schedule, zone, after string) {
	key := schedule + "\t" + zone + "\t" + after
	if t.seen[key] {
		return
	}
	t.seen[key] = true
	fmt.Fprintf(t.out, "%s\t%s\n", key, fires(schedule, zone, after))
}

// fires does what the API server does to admit a schedule, then what the controller does to follow it: it puts the
// zone before the text.
func fires(schedule, zone, after string) string {
	if _, err := cron.ParseStandard(schedule); err != nil {
		return "refused: " + strings.Join(strings.Fields(err.Error()), " ")
	}
	parsed, err := cron.ParseStandard("TZ=" + zone + " " + schedule)
	if err != nil {
		return "refused: " + strings.Join(strings.Fields(err.Error()), " ")
	}
	at, err := time.Parse(time.RFC3339, after)
	if err != nil {
		panic(err)
	}
	var shown []string
	for range times {
		next, answered := nextWithin(parsed, at)
		if !answered {
			shown = append(shown, "endless")
			break
		}
		if next.IsZero() {
			shown = append(shown, "never")
			break
		}
		if zone != "UTC" && !next.Before(settled) {
			shown = append(shown, "later")
			break
		}
		at = next
		shown = append(shown, at.UTC().Format(time.RFC3339))
	}
	return strings.Join(shown, " ")
}

// nextWithin leaves a search that does not end to itself: it dies with the program.
func nextWithin(schedule cron.Schedule, after time.Time) (time.Time, bool) {
	answer := make(chan time.Time, 1)
	go func() { answer <- schedule.Next(after) }()
	select {
	case next := <-answer:
		return next, true
	case <-time.After(patience):
		return time.Time{}, false
	}
}
