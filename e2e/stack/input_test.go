package stack_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"image"
	"image/color"
	"image/jpeg"
	"image/png"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"darkroom/internal/blob"
	"darkroom/internal/event"
	"darkroom/internal/table"
)

// input is what one test feeds to the pipeline, and the oracle of what must come out.
type input struct {
	records []*kgo.Record
	states  map[string]string         // of each image
	minutes map[string]map[int64]sums // by tenant and minute
	last    time.Time                 // the newest event
	late    int                       // events that come up to an hour after newer ones
	repeats int                       // events that come twice
}

// photograph is bytes that ingest would take, and what they are.
type photograph struct {
	data                 []byte
	sha256, format, code string
	pixels               int64
}

// photographs makes small images of all kinds that the oracle knows: whole ones, a cut one and one too large.
func photographs(r *rand.Rand, n int) []photograph {
	all := make([]photograph, n)
	for i := range all {
		w, h := 8+r.IntN(40), 8+r.IntN(40)
		img := image.NewRGBA(image.Rect(0, 0, w, h))
		img.Set(0, 0, color.RGBA{uint8(i), uint8(i >> 8), 7, 255})
		var b bytes.Buffer
		p := photograph{format: "jpeg", pixels: int64(w * h)}
		if i%3 == 0 {
			p.format = "png"
			_ = png.Encode(&b, img) // a buffer takes everything
		} else {
			_ = jpeg.Encode(&b, img, nil)
			b.Write(binary.BigEndian.AppendUint64(nil, uint64(i))) // JPEG has lost the pixel
		}
		p.data = b.Bytes()
		if i%17 == 0 {
			p.data, p.code, p.pixels = p.data[:len(p.data)/2], "truncated", 0
		}
		sum := sha256.Sum256(p.data)
		p.sha256 = hex.EncodeToString(sum[:])
		all[i] = p
	}
	return all
}

// makeInput makes uploads of two tenants over two hours, in their order but for some that come late, with repeats,
// deletions, blobs that are missing and records that are none of ours.
func makeInput(t *testing.T, blobs *blob.Store, seed uint64, n int) *input {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	photos := photographs(r, min(n, 60))
	for _, tenant := range tenants {
		for _, p := range photos {
			key := event.Image{Tenant: tenant, SHA256: p.sha256}.BlobKey()
			if _, err := blobs.Put(t.Context(), key, p.data, blob.PutOptions{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	in := &input{states: map[string]string{}, minutes: map[string]map[int64]sums{}}
	const span = 2 * time.Hour
	begin := time.Now().Add(-span).Truncate(time.Microsecond)
	for i := range n {
		at := begin.Add(time.Duration(i) * span / time.Duration(n))
		if r.IntN(20) == 0 {
			at = at.Add(-time.Duration(r.Int64N(int64(time.Hour))))
			in.late++
		}
		in.upload(r, photos[r.IntN(len(photos))], fmt.Sprintf("%d-%06d", seed, i), at)
		if r.IntN(50) == 0 {
			in.records = append(in.records, &kgo.Record{Key: []byte("x"), Value: fmt.Appendf(nil, "no event %d", i), Timestamp: at})
		}
	}
	return in
}

var tenants = []string{"one", "two"}

func (in *input) upload(r *rand.Rand, p photograph, id string, at time.Time) {
	tenant := tenants[r.IntN(len(tenants))]
	counts := sums{Images: 1, Bytes: int64(len(p.data)), Pixels: p.pixels}
	state := table.StateAnalysed
	if r.IntN(100) == 0 {
		p.sha256, p.code = hex.EncodeToString(make([]byte, sha256.Size)), "blob-missing"
	}
	if p.code != "" {
		counts, state = sums{Rejected: 1}, table.StateRejected
	}
	i := event.Image{
		ImageID: id, Tenant: tenant, SHA256: p.sha256, Bytes: int64(len(p.data)), MediaType: "image/" + p.format, UploadedAt: at,
	}
	in.add(event.NewUploaded(i))
	if in.minutes[tenant] == nil {
		in.minutes[tenant] = map[int64]sums{}
	}
	minute := at.Truncate(time.Minute).UnixMicro()
	in.minutes[tenant][minute] = in.minutes[tenant][minute].plus(counts)
	if r.IntN(10) == 0 {
		in.add(event.NewUploaded(i)) // it counts once
		in.repeats++
	}
	if r.IntN(15) == 0 {
		in.add(event.NewDeleted(i, at.Add(time.Second)))
		state = table.StateDeleted
	}
	in.states[id] = state
}

func (in *input) add(e event.Event) {
	key, value, err := e.Encode()
	if err != nil {
		panic(err) // made here, of valid parts
	}
	in.records = append(in.records, &kgo.Record{Key: key, Value: value, Timestamp: e.Time})
	if e.Time.After(in.last) {
		in.last = e.Time
	}
}

// produce sends a part of the records.
func (in *input) produce(t *testing.T, cl *kgo.Client, topic string, from, to int) {
	t.Helper()
	if err := in.send(t.Context(), cl, topic, from, to); err != nil {
		t.Fatal(err)
	}
}

func (in *input) send(ctx context.Context, cl *kgo.Client, topic string, from, to int) error {
	for _, r := range in.records[from:to] {
		r.Topic = topic
	}
	return cl.ProduceSync(ctx, in.records[from:to]...).FirstErr()
}

// sample are some of the images that a part of the records tells of.
func (in *input) sample(from, to int) []string {
	const size = 40
	var ids []string
	for i := from; i < to; i += max(1, (to-from)/size) {
		if id := string(in.records[i].Key); in.states[id] != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// sums are what the oracle counts in one minute.
type sums struct{ Images, Bytes, Pixels, Rejected int64 }

func (s sums) plus(o sums) sums {
	return sums{s.Images + o.Images, s.Bytes + o.Bytes, s.Pixels + o.Pixels, s.Rejected + o.Rejected}
}
