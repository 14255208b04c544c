package pipelines_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/blob"
	"darkroom/internal/deadletter"
	"darkroom/internal/event"
	"darkroom/internal/table"
	"darkroom/pipelines"
)

// replay replays the letters that wait, and returns the keys of those that it did replay.
func (w *world) replay(t *testing.T) (keys []string) {
	t.Helper()
	topic, letters := w.letters(t)
	err := topic.Replay(t.Context(), deadletter.Filter{}.Of(letters, 0), func(r deadletter.Result) {
		if r.Err != nil {
			t.Errorf("replay %s: %v", r.Letter.Key, r.Err)
		}
		keys = append(keys, string(r.Letter.Key))
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(keys)
	return keys
}

func (w *world) letters(t *testing.T) (*deadletter.Topic, []deadletter.Letter) {
	t.Helper()
	topic, err := deadletter.Open(t.Context(), w.brokers, event.TopicRejected)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(topic.Close)
	letters, bad, err := topic.Letters(t.Context())
	if err != nil || len(bad) > 0 {
		t.Fatal(err, bad)
	}
	return topic, letters
}

// sendAgain produces every replay in the topic once more, as after a crash before the note.
func (w *world) sendAgain(t *testing.T) (n int) {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(event.TopicImages),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	var again []*kgo.Record
	for read := 0; read < w.produced+w.replayed; {
		fetches := cl.PollFetches(t.Context())
		if err := fetches.Err(); err != nil {
			t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			if len(r.Headers) > 0 {
				again = append(again, &kgo.Record{
					Topic: r.Topic, Key: r.Key, Value: r.Value, Headers: r.Headers, Timestamp: r.Timestamp,
				})
			}
		})
	}
	if err := cl.ProduceSync(t.Context(), again...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	return len(again)
}

// figures of the tenant as a whole, by minute.
func (w *world) figures(t *testing.T) (all []string) {
	t.Helper()
	for s, err := range table.AllImageStats.Scan(t.Context(), w.tables, table.Query{}) {
		if err != nil {
			t.Fatal(err)
		}
		if s.Dimension == table.DimensionAll {
			all = append(all, fmt.Sprintf("%s images=%d rejected=%d events=%d",
				time.UnixMicro(s.WindowStart).UTC().Format("15:04"), s.Images, s.Rejected, s.Events))
		}
	}
	slices.Sort(all)
	return all
}

func (w *world) image(t *testing.T, id string) table.Image {
	t.Helper()
	i, err := table.Images.Get(t.Context(), w.tables, table.Image{ImageID: id})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// lose takes an image's bytes out of the bucket.
func lose(t *testing.T, e event.Event) {
	t.Helper()
	store, err := blob.Open(t.Context(), bucket)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if err := store.Delete(t.Context(), e.Image.BlobKey()); err != nil {
		t.Fatal(err)
	}
}

// TestAReplayRepairsAnImageAndItsFigures loses an image's bytes until after it was looked at. Then everything is run
// again in each way in which that happens.
func TestAReplayRepairsAnImageAndItsFigures(t *testing.T) {
	w := newWorld(t)
	jpeg := readFile(t, photos[0])
	lost := append(slices.Clone(jpeg), "lost"...)
	twice := put(t, "twice", jpeg, noon.Add(10*time.Second))
	twiceAgain := put(t, "twice", jpeg, noon.Add(30*time.Second)) // a new upload, after a deletion in the same minute
	events := []event.Event{
		put(t, "good", jpeg, noon.Add(time.Second)),
		put(t, "gone", lost, noon.Add(2*time.Second)),
		put(t, "cut", jpeg[:1000], noon.Add(3*time.Second)),
		put(t, "dropped", lost, noon.Add(4*time.Second)), // lost as well, and deleted before it is replayed
		twice, event.NewDeleted(twice.Image, noon.Add(20*time.Second)), twiceAgain,
	}
	events = append(events, event.NewDeleted(events[3].Image, noon.Add(40*time.Second)))
	reborn := put(t, "reborn", lost, noon.Add(5*time.Second)) // its second upload has a newer row, and is lost as well
	events = append(events, reborn, event.NewDeleted(reborn.Image, noon.Add(6*time.Second)),
		put(t, "reborn", lost, noon.Add(7*time.Second)))
	for i := range 8 { // some for each partition
		events = append(events, put(t, fmt.Sprint("later", i), jpeg, noon.Add(2*time.Minute)))
	}
	gone := events[1]
	lose(t, gone)
	w.produce(t, events...)
	w.run(t, func(*pipelines.Live) {})
	expect := func(what string, want ...string) {
		t.Helper()
		if got := w.figures(t); !slices.Equal(got, want) {
			t.Fatalf("%s: %q, want %q", what, got, want)
		}
	}
	expect("before", "12:00 images=3 rejected=5 events=8", "12:02 images=8 rejected=0 events=8")

	put(t, "gone", lost, noon)
	if keys := w.replay(t); !slices.Equal(keys, []string{"cut", "dropped", "gone", "reborn", "reborn"}) {
		t.Fatalf("replayed %v", keys)
	}
	w.replayed = 5
	w.run(t, func(*pipelines.Live) {})
	expect("after", "12:00 images=7 rejected=1 events=13", "12:02 images=8 rejected=0 events=8")
	if i := w.image(t, "gone"); i.State != table.StateAnalysed || i.Format != "jpeg" || i.Version != gone.Version()+1 {
		t.Errorf("the image is %+v", i)
	}
	if i := w.image(t, "dropped"); i.State != table.StateDeleted {
		t.Errorf("the replay of a deleted image makes it %s", i.State)
	}
	_, letters := w.letters(t)
	waiting := deadletter.Filter{}.Of(letters, 0)
	if len(waiting) != 1 || string(waiting[0].Key) != "cut" || waiting[0].Replays != 1 || len(letters) != 5 {
		t.Fatalf("letters: %+v", letters)
	}
	want := w.rows(t)
	same := func(what string) {
		t.Helper()
		if d := diff(w.rows(t), want); d != "" {
			t.Errorf("%s changed rows:\n%s", what, d)
		}
	}

	if n := w.sendAgain(t); n != 5 {
		t.Fatalf("%d replays sent again", n)
	}
	for name, change := range map[string]func(*pipelines.Live){
		"with what is known": func(*pipelines.Live) {},
		"analysed again":     func(l *pipelines.Live) { l.Reanalyse = true },
		"from the middle":    func(l *pipelines.Live) { l.From = noon.Add(time.Minute).Format(time.RFC3339) },
	} {
		w.run(t, change)
		same("to run " + name)
	}
	kept := w.brokers
	w = newWorld(t) // tables of their own, and the bytes are there from the start
	w.brokers = kept
	w.run(t, func(*pipelines.Live) {})
	same("to run into empty tables")
	if _, letters := w.letters(t); len(deadletter.Filter{}.Of(letters, 0)) != 1 {
		t.Errorf("letters: %+v", letters)
	}
}

// TestAReplayIsFollowedByAnother raises the limit that an image was refused for, in two steps.
func TestAReplayIsFollowedByAnother(t *testing.T) {
	w := newWorld(t)
	w.produce(t, put(t, "large", readFile(t, photos[0]), noon))
	for i, c := range []struct {
		maxPixels int64
		want      string
		waiting   int
	}{
		{10, "[12:00 images=0 rejected=1 events=1]", 1},
		{20, "[12:00 images=0 rejected=1 events=2]", 1},
		{1e9, "[12:00 images=1 rejected=0 events=3]", 0},
	} {
		if i > 0 {
			w.replay(t)
		}
		for range 2 { // the second finds its own rows
			w.run(t, func(l *pipelines.Live) { l.MaxPixels = c.maxPixels })
			if got := fmt.Sprint(w.figures(t)); got != c.want {
				t.Errorf("after %d replays: %s, want %s", i, got, c.want)
			}
		}
		_, letters := w.letters(t)
		if waiting := (deadletter.Filter{}).Of(letters, 0); len(waiting) != c.waiting || len(letters) != 1 {
			t.Errorf("after %d replays: %+v", i, letters)
		}
	}
	if i := w.image(t, "large"); i.State != table.StateAnalysed || !strings.HasPrefix(i.Format, "jp") {
		t.Errorf("%+v", i)
	}
}

// TestARejectionThatIsKnownHasALetterToo finds the row of a job that died before its letter was written.
func TestARejectionThatIsKnownHasALetterToo(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	cut := put(t, "cut", readFile(t, photos[0])[:1000], noon)
	other.dsn = w.dsn
	for _, w := range []*world{w, other} {
		w.produce(t, cut)
		w.run(t, func(*pipelines.Live) {})
		if _, letters := w.letters(t); len(letters) != 1 || letters[0].Code != "truncated" || letters[0].Detail == "" {
			t.Errorf("letters: %+v", letters)
		}
	}
}
