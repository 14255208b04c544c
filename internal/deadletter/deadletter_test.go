package deadletter_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"darkroom/internal/deadletter"
	"darkroom/internal/event"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// world is a broker with the topic of events and that of dead letters.
type world struct {
	*testing.T
	cluster *kfake.Cluster
	cl      *kgo.Client
	topic   *deadletter.Topic
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, event.TopicImages, event.TopicRejected))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.ListenAddrs()...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	topic, err := deadletter.Open(t.Context(), c.ListenAddrs(), event.TopicRejected)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(topic.Close)
	return &world{t, c, cl, topic}
}

func (w *world) produce(topic string, key, value []byte) {
	w.Helper()
	if err := w.cl.ProduceSync(w.Context(), &kgo.Record{Topic: topic, Key: key, Value: value}).FirstErr(); err != nil {
		w.Fatal(err)
	}
}

// letter is the n-th letter, of an image of the tenant acme.
func letter(n int64) event.Rejection {
	return event.Rejection{
		Stage: "analyze", Class: event.Permanent, Code: "truncated", Detail: "it ends early", Topic: event.TopicImages,
		Offset: n, Timestamp: noon.Add(time.Duration(n) * time.Minute), Key: fmt.Appendf(nil, "image%d", n),
		Value: fmt.Appendf(nil, `{"data":{"tenant":"acme","n":%d}}`, n),
	}
}

func (w *world) reject(r event.Rejection) (id string) {
	w.Helper()
	key, value, err := r.Encode()
	if err != nil {
		w.Fatal(err)
	}
	w.produce(event.TopicRejected, key, value)
	got, err := event.DecodeRejection(value)
	if err != nil {
		w.Fatal(err)
	}
	return got.ID
}

func (w *world) letters() []deadletter.Letter {
	w.Helper()
	letters, bad, err := w.topic.Letters(w.Context())
	if err != nil || len(bad) > 0 {
		w.Fatal(err, bad)
	}
	return letters
}

func (w *world) waiting() []deadletter.Letter {
	w.Helper()
	return deadletter.Filter{}.Of(w.letters(), 0)
}

// replay replays what waits, and returns the results as "key error".
func (w *world) replay() (results []string) {
	w.Helper()
	err := w.topic.Replay(w.Context(), w.waiting(), func(r deadletter.Result) {
		results = append(results, strings.TrimSpace(fmt.Sprintf("%s %v", r.Letter.Key, r.Err)))
	})
	if err != nil {
		w.Fatal(err)
	}
	slices.Sort(results)
	return results
}

// events reads images.events as "key value@time letter replay".
func (w *world) events(n int) (got []string) {
	w.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.ConsumeTopics(event.TopicImages),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.Fatal(err)
	}
	defer cl.Close()
	for len(got) < n {
		fetches := cl.PollFetches(w.Context())
		if err := fetches.Err(); err != nil {
			w.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			text := fmt.Sprintf("%s %s %s", r.Key, r.Value, r.Timestamp.UTC().Format("15:04"))
			for _, h := range r.Headers {
				text += fmt.Sprintf(" %s=%s", h.Key, h.Value)
			}
			got = append(got, text)
		})
	}
	slices.Sort(got)
	return got
}

