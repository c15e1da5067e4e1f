package main

import (
	"fmt"
	"math/rand"
	"strconv"
	"strings"
	"time"
)

// syntax: one row for each way to write a field, accepted and refused.
func (t *table) syntax() {
	schedules := []string{
		// Plain, blanks, leading zeros.
		"* * * * *", "0 2 * * *", "5 4 3 2 1", "59 23 31 12 6", "0 0 1 1 0", "  0   2  * *  * ", "00 02 01 01 00", "0007 3 * * *",
		// Lists, ranges, steps.
		"1,2,3 * * * *", "0-5 * * * *", "0-59 * * * *", "5-5 * * * *", "3,1,2 * * * *", "1,1,1 * * * *", "0,30 9-17 * * *",
		"*/15 * * * *", "*/1 * * * *", "*/7 * * * *", "*/59 * * * *", "*/60 * * * *", "*/90 * * * *", "5/15 * * * *", "5/70 * * * *",
		"10-40/10 * * * *", "10-40/1 * * * *", "10-40/31 * * * *", "0-59/15,7 * * * *", "*,5 * * * *", "*/2,1 * * * *", "0 */5 * * *",
		"0 23/2 * * *", "0 8-18/3 * * *", "0 */24 * * *", "0 0 */10 * *", "0 0 10/10 * *", "0 0 1-31 * *", "0 0 * */3 *", "0 0 * 2/5 *",
		"0 0 * 1-12 *", "0 0 * * */2", "0 0 * * 1-5", "0 0 * * 0-6", "0 0 * * 5-6", "0 0 * * 2/3",
		// Question marks.
		"? ? ? ? ?", "0 0 ? * *", "0 0 * * ?", "0 0 ? * ?", "0 0 ?/2 * *", "0 0 ?/1 * 1", "?/20 * * * *",
		// Names.
		"0 0 * JAN *", "0 0 * jan,Jul *", "0 0 * feb-apr *", "0 0 * Oct/1 *", "0 0 * sep/2 *", "0 0 * * MON", "0 0 * * sun", "0 0 * * mon-fri",
		"0 0 * * sun-mon", "0 0 * * Sun-6", "0 0 * * tue/2", "0 0 * * mon,wed,fri", "0 0 * * sat", "0 0 1 MAY mon", "0 0 * dec wed-THU",
		// Descriptors.
		"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly", "@every 1h", "@every 90s", "@reboot", "@Daily", "@", "@every",
		"@fortnightly", " @daily",
		// The OR rule: both restricted, a star in one, steps that are or are no star.
		"0 0 13 * 5", "0 0 1,15 * 1", "0 0 * * 5", "0 0 13 * *", "0 0 */2 * 1", "0 0 */1 * 1", "0 0 1 * */2", "0 0 1 * */1", "0 0 */10 * */3",
		"0 0 ? * 3", "0 0 9 * ?", "0 0 1-31 * 1", "0 0 5 * 0-6", "0 0 *,5 * 2", "0 0 31 2 1", "0 0 30 2 */2", "0 0 1,* * 4", "0 0 */2,* * 4",
		// Never, and refused.
		"0 0 30 2 *", "0 0 31 4 *", "0 0 31 2,4,6,9,11 *", "0 0 30-31 2 ?", "0 0 31 4,6 *", "0 0 30 feb */1",
		"", " ", "*", "* * * *", "* * * * * *", "0 0 2 * * *", "60 * * * *", "-1 * * * *", "0 24 * * *", "0 0 0 * *", "0 0 32 * *", "0 0 * 0 *",
		"0 0 * 13 *", "0 0 * * 7", "0 0 * * 8", "0 0 * * 5-7", "0 0 * * 1-7", "0 0 * * 0-7", "0 0 * * SUN-7", "0 0 * * 1-7/2", "0 0 * * 7/1", "0 0 * * 1,7",
		"5-1 * * * *", "0 0 * * sat-sun", "0 0 * * fri-mon", "0 0 * nov-feb *", "*/0 * * * *", "5/0 * * * *", "1-2-3 * * * *", "1/2/3 * * * *",
		"*/a * * * *", "a * * * *", "1.5 * * * *", "0x5 * * * *", "1_0 * * * *", "1e1 * * * *", "99999999999999999999 * * * *", "*/99999999999999999999 * * * *",
		"*/9223372036854775807 * * * *", "*/9223372036854775808 * * * *",
		"0 0 L * *", "0 0 15W * *", "0 0 LW * *", "0 0 * * 5L", "0 0 * * 5#2", "0 0 * * MON#1", "0 0 * * monday", "0 0 * january *", "0 0 mon * *", "jan * * * *",
		"0 0 * * 1-mon", "0 0 * * mon-5", "0 0 * * */mon", "H * * * *", "H H * * *", "H(0-7) * * * *", "H/15 * * * *",
		"TZ=UTC 0 2 * * *", "CRON_TZ=Europe/Berlin 0 2 * * *", "TZ=Nowhere/At_All 0 2 * * *", "0 2 * * * UTC",
		"-5 * * * *", "5- * * * *", "/5 * * * *", "5/ * * * *", "** * * * *", "*5 * * * *", "5* * * * *", "5 5,* * * *",
		// What robfig takes though nobody can mean it.
		"1,,2 * * * *", ",1 * * * *", "1, * * * *", ", * * * *", "+5 * * * *", "*/+5 * * * *", "1-+5 * * * *", "*-5 * * * *", "?-5 * * * *", "*- * * * *", "*-5/2 * * * *",
		"*-5-6 * * * *", "-0 * * * *", "0--5 * * * *",
	}
	for _, schedule := range schedules {
		t.row(schedule, "UTC", "2025-01-15T10:20:30Z")
	}
}

