// Package polling measures what sockmill is for: a chat whose readers poll by ajax
// each second, poll and are made to wait, or have a WebSocket. Bytes are those that
// TCP carries, both ways, with the handshake; delays are from the moment a
// message is said to the moment that a reader has it.
package polling

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/sockmill/sockmill/bench/internal/report"
	"github.com/sockmill/sockmill/engine"
)

// Options of a run.
type Options struct {
	Readers  int           // of each kind
	Duration time.Duration // of the talk
	Pause    time.Duration // between messages, on average
}

// The ways.
const (
	Ajax      = "ajax polling each second"
	Long      = "long polling"
	WebSocket = "WebSocket"
)

// waitMax is how long a long poll is kept waiting.
const waitMax = 25 * time.Second

// message is what is said.
type message struct {
	N    int    `json:"n"`
	From string `json:"from"`
	Text string `json:"text"`
	Said int64  `json:"said"` // since the room was opened
}

// room is the server's side.
type room struct {
	e      *engine.Engine
	opened time.Time

	mu    sync.Mutex
	all   []message
	newer chan struct{} // closed at the next message
}

func (r *room) now() int64 { return int64(time.Since(r.opened)) }

func (r *room) say(text string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := message{N: len(r.all) + 1, From: "u7", Text: text, Said: r.now()}
	r.all = append(r.all, m)
	close(r.newer)
	r.newer = make(chan struct{})
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return r.e.Broadcast(engine.Message{Type: engine.Text, Data: b})
}

// after is what was said after message n.
func (r *room) after(n int) ([]message, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.all[min(max(0, n), len(r.all)):], r.newer
}

func (r *room) serveHTTP(w http.ResponseWriter, q *http.Request) {
	n, err := strconv.Atoi(q.URL.Query().Get("after"))
	if err != nil {
		http.Error(w, "after must be a number", http.StatusBadRequest)
		return
	}
	news, newer := r.after(n)
	if len(news) == 0 && q.URL.Path == "/wait" {
		timeout := time.NewTimer(waitMax)
		defer timeout.Stop()
		select {
		case <-newer:
			news, _ = r.after(n)
		case <-timeout.C:
		case <-q.Context().Done():
		}
	}
	if news == nil {
		news = []message{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(news) // fails if the reader has gone
}

// way is what the readers of one kind have in common.
type way struct {
	name      string
	bytes     atomic.Int64
	requests  atomic.Int64
	delivered atomic.Int64

	mu    sync.Mutex
	delay *hdrhistogram.Histogram
}

func (w *way) got(r *room, m message) error {
	w.delivered.Add(1)
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.delay.RecordValue(max(0, r.now()-m.Said))
}

// reader is one client, and what it has seen.
type reader struct {
	way  *way
	room *room
	addr string
	last int
}

// take accepts messages that follow the last one: each once, in order.
func (d *reader) take(news ...message) error {
	for _, m := range news {
		if m.N != d.last+1 {
			return fmt.Errorf("%s: message %d after %d", d.way.name, m.N, d.last)
		}
		d.last = m.N
		if err := d.way.got(d.room, m); err != nil {
			return err
		}
	}
	return nil
}

// Run has one talk that all readers follow, and reports each way.
func Run(ctx context.Context, o Options) ([]report.Polling, error) {
	r := &room{opened: time.Now(), newer: make(chan struct{})}
	var err error
	r.e, err = engine.New(engine.Config{Addr: "ws://127.0.0.1:0", HTTP: http.HandlerFunc(r.serveHTTP)}, engine.Handler{})
	if err != nil {
		return nil, err
	}
	serve, stop := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.e.Run(serve) }()

	ways := []*way{{name: Ajax}, {name: Long}, {name: WebSocket}}
	failed := make(chan error, 3*o.Readers)
	read, hangUp := context.WithCancel(ctx)
	var readers, ready sync.WaitGroup
	for _, w := range ways {
		w.delay = hdrhistogram.New(1, 60e9, 3)
		for i := range o.Readers {
			d := &reader{way: w, room: r, addr: r.e.Addr().String()}
			ready.Add(1)
			readers.Go(func() {
				if err := d.follow(read, float64(i)/float64(o.Readers), sync.OnceFunc(ready.Done)); err != nil && read.Err() == nil {
					failed <- err
					hangUp()
				}
			})
		}
	}
	err = r.talk(read, o, &ready)
	hangUp()
	readers.Wait()
	stop()
	err = errors.Join(err, <-served)
	select {
	case e := <-failed:
		err = errors.Join(e, err)
	default:
	}
	if err != nil {
		return nil, err
	}
	return r.report(ways, o)
}

// talk says something now and then, and gives the slowest readers time to hear it.
func (r *room) talk(ctx context.Context, o Options, ready *sync.WaitGroup) error {
	all := make(chan struct{})
	go func() {
		ready.Wait()
		close(all)
	}()
	select {
	case <-all:
	case <-ctx.Done():
		return ctx.Err()
	}
	random := rand.New(rand.NewPCG(1, 2))
	end := time.Now().Add(o.Duration)
	for time.Now().Before(end) {
		if !wait(ctx, time.Duration(min(random.ExpFloat64(), 4)*float64(o.Pause))) {
			return ctx.Err()
		}
		if err := r.say("tonight at nine by the harbour, bring the map of the towers"); err != nil {
			return err
		}
	}
	wait(ctx, 3*time.Second)
	return nil
}

// wait reports whether d passed before the context ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (r *room) report(ways []*way, o Options) (rows []report.Polling, err error) {
	for _, w := range ways {
		n := int(w.delivered.Load())
		if want := o.Readers * len(r.all); n != want {
			return nil, fmt.Errorf("%s: %d messages reached their readers, want %d", w.name, n, want)
		}
		rows = append(rows, report.Polling{
			Way: w.name, Readers: o.Readers, Delivered: n, Requests: int(w.requests.Load()),
			BytesMessage: float64(w.bytes.Load()) / float64(n),
			P50:          w.delay.ValueAtQuantile(50), P99: w.delay.ValueAtQuantile(99), Max: w.delay.Max(),
		})
	}
	return rows, nil
}

// counted is a connection that counts its bytes.
type counted struct {
	net.Conn
	bytes *atomic.Int64
}

func (c counted) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.bytes.Add(int64(n))
	return n, err
}

func (c counted) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.bytes.Add(int64(n))
	return n, err
}
