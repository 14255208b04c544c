package statsapi_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/twmb/franz-go/pkg/kfake"

	"darkroom/internal/service"
	"darkroom/statsapi"
)

// proxy passes connections on to an address until it is cut.
type proxy struct {
	net.Listener
	to string

	mu    sync.Mutex
	cut   bool
	conns []net.Conn
	hung  chan struct{} // closed by hang, for the connections that there are
}

func newProxy(t *testing.T, to string) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{Listener: l, to: to, hung: make(chan struct{})}
	go p.serve()
	t.Cleanup(func() {
		_ = l.Close()
		p.set(true)
	})
	return p
}

func (p *proxy) serve() {
	for {
		in, err := p.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", p.to)
		if err != nil {
			_ = in.Close()
			continue
		}
		p.mu.Lock()
		if p.conns = append(p.conns, in, out); p.cut {
			_ = in.Close()
			_ = out.Close()
		}
		hung := p.hung
		p.mu.Unlock()
		go pass(out, in, hung)
		go pass(in, out, hung)
	}
}

func pass(to, from net.Conn, hung <-chan struct{}) {
	_, _ = io.Copy(writer{to, hung}, from) // an error is the end, as the end is
	select {
	case <-hung:
	default:
		_ = to.Close()
	}
}

// writer drops what is written once its connection hangs.
type writer struct {
	io.Writer
	hung <-chan struct{}
}

func (w writer) Write(b []byte) (int, error) {
	select {
	case <-w.hung:
		return len(b), nil
	default:
		return w.Writer.Write(b)
	}
}

// hang lets the connections that there are pass on nothing more, not even their end.
func (p *proxy) hang() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.hung)
	p.hung = make(chan struct{})
}

func (p *proxy) set(cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cut = cut; cut {
		for _, c := range p.conns {
			_ = c.Close()
		}
		p.conns = nil
	}
}

// behindProxy starts an instance that reaches PostgreSQL through a proxy, as conn does not, and has consumed three photos.
func behindProxy(t *testing.T) (k *kafka, conn *pgx.Conn, p *proxy, i instance) {
	t.Helper()
	dsn := newDatabase(t)
	k, conn = newKafka(t, 1, allTopics...), connect(t, dsn)
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	p = newProxy(t, u.Host)
	u.Host = p.Addr().String()
	i = newInstance(t, k.config(u.String()))
	i.start(t)
	k.write(t, photos(0, 3)...)
	consumed(t, k, conn)
	return k, conn, p, i
}

func TestPostgresMayGoAwayAndComeBack(t *testing.T) {
	t.Parallel()
	k, conn, p, i := behindProxy(t)
	i.get(t, "/readyz", 200, nil)
	i.get(t, "/v1/stats/summary", 200, nil)

	p.set(true)
	for _, path := range []string{
		"/v1/stats/summary", "/v1/stats/series?metric=images", "/v1/images", "/v1/images/img-00001",
	} {
		i.problem(t, path, 503, "unavailable")
		if w := i.get(t, path, 503, nil); w.Header().Get("Retry-After") == "" {
			t.Errorf("GET %s: no Retry-After", path)
		}
	}
	if w := i.get(t, "/readyz", 503, nil); !strings.Contains(w.Body.String(), `"not_ready":["postgres"]`) {
		t.Errorf("readyz: %s", w.Body)
	}
	k.write(t, photos(3, 6)...)

	p.set(false)
	consumed(t, k, conn)
	i.get(t, "/readyz", 200, nil)
	var s statsapi.Summary
	if i.get(t, "/v1/stats/summary", 200, &s); s.Images != 6 {
		t.Errorf("%d images", s.Images)
	}
}

