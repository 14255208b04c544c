package pool_test

import (
	"bytes"
	"image"
	"image/jpeg"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/image/draw"
	"golang.org/x/sys/unix"

	"darkroom/internal/pixels"
	"darkroom/internal/pixels/goengine"
	"darkroom/internal/pixels/pool"
)

// cpuOf is the CPU time that a process has taken so far, to the nanosecond.
func cpuOf(b *testing.B, pid int) time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|2), &t); err != nil { // as clock_getcpuclockid makes it
		b.Fatal(err)
	}
	return time.Duration(t.Nano())
}

// BenchmarkOverhead derives five JPEGs of a photograph of 12 megapixels in this process and in the pool, by turns, and
// compares the CPU time of all processes: medians, in milliseconds.
func BenchmarkOverhead(b *testing.B) {
	f, err := os.Open("../../../testdata/photos/picosdeeuropa.jpg")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	m, _, err := image.Decode(f)
	if err != nil {
		b.Fatal(err)
	}
	large := image.NewRGBA(image.Rect(0, 0, 4000, 3000))
	draw.CatmullRom.Scale(large, large.Rect, m, m.Bounds(), draw.Src, nil)
	var data bytes.Buffer
	if err := jpeg.Encode(&data, large, &jpeg.Options{Quality: 92}); err != nil {
		b.Fatal(err)
	}
	var outputs []pixels.Output
	for _, w := range []int{1600, 800, 400, 200, 100} {
		outputs = append(outputs, pixels.Output{Width: w, Format: pixels.JPEG})
	}
	p := open(b, pool.Config{Command: child(b, "go-child"), Size: 1, Memory: 1 << 30})
	all := []int{os.Getpid()}
	cpu := func() (sum time.Duration) {
		for _, pid := range all {
			sum += cpuOf(b, pid)
		}
		return sum
	}
	direct := func() error {
		_, err := pixels.Derive(goengine.New(), data.Bytes(), pixels.Limits{}, outputs)
		return err
	}
	pooled := func() error {
		_, err := p.Derive(b.Context(), pool.Source{Data: data.Bytes()}, pixels.Limits{}, outputs)
		return err
	}
	timed := func(f func() error) float64 {
		before := cpu()
		if err := f(); err != nil {
			b.Fatal(err)
		}
		return float64((cpu() - before).Microseconds()) / 1000
	}
	_, _ = timed(direct), timed(pooled) // what is done once
	for _, s := range running(b) {
		pid, err := strconv.Atoi(s)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, pid)
	}
	var here, there []float64
	for b.Loop() {
		here, there = append(here, timed(direct)), append(there, timed(pooled))
	}
	slices.Sort(here)
	slices.Sort(there)
	h, t := here[len(here)/2], there[len(there)/2]
	b.ReportMetric(h, "direct-ms")
	b.ReportMetric(t, "pooled-ms")
	b.ReportMetric(100*(t/h-1), "overhead-%")
	b.ReportMetric(0, "ns/op")
}