func TestALetterIsReplayedOnceForEachTimeItComesBack(t *testing.T) {
	w := newWorld(t)
	first, second := w.reject(letter(1)), w.reject(letter(2))
	if got := fmt.Sprint(w.replay()); got != "[image1 <nil> image2 <nil>]" {
		t.Fatal(got)
	}
	if got := w.replay(); len(got) != 0 {
		t.Errorf("replayed again: %v", got)
	}
	w.reject(letter(1)) // the first record was read again, by a job that began anew
	if got := w.replay(); len(got) != 0 {
		t.Errorf("a letter that is no news was replayed: %v", got)
	}
	back := letter(1)
	back.ID, back.Replays, back.Offset = first, 1, 100
	w.reject(back)
	if l := w.waiting(); len(l) != 1 || l[0].ID != first || l[0].Replays != 1 {
		t.Fatalf("waiting: %+v", l)
	}
	if got := fmt.Sprint(w.replay()); got != "[image1 <nil>]" {
		t.Fatal(got)
	}
	want := []string{
		`image1 {"data":{"tenant":"acme","n":1}} 12:01 darkroom-letter=` + first + ` darkroom-replay=1`,
		`image1 {"data":{"tenant":"acme","n":1}} 12:01 darkroom-letter=` + first + ` darkroom-replay=2`,
		`image2 {"data":{"tenant":"acme","n":2}} 12:02 darkroom-letter=` + second + ` darkroom-replay=1`,
	}
	if got := w.events(3); !slices.Equal(got, want) {
		t.Errorf("produced\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if all := w.letters(); len(all) != 2 || all[0].State != deadletter.Replayed || all[0].Replays != 2 || all[0].Tenant != "acme" {
		t.Errorf("letters: %+v", all)
	}
}

// refuse answers a produce request with an error.
func refuse(req kmsg.Request, with *kerr.Error) kmsg.Response {
	res := req.ResponseKind().(*kmsg.ProduceResponse)
	for _, topic := range req.(*kmsg.ProduceRequest).Topics {
		rt := kmsg.NewProduceResponseTopic()
		rt.Topic, rt.TopicID = topic.Topic, topic.TopicID
		for _, p := range topic.Partitions {
			rp := kmsg.NewProduceResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, with.Code
			rt.Partitions = append(rt.Partitions, rp)
		}
		res.Topics = append(res.Topics, rt)
	}
	return res
}

func TestACrashBeforeTheNoteRepeatsTheSameReplay(t *testing.T) {
	w := newWorld(t)
	id := w.reject(letter(1))
	requests := 0
	w.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		if requests++; requests == 1 { // the record
			return nil, nil, false
		}
		return refuse(req, kerr.TopicAuthorizationFailed), nil, true // the note
	})
	reported := 0
	err := w.topic.Replay(t.Context(), w.waiting(), func(deadletter.Result) { reported++ })
	if !errors.Is(err, kerr.TopicAuthorizationFailed) || reported != 0 {
		t.Fatalf("%d reported, error %v", reported, err)
	}
	w = w.again(t)
	if l := w.waiting(); len(l) != 1 || l[0].Replays != 0 {
		t.Fatalf("waiting: %+v", l)
	}
	if got := fmt.Sprint(w.replay()); got != "[image1 <nil>]" {
		t.Fatal(got)
	}
	one := `image1 {"data":{"tenant":"acme","n":1}} 12:01 darkroom-letter=` + id + ` darkroom-replay=1`
	if got := w.events(2); !slices.Equal(got, []string{one, one}) {
		t.Errorf("produced\n%s\nwant twice\n%s", strings.Join(got, "\n"), one)
	}
	if got := w.replay(); len(got) != 0 {
		t.Errorf("replayed again: %v", got)
	}
}

// again is the same world as another process sees it.
func (w *world) again(t *testing.T) *world {
	t.Helper()
	topic, err := deadletter.Open(t.Context(), w.cluster.ListenAddrs(), event.TopicRejected)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(topic.Close)
	return &world{t, w.cluster, w.cl, topic}
}

func TestALetterAloneDoesNotKeepTheOthers(t *testing.T) {
	w := newWorld(t)
	w.produce(event.TopicImages, []byte("image0"), []byte("what is too large for a letter"))
	var at time.Time
	if err := w.topic.Read(t.Context(), nil, nil); err != nil { // nothing chosen, nothing read
		t.Fatal(err)
	}
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.ConsumeTopics(event.TopicImages),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	cl.PollFetches(t.Context()).EachRecord(func(r *kgo.Record) { at = r.Timestamp })

	cut := letter(0)
	cut.Value, cut.Truncated, cut.Timestamp = nil, true, at
	w.reject(cut)
	for n, change := range map[int64]func(*event.Rejection){
		1: func(*event.Rejection) {},
		2: func(r *event.Rejection) { r.Value = nil },
		3: func(r *event.Rejection) { r.Value, r.Truncated = nil, true }, // its place has no record
		4: func(r *event.Rejection) { r.Value, r.Truncated, r.Partition = nil, true, 99 },
		5: func(r *event.Rejection) { r.Value, r.Truncated, r.Offset, r.Partition = nil, true, 0, 0 }, // another record's
		6: func(r *event.Rejection) { r.Replays = event.MaxReplays },
	} {
		r := letter(n)
		change(&r)
		r.ID = fmt.Sprintf("%032d", n)
		w.reject(r)
	}
	huge := letter(7)
	huge.ID, huge.Value = fmt.Sprintf("%032d", 7), make([]byte, 700_000)
	rand.NewChaCha8([32]byte{}).Read(huge.Value)
	w.reject(huge)
	w.cluster.ControlKey(int16(kmsg.Produce), func(req kmsg.Request) (kmsg.Response, error, bool) {
		w.cluster.KeepControl()
		if p := req.(*kmsg.ProduceRequest).Topics[0].Partitions[0]; len(p.Records) < 600_000 {
			return nil, nil, false
		}
		return refuse(req, kerr.MessageTooLarge), nil, true
	})
	want := []string{
		"image0 <nil>", "image1 <nil>", "image2 the record has no value", "image3 the record is there no more",
		"image4 the record is there no more", "image5 the record is there no more",
		"image6 it has been replayed 1000 times",
		"image7 the record is too large for its topic",
	}
	if got := w.replay(); !slices.Equal(got, want) {
		t.Errorf("replayed\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	found := slices.ContainsFunc(w.events(3), func(e string) bool {
		return strings.HasPrefix(e, "image0 what is too large for a letter "+at.UTC().Format("15:04")+" darkroom-letter=")
	})
	if !found {
		t.Error("the record of the truncated letter was not produced again")
	}
	if got := w.waiting(); len(got) != 6 {
		t.Errorf("%d letters wait, want those 6 that could not be replayed", len(got))
	}
}