// A connection whose other end says nothing any more, as behind a router that forgot it, is left for a new one.
func TestAConnectionThatHangsIsLeft(t *testing.T) {
	t.Parallel()
	k, conn, p, i := behindProxy(t)

	p.hang()
	// The server ends its side when nobody confirms its keepalives.
	exec(t, conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
		WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	eventually(t, "it notices", func() bool { return i.metric(t, "darkroom_statsapi_consuming") == 0 })
	k.write(t, photos(3, 6)...)
	consumed(t, k, conn)
}

func TestKafkaMayGoAwayAndComeBack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k, dsn := startKafka(t, 1, allTopics, kfake.NumBrokers(1), kfake.DataDir(dir)), newDatabase(t)
	conn := connect(t, dsn)
	i := newInstance(t, k.config(dsn))
	i.start(t)
	k.write(t, photos(0, 3)...)
	consumed(t, k, conn)

	_, port, err := net.SplitHostPort(k.cluster.ListenAddrs()[0])
	if err != nil {
		t.Fatal(err)
	}
	k.close()
	eventually(t, "it notices", func() bool { return i.metric(t, "darkroom_statsapi_consuming") == 0 })
	i.get(t, "/readyz", 200, nil)
	if s := summary(t, i, ""); s.Images != 3 {
		t.Errorf("%d images while Kafka is away", s.Images)
	}

	number, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	k = startKafka(t, 1, allTopics, kfake.NumBrokers(1), kfake.DataDir(dir), kfake.Ports(number))
	k.write(t, photos(3, 6)...)
	consumed(t, k, conn)
	if s := summary(t, i, ""); s.Images != 6 {
		t.Errorf("%d images", s.Images)
	}
}

func TestAPooledConnectionThatWasCutIsNotNoticed(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1), newDatabase(t)
	conn := connect(t, dsn)
	i := newInstance(t, k.config(dsn))
	for range 3 {
		i.get(t, "/v1/stats/summary", 200, nil)
		exec(t, conn, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
			WHERE datname = current_database() AND pid <> pg_backend_pid()`)
	}
}

func TestAQueryThatTakesTooLongIsEnded(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1), newDatabase(t)
	cfg := k.config(dsn)
	cfg.QueryTimeout = 50 * time.Millisecond
	i := newInstance(t, cfg)
	conn := connect(t, dsn)
	exec(t, conn, "BEGIN; LOCK TABLE darkroom.totals")
	i.problem(t, "/v1/stats/summary", 503, "query-too-slow")
	if w := i.get(t, "/v1/stats/summary", 503, nil); w.Header().Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	exec(t, conn, "ROLLBACK")
	i.get(t, "/v1/stats/summary", 200, nil)
}

func TestErrorsThatPassAreToldFromThoseThatStay(t *testing.T) {
	t.Parallel()
	for err, want := range map[error]bool{
		&pgconn.PgError{Code: "57P03"}:   true, // it starts up
		&pgconn.PgError{Code: "53300"}:   true, // too many connections
		&pgconn.PgError{Code: "58030"}:   true, // the disk
		&pgconn.PgError{Code: "08006"}:   true,
		&pgconn.PgError{Code: "40P01"}:   true,
		&pgconn.PgError{Code: "25006"}:   true,
		&pgconn.PgError{Code: "42P01"}:   false, // no such table
		&pgconn.PgError{Code: "22021"}:   false,
		pgx.ScanArgError{ColumnIndex: 1}: false,
		io.ErrUnexpectedEOF:              true,
		context.DeadlineExceeded:         true,
	} {
		if got := statsapi.IsAway(fmt.Errorf("query: %w", err)); got != want {
			t.Errorf("%v: %v", err, got)
		}
	}
}

// A client that has sent its request and closes that half of the connection is no longer heard; what it reads is no
// answer rather than an empty one.
func TestAClientThatGoesGetsNoEmptyAnswer(t *testing.T) {
	t.Parallel()
	k, dsn := newKafka(t, 1), newDatabase(t)
	i := newInstance(t, k.config(dsn))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Serve(ctx, l, i.Handler()) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	exec(t, connect(t, dsn), "BEGIN; LOCK TABLE darkroom.totals") // the query waits until the client has gone
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if _, err := io.WriteString(conn, "GET /v1/stats/summary HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	if answer, err := io.ReadAll(conn); err != nil || len(answer) > 0 {
		t.Errorf("%q, %v", answer, err)
	}
}
