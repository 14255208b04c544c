package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/event"
)

// deadletters is a broker with some letters, and the command line on it.
type deadletters struct {
	*testing.T
	brokers string
}

func newDeadletters(t *testing.T, letters ...event.Rejection) deadletters {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, event.TopicImages, event.TopicRejected))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	d := deadletters{t, c.ListenAddrs()[0]}
	for _, l := range letters {
		key, value, err := l.Encode()
		if err != nil {
			t.Fatal(err)
		}
		d.produce(key, value)
	}
	return d
}

func (d deadletters) produce(key, value []byte) {
	d.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(d.brokers))
	if err != nil {
		d.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(d.Context(), &kgo.Record{Topic: event.TopicRejected, Key: key, Value: value}).FirstErr(); err != nil {
		d.Fatal(err)
	}
}

func (d deadletters) run(args ...string) (out, stderr string, err error) {
	var o, e bytes.Buffer
	err = run(d.Context(), append([]string{"deadletter", args[0], "--kafka", d.brokers}, args[1:]...), stdio{&o, &e})
	return o.String(), e.String(), err
}

// prints checks what a command prints on stdout.
func (d deadletters) prints(want string, args ...string) {
	d.Helper()
	out, stderr, err := d.run(args...)
	if err != nil || !regexp.MustCompile("^(?s:"+want+")$").MatchString(out) {
		d.Errorf("%v: error %v\n%s%s\nwant\n%s", args, err, out, stderr, want)
	}
}

// fails checks that a command ends with one line of an error.
func (d deadletters) fails(want string, args ...string) {
	d.Helper()
	if _, _, err := d.run(args...); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		d.Errorf("%v: error %v, want one line with %q", args, err, want)
	}
}

func rejection(id string, minute int, value string) event.Rejection {
	return event.Rejection{
		ID: id, Stage: "analyze", Class: event.Permanent, Code: "truncated", Detail: "it ends\x1b[2J early", Attempts: 1,
		Software: "v1", Topic: event.TopicImages, Offset: int64(minute),
		Timestamp: time.Date(2026, 1, 1, 12, minute, 0, 0, time.UTC), Key: []byte("image" + id[:1]), Value: []byte(value),
	}
}

var (
	idA = "a0" + strings.Repeat("0", 30)
	idB = "a1" + strings.Repeat("0", 30)
	idC = "c0" + strings.Repeat("0", 30)
)

func TestDeadlettersAreListedShownAndReplayed(t *testing.T) {
	d := newDeadletters(t, rejection(idA, 1, `{"data":{"tenant":"acme"}}`), rejection(idB, 2, "\x00raw"), rejection(idC, 3, ""))
	const header = "ID +TIME +IMAGE +STAGE +CODE +REPLAYS +STATE +DETAIL\n"
	rowA := `a00000000000 +2026-01-01T12:01:00Z +imagea +analyze +truncated +0 +waiting +it ends\\u001b\[2J early` + "\n"
	d.prints(header+rowA+".*3 letters, 3 waiting\n", "list")
	d.prints(header+rowA+"1 letter, 1 waiting\n", "list", "--until", "2026-01-01T12:02:00Z")
	d.prints(header+rowA+"1 letter, 1 waiting\n", "list", "--tenant", "acme")
	d.prints("no such letter among 3 letters\n", "list", "--stage", "decode")

	d.prints(`id +`+idA+`\nstate +waiting\nreplays +0\nstage +analyze\nclass +permanent\ncode +truncated\n`+
		`detail +it ends\\u001b\[2J early\nattempts +1\nsoftware +v1\ntenant +acme\nkey +imagea\n`+
		`time +2026-01-01T12:01:00Z\nrecord +images.events/0@1\nletter +images.rejected/0@0\n\n`+
		`{\n  "data": {\n    "tenant": "acme"\n  }\n}\n`, "show", "a0")
	d.prints(`.*\n00000000  00 72 61 77 .*\|\.raw\|\n`, "show", idB)
	d.prints(".*the record has no value\n", "show", "c")
	d.fails("more than one letter", "show", "a")
	d.fails("no letter has this id", "show", "b")

	d.fails("or give --all", "replay")
	d.fails("--class", "replay", "--class", "other")
	d.fails("not both", "replay", "a0", "--all")
	d.fails("no letter has this id", "replay", "a0", "b")
	would := "would replay " + idA + " to images.events: replay 1 of imagea, truncated\n"
	for range 2 { // a dry run changes nothing
		d.prints(would+"would replay 1 letter\n", "replay", "--dry-run", "a0", idA)
	}
	d.prints("replayed 1 letter\n", "replay", "a0")
	d.prints("letter "+idA+" does not wait.*\nreplayed 0 letters\n", "replay", "a0")
	d.prints(header+".*1 waiting\n", "list", "--limit", "1")

	out, stderr, err := d.run("replay", "--all") // one of them has no value
	if out != "replayed 1 letter\n" || stderr != "cannot replay letter "+idC+": the record has no value\n" ||
		err == nil || err.Error() != "replay: 1 of 2 letters could not be replayed" {
		t.Errorf("%s%s%v", out, stderr, err)
	}
	d.prints(header+".*"+idB[:12]+".* 1 +replayed .*3 letters, 1 waiting\n", "list", "--all")

	out, stderr, err = d.run("list", "--all", "--json")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err != nil || len(lines) != 3 || stderr != "3 letters, 1 waiting\n" {
		t.Fatalf("%s%s%v", out, stderr, err)
	}
	var first struct {
		ID, State, Detail, Tenant, Key string
		Replays                        int
		Timestamp                      time.Time
	}
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(first); got != "{"+idA+" replayed it ends\x1b[2J early acme imagea 1 2026-01-01 12:01:00 +0000 UTC}" {
		t.Error(got)
	}
}

func TestDeadlettersNameWhatTheyCannotRead(t *testing.T) {
	d := newDeadletters(t)
	d.prints("no such letter among 0 letters\n", "list")
	for range namedBad + 1 {
		d.produce(nil, []byte("{\x1b"))
	}
	_, stderr, err := d.run("list")
	if err != nil || strings.Count(stderr, "cannot read images.rejected/0@") != namedBad || strings.Contains(stderr, "\x1b") ||
		!strings.HasSuffix(stderr, "21 records of images.rejected can be read neither as letter nor as note\n") {
		t.Errorf("%s%v", stderr, err)
	}
	d.fails("topic no-such does not exist", "list", "--rejected-topic", "no-such")
}

func TestAReplayOfManyShowsHowFarItIs(t *testing.T) {
	d := newDeadletters(t)
	for i := range barFrom {
		_, value, err := rejection(fmt.Sprintf("%032x", i), i, "x").Encode()
		if err != nil {
			t.Fatal(err)
		}
		d.produce(nil, value)
	}
	out, stderr, err := d.run("replay", "--all")
	if err != nil || out != "replayed 20 letters\n" || !strings.Contains(stderr, "(20/20)") {
		t.Errorf("%s%s%v", out, stderr, err)
	}
}