// calendar: leap years, month ends, year ends, the five-year horizon, seconds and fractions of `after`.
func (t *table) calendar() {
	schedules := []string{
		"0 0 29 2 *", "0 0 29 2 0", "0 0 29 2 */1", "0 12 28-31 2 *", "0 0 31 * *", "30 6 30 * *", "59 23 31 12 *", "0 0 1 1 *", "0 0 1 1 1", "0 0 1 3 *",
		"0 0 1 */2 *", "15 3 */31 * *", "0 5 * 2 *", "*/20 0 1 1,7 *", "0 0 1-7 * 1", "0 0 31 12 5", "0 0 30 2,4 *",
	}
	afters := []string{
		"2024-02-28T23:59:59Z", "2024-02-29T00:00:00Z", "2023-12-31T23:59:30Z", "2021-03-01T00:00:00Z", "2019-11-30T12:00:01Z", "1999-12-31T23:59:59Z",
		"2000-02-28T12:00:00Z", "2096-03-01T00:00:00Z",
	}
	for _, schedule := range schedules {
		for _, after := range afters {
			t.row(schedule, "UTC", after)
		}
	}
	for _, after := range []string{"2024-06-01T00:00:00Z", "2024-06-01T00:00:00.999999999Z", "2024-05-31T23:59:59.5Z", "2024-05-31T23:59:59Z", "2024-05-31T23:59:01Z"} {
		for _, schedule := range []string{"* * * * *", "0 0 * * *", "0 0 1 6 *"} {
			t.row(schedule, "UTC", after)
		}
	}
}

