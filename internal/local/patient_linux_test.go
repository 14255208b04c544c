package local_test

import (
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sys/unix"

	"darkroom/internal/blob"
	"darkroom/internal/local"
)

// exhaust connects to an address from a process that then has no file left to accept the connection with, for a while.
func exhaust(t *testing.T, addr string) {
	t.Helper()
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	var held []*os.File
	defer func() {
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
			t.Fatal(err)
		}
		for _, f := range held {
			_ = f.Close()
		}
	}()
	few := was
	few.Cur = 100
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := os.Open(os.DevNull)
		if err != nil {
			break
		}
		held = append(held, f)
	}
	if len(held) == 0 {
		t.Fatal("the limit is too low for this process")
	}
	_ = held[len(held)-1].Close() // for this end of the connection
	held = held[:len(held)-1]
	c, err := net.Dial("tcp", addr)
	time.Sleep(300 * time.Millisecond)
	if err == nil { // a server that gives up resets it at once
		_ = c.Close()
	}
}

func TestKafkaOutlivesAProcessWithoutFiles(t *testing.T) {
	k, err := local.StartKafka(local.KafkaOptions{Dir: t.TempDir(), Topics: map[string]int32{"a": 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	exhaust(t, k.Addr())
	cl, err := kgo.NewClient(kgo.SeedBrokers(k.Addr()), kgo.RecordDeliveryTimeout(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	if err := cl.ProduceSync(t.Context(), &kgo.Record{Topic: "a", Value: []byte("x")}).FirstErr(); err != nil {
		t.Error(err)
	}
}

func TestS3OutlivesAProcessWithoutFiles(t *testing.T) {
	s, err := local.StartS3(t.Context(), local.S3Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	endpoint, err := url.Parse(s.Config("").Endpoint)
	if err != nil {
		t.Fatal(err)
	}
	exhaust(t, endpoint.Host)
	for _, c := range []blob.Config{over(s.Config("numbers")), s.Config("numbers")} {
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			b, err := open(t.Context(), c)
			if err == nil {
				_, err = b.Put(t.Context(), "a", []byte("x"), blob.PutOptions{})
			}
			if err == nil {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal(err)
			}
		}
	}
}