func TestWhatIsNoLetterIsNamed(t *testing.T) {
	w := newWorld(t)
	w.reject(letter(1))
	for _, value := range []string{
		"", "{", "null", "[]", `{"type":"other"}`, `{"type":"darkroom.image.rejected.v1"}`,
		`{"type":"darkroom.image.replayed.v1","id":"x"}`,
	} {
		w.produce(event.TopicRejected, nil, []byte(value))
	}
	letters, bad, err := w.topic.Letters(t.Context())
	if err != nil || len(letters) != 1 || len(bad) != 7 {
		t.Fatalf("%d letters, %d others, %v", len(letters), len(bad), err)
	}
	for i, b := range bad {
		if b.Partition != 0 || b.Offset != int64(i+1) || b.Err == nil {
			t.Errorf("%+v", b)
		}
	}
}

func TestFilters(t *testing.T) {
	w := newWorld(t)
	odd := letter(2)
	odd.Stage, odd.Code, odd.Class, odd.Value = "decode", "malformed-event", event.Retryable, []byte("x")
	w.reject(letter(1))
	w.reject(odd)
	w.reject(letter(3))
	gone := w.reject(letter(4))
	note, err := event.Replayed{ID: gone, Replays: 1}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	w.produce(event.TopicRejected, nil, note)
	letters := w.letters()
	for name, c := range map[string]struct {
		f     deadletter.Filter
		limit int
		want  string
	}{
		"waiting": {deadletter.Filter{}, 0, "1 2 3"},
		"all":     {deadletter.Filter{Replayed: true}, 0, "1 2 3 4"},
		"limit":   {deadletter.Filter{}, 2, "1 2"},
		"stage":   {deadletter.Filter{Stage: "analyze"}, 0, "1 3"},
		"code":    {deadletter.Filter{Code: "malformed-event"}, 0, "2"},
		"class":   {deadletter.Filter{Class: "retryable"}, 0, "2"},
		"tenant":  {deadletter.Filter{Tenant: "acme"}, 0, "1 3"},
		"image":   {deadletter.Filter{Image: "image3"}, 0, "3"},
		"since":   {deadletter.Filter{Since: noon.Add(2 * time.Minute)}, 0, "2 3"},
		"until":   {deadletter.Filter{Until: noon.Add(2 * time.Minute)}, 0, "1"},
		"two":     {deadletter.Filter{Tenant: "acme", Stage: "decode"}, 0, ""},
	} {
		var got []string
		for _, l := range c.f.Of(letters, c.limit) {
			got = append(got, strings.TrimPrefix(string(l.Key), "image"))
			if l.Value != nil {
				t.Errorf("a letter of %d bytes is kept", len(l.Value))
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", name, got, c.want)
		}
	}
}

func TestFindTakesAPrefixOfOneID(t *testing.T) {
	letters := []deadletter.Letter{
		{Rejection: event.Rejection{ID: "ab12"}}, {Rejection: event.Rejection{ID: "ab34"}}, {Rejection: event.Rejection{ID: "cd"}},
	}
	for prefix, want := range map[string]error{
		"ab12": nil, "ab1": nil, "c": nil, "ab": deadletter.ErrAmbiguous, "": deadletter.ErrUnknown, "x": deadletter.ErrUnknown,
	} {
		if l, err := deadletter.Find(letters, prefix); !errors.Is(err, want) || err == nil && !strings.HasPrefix(l.ID, prefix) {
			t.Errorf("%q: %s, %v", prefix, l.ID, err)
		}
	}
}

func TestWhatIsAwayIsSaidInOneLine(t *testing.T) {
	w := newWorld(t)
	if _, err := deadletter.Open(t.Context(), w.cluster.ListenAddrs(), "no-such"); err == nil ||
		err.Error() != "topic no-such does not exist" {
		t.Error(err)
	}
	if _, err := deadletter.Open(t.Context(), []string{"127.0.0.1:1"}, event.TopicRejected); err == nil ||
		!strings.Contains(err.Error(), "no broker answers at 127.0.0.1:1") {
		t.Error(err)
	}
	lost := letter(1)
	lost.Topic = "no-such"
	id := w.reject(lost)
	w.reject(letter(2))
	err := w.topic.Replay(t.Context(), w.waiting(), func(deadletter.Result) { t.Error("something was replayed") })
	if err == nil || err.Error() != "replay letter "+id+": topic no-such does not exist" {
		t.Error(err)
	}
	lost.ID, lost.Value, lost.Truncated = id, nil, true
	w.reject(lost)
	if err := w.topic.Read(t.Context(), w.waiting(), func(deadletter.Letter) error { return nil }); err != nil {
		t.Errorf("a letter whose topic is gone cannot be read: %v", err)
	}
}

func TestALetterOfARecordWithALargeKeyIsReplayed(t *testing.T) {
	w := newWorld(t)
	key := strings.Repeat("k", 500_000)
	place := &kgo.Record{Topic: event.TopicImages, Key: []byte(key), Value: []byte("value"), Timestamp: noon}
	if err := w.cl.ProduceSync(w.Context(), place).FirstErr(); err != nil {
		t.Fatal(err)
	}
	w.reject(event.Rejection{
		Stage: "decode", Class: event.Permanent, Code: "malformed-event", Topic: place.Topic, Partition: place.Partition,
		Offset: place.Offset, Timestamp: noon, Truncated: true,
	})
	if got := fmt.Sprint(w.replay()); got != "[<nil>]" {
		t.Fatal(got)
	}
	if again := w.events(2)[1]; !strings.HasPrefix(again, key+" value 12:00 ") || !strings.Contains(again, "replay=1") {
		t.Errorf("%d bytes, %.40q…%q", len(again), again, again[max(0, len(again)-100):])
	}
	if left := w.waiting(); len(left) != 0 {
		t.Errorf("%d letters wait", len(left))
	}
}

// TestLettersOfTransactionsThatDidNotEndWellAreNone has one that was aborted, and one that never ends.
func TestLettersOfTransactionsThatDidNotEndWellAreNone(t *testing.T) {
	w := newWorld(t)
	w.reject(letter(1))
	for n, end := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort} {
		w.transact(fmt.Sprint("ended", n), letter(int64(2+n)), func(cl *kgo.Client) error {
			return cl.EndTransaction(w.Context(), end)
		})
	}
	w.reject(letter(4))
	w.transact("open", letter(5), func(*kgo.Client) error { return nil })
	var keys []string
	for _, l := range w.letters() {
		keys = append(keys, string(l.Key))
	}
	if got := fmt.Sprint(keys); got != "[image1 image2 image4]" {
		t.Error(got)
	}
	if got := fmt.Sprint(w.replay()); got != "[image1 <nil> image2 <nil> image4 <nil>]" {
		t.Error(got)
	}
}

// transact writes a letter in a transaction.
func (w *world) transact(id string, r event.Rejection, end func(*kgo.Client) error) {
	w.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.cluster.ListenAddrs()...), kgo.TransactionalID(id),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(cl.Close)
	key, value, err := r.Encode()
	if err != nil {
		w.Fatal(err)
	}
	if err := cl.BeginTransaction(); err != nil {
		w.Fatal(err)
	}
	record := &kgo.Record{Topic: event.TopicRejected, Key: key, Value: value}
	if err := cl.ProduceSync(w.Context(), record).FirstErr(); err != nil {
		w.Fatal(err)
	}
	if err := end(cl); err != nil {
		w.Fatal(err)
	}
}