// clockChanges: around changes of the clock in zones that differ in what they do to it.
func (t *table) clockChanges() {
	changes := []struct {
		zone string
		// when is the instant of the change.
		when string
		// schedules that fire near it, on top of those for every zone.
		schedules []string
	}{
		{"Europe/Berlin", "2024-03-31T01:00:00Z", []string{"30 2 31 3 *", "0 2 * * 0", "59 1 * * *"}},
		{"Europe/Berlin", "2024-10-27T01:00:00Z", []string{"30 2 27 10 *", "0,30 2 * * *", "30 2,3 * * *", "*/30 1-3 * * *"}},
		{"Europe/London", "2024-03-31T01:00:00Z", []string{"30 1 * * *", "0 1 31 3 *"}},
		{"Europe/London", "2024-10-27T01:00:00Z", []string{"30 1 * * *", "0 1 * * 0"}},
		{"Europe/Dublin", "2023-10-29T01:00:00Z", []string{"30 1 * * *"}},
		{"America/New_York", "2024-03-10T07:00:00Z", []string{"30 2 * * *", "0 2 10 3 *", "0 3 * * *"}},
		{"America/New_York", "2024-11-03T06:00:00Z", []string{"30 1 * * *", "0 1 3 11 *", "5,55 1 * * *"}},
		{"America/St_Johns", "2010-03-14T03:31:00Z", []string{"0 0 * * *", "30 0 * * *", "0 1 * * *", "0 0 14 * *"}},
		{"America/St_Johns", "2010-11-07T02:31:00Z", []string{"0 0 * * *", "30 23 * * *", "1 0 * * *"}},
		{"America/Sao_Paulo", "2018-11-04T03:00:00Z", []string{"0 0 * * *", "30 0 * * *", "0 0 4 11 *", "30 1 * * 0"}},
		{"America/Sao_Paulo", "2019-02-17T02:00:00Z", []string{"0 0 * * *", "30 23 * * *", "30 23 16 2 *", "0 0 17 * *"}},
		{"America/Havana", "2024-03-10T05:00:00Z", []string{"0 0 * * *", "30 0 * * *", "0 0 10 * *"}},
		{"America/Havana", "2024-11-03T05:00:00Z", []string{"0 0 * * *", "30 0 * * *", "0 0 3 * *"}},
		{"America/Asuncion", "2017-10-01T04:00:00Z", []string{"0 0 1 10 *", "0 5 * 10 *", "0 5 15 10 *", "0 0 * 10 *", "0 2 * 11 *", "0 2 31 * *"}},
		{"America/Asuncion", "2018-03-25T03:00:00Z", []string{"30 23 * * *", "0 0 25 3 *"}},
		{"America/Caracas", "2016-05-01T07:00:00Z", []string{"45 2 * * *", "0 3 1 5 *", "0 0 * 5 *"}},
		{"America/Caracas", "2007-12-09T07:00:00Z", []string{"45 2 * * *", "0 2 9 12 *"}},
		{"Australia/Lord_Howe", "2024-04-06T15:00:00Z", []string{"0 2 * * *", "45 1 * * *", "0,30 1-2 * * *"}},
		{"Australia/Lord_Howe", "2024-10-05T15:30:00Z", []string{"0 2 * * *", "15 2 * * *", "45 2 * * *", "0 3 * * *"}},
		{"Asia/Kathmandu", "2024-01-01T00:00:00Z", []string{"45 5 * * *", "0 0 1 1 *"}},
		{"Asia/Kathmandu", "1985-12-31T18:30:00Z", []string{"5 0 * * *", "0 0 1 1 *", "15 0 1 * *"}},
		{"Asia/Beirut", "2022-03-26T22:00:00Z", []string{"0 0 * * *", "30 0 * * *", "0 5 27 3 *", "0 23 * * 6", "0 0 * * 0"}},
		{"Asia/Beirut", "2022-10-29T21:00:00Z", []string{"30 23 * * *", "0 0 30 10 *"}},
		{"Asia/Gaza", "2020-03-27T22:00:00Z", []string{"30 0 * * *", "0 4 28 3 *"}},
		{"Asia/Tehran", "2021-03-21T20:30:00Z", []string{"0 0 * * *", "30 0 * * *", "0 6 22 3 *"}},
		{"Asia/Tehran", "2021-09-21T19:30:00Z", []string{"30 23 * * *", "0 0 22 9 *"}},
		{"Asia/Pyongyang", "2018-05-04T15:00:00Z", []string{"45 23 * * *", "0 0 5 5 *", "30 23 4 5 *"}},
		{"Asia/Kolkata", "2024-06-30T18:30:00Z", []string{"30 5 * * *"}},
		{"Africa/Casablanca", "2024-03-10T02:00:00Z", []string{"30 2 * * *", "0 3 10 3 *"}},
		{"Africa/Casablanca", "2024-04-14T02:00:00Z", []string{"30 2 * * *", "30 3 14 4 *"}},
		{"Africa/Cairo", "2024-04-25T22:00:00Z", []string{"0 0 * * *", "30 0 * * 5", "0 3 26 4 *"}},
		{"Africa/Cairo", "2024-10-31T21:00:00Z", []string{"30 23 * * *", "30 23 31 10 *"}},
		{"Africa/Monrovia", "1972-01-07T00:44:30Z", []string{"0 0 * * *", "44 0 * * *", "30 12 * * *"}},
		{"Atlantic/Azores", "2024-03-31T01:00:00Z", []string{"0 0 * * *", "30 0 * * *", "0 0 31 3 *"}},
		{"Atlantic/Azores", "2024-10-27T01:00:00Z", []string{"0 0 * * *", "30 0 * * *", "0 0 27 10 *"}},
		{"Antarctica/Troll", "2024-03-31T01:00:00Z", []string{"30 1 * * *", "0 2 * * *", "30 2 31 3 *"}},
		{"Antarctica/Troll", "2024-10-27T01:00:00Z", []string{"30 1 * * *", "0 2 * * *", "30 2 27 10 *"}},
		{"Pacific/Apia", "2011-12-30T10:00:00Z", []string{"0 0 30 12 *", "0 0 * * 5", "0 0 31 12 *", "0 0 30,31 * *"}},
		{"Pacific/Chatham", "2024-04-06T14:00:00Z", []string{"45 2 * * *", "0 3 * * *", "15 3 * * *"}},
		{"Pacific/Chatham", "2024-09-28T14:00:00Z", []string{"45 2 * * *", "0 3 * * *", "15 3 * * *"}},
		{"Pacific/Kiritimati", "1994-12-31T10:00:00Z", []string{"0 0 31 12 *", "0 0 1 * *"}},
		{"Europe/Istanbul", "2016-09-06T21:00:00Z", []string{"0 0 7 * *"}},
		{"Etc/GMT+5", "2024-01-01T05:00:00Z", []string{"0 0 1 1 *"}},
	}
	everywhere := []string{"0 2 * * *", "30 2 * * *", "*/15 * * * *", "0 * * * *", "0 0 * * *", "@hourly", "@daily", "20 1,3 * * *", "0 */6 * * *", "15 4 1,15 * 1"}
	for _, change := range changes {
		when, err := time.Parse(time.RFC3339, change.when)
		if err != nil {
			panic(err)
		}
		for n, schedule := range append(append([]string{}, change.schedules...), everywhere...) {
			t.row(schedule, change.zone, when.Add(-25*time.Hour).Format(time.RFC3339))
			if n%2 == 0 {
				t.row(schedule, change.zone, when.Add(-40*time.Minute).Format(time.RFC3339))
			} else {
				t.row(schedule, change.zone, when.Add(20*time.Minute).Format(time.RFC3339))
			}
		}
	}
}

// random: schedules, zones and times drawn with a fixed seed, for what nobody thought of.
func (t *table) random(random *rand.Rand) {
	zones := []string{
		"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "Asia/Beirut", "America/Havana",
		"Africa/Casablanca", "Atlantic/Azores", "Antarctica/Troll", "America/Asuncion", "Europe/Lisbon", "Asia/Tehran", "Pacific/Chatham",
	}
	first := time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	last := time.Date(2024, 12, 31, 0, 0, 0, 0, time.UTC).Unix()
	for range 500 {
		schedule := strings.Join([]string{
			field(random, 0, 59), field(random, 0, 23), field(random, 1, 31), field(random, 1, 12), field(random, 0, 6),
		}, " ")
		after := time.Unix(first+random.Int63n(last-first), 0).UTC().Format(time.RFC3339)
		t.row(schedule, zones[random.Intn(len(zones))], after)
	}
}

func field(random *rand.Rand, low, high int) string {
	pick := func() int { return low + random.Intn(high-low+1) }
	switch random.Intn(9) {
	case 0, 1, 2:
		return "*"
	case 3, 4:
		return strconv.Itoa(pick())
	case 5:
		a, b := pick(), pick()
		return fmt.Sprintf("%d-%d", min(a, b), max(a, b))
	case 6:
		return fmt.Sprintf("*/%d", 1+random.Intn(high))
	case 7:
		a, b := pick(), pick()
		return fmt.Sprintf("%d-%d/%d", min(a, b), max(a, b), 1+random.Intn(high/2))
	default:
		return fmt.Sprintf("%d,%d,%d", pick(), pick(), pick())
	}
}
