//go:build linux

package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/bench/internal/cpu"
	"github.com/sockmill/sockmill/bench/internal/report"
)

// load is the generator: one thread, one epoll instance, all connections.
type load struct {
	o        options
	to       []*syscall.SockaddrInet4 // the nodes of the server
	p        *poller
	conns    []conn
	in       []byte // what was just read
	unsealed []byte // its plaintext
	sealing  []byte // what is about to be written, as ciphertext
	requests []request
	began    time.Time

	protocols []string // subprotocols that are offered
	r         report.Load
	latency   *hdrhistogram.Histogram

	// What replies have to be.
	payloads [][]byte
	before   [][]byte // takeover: what the window holds of the messages before each
	replies  [][]byte // whole frames
	header   int      // bytes of a reply's header
	inflate  bool     // replies are compressed: replies and header have no meaning
	always   bool     // compare each byte; otherwise a sample

	flate       flate.Resetter
	flateReader io.Reader
	tail, plain bytes.Buffer

	// Counted from the start.
	bytesOut, bytesIn               uint64
	counted, compared, fed, answers uint64

	opened, begun, retries int
	patience               int   // milliseconds that a turn waits at most
	retry                  bool  // what is refused begins again
	again                  []int // refused

	// What a mode does.
	connect func() error // opens all connections, until they can take part
	once    func() error // sends one message to or from each, and receives all
	onOpen  func(i int) error
	onEnd   func(i, messages int) error // of replies
	onTurn  func() error                // after each batch of events
	onRead  func(i int, b []byte) error // in place of all verification, if set
}

const readBytes = 256 << 10 // at once

func newLoad(o options) (*load, error) {
	var to []*syscall.SockaddrInet4
	for a := range strings.SplitSeq(o.addr, ",") {
		addr, err := net.ResolveTCPAddr("tcp4", a)
		if err != nil {
			return nil, err
		}
		to = append(to, &syscall.SockaddrInet4{Port: addr.Port, Addr: [4]byte(addr.IP.To4())})
	}
	p, err := newPoller()
	if err != nil {
		return nil, err
	}
	l := &load{
		o: o, p: p, to: to, patience: 100,
		conns:   make([]conn, o.conns),
		in:      make([]byte, readBytes),
		began:   time.Now(),
		latency: newLatency(),
		inflate: o.mode == "deflate" || o.mode == "takeover",
		always:  true,
		onOpen:  func(int) error { return nil },
		onEnd:   func(int, int) error { return nil },
		onTurn:  func() error { return nil },
		r:       report.Load{Mode: o.mode, Connections: o.conns, InFlight: o.inFlight, Size: o.size},
	}
	l.connect = func() error { return l.openAll(128) }
	l.once = l.oneEach
	if o.tls {
		l.unsealed = make([]byte, readBytes+recordBytes)
	}
	l.flateReader = flate.NewReader(&l.tail)
	l.flate = l.flateReader.(flate.Resetter)
	extensions := "permessage-deflate; client_max_window_bits" // as browsers do
	switch o.mode {
	case "deflate":
		extensions = aloneOffer
	case "takeover":
		extensions = takeoverOffer
	}
	target := "/"
	host, _, _ := strings.Cut(o.addr, ",") // one name for all nodes
	if strings.HasPrefix(o.mode, "hub") {
		target = "/connection/websocket"
		if o.protobuf {
			l.protocols = []string{"centrifuge-protobuf"}
		}
	}
	l.requests = newRequests(host, target, l.protocols, extensions)
	l.payloads = corpus(o.size)
	for i, payload := range l.payloads {
		if o.mode == "raw" {
			l.replies = append(l.replies, masked(payload, 0, i))
		} else {
			l.replies = append(l.replies, plain(payload))
		}
		var before []byte
		for n := range variants {
			before = append(before, l.payloads[(i+n)%variants]...)
		}
		l.before = append(l.before, before[max(0, len(before)-1<<windowBits):])
	}
	l.header = len(l.replies[0]) - o.size
	return l, nil
}

// newLatency counts nanoseconds up to five minutes.
func newLatency() *hdrhistogram.Histogram { return hdrhistogram.New(1, 300e9, 3) }

func (l *load) close() {
	l.resetAll()
	_ = syscall.Close(l.p.fd)
}

// now is the time since the start, in nanoseconds.
func (l *load) now() int64 { return int64(time.Since(l.began)) }

// turn waits for events and handles them.
func (l *load) turn() error {
	events, err := l.p.wait(l.patience)
	if err != nil {
		return err
	}
	for n := range events {
		if err := l.event(int(events[n].Fd), events[n].Events); err != nil {
			return err
		}
	}
	return l.onTurn()
}

func (l *load) event(i int, events uint32) error {
	c := &l.conns[i]
	switch c.state {
	case closed: // earlier in this batch
		return nil
	case connecting:
		if no, _ := syscall.GetsockoptInt(int(c.fd), syscall.SOL_SOCKET, syscall.SO_ERROR); no != 0 {
			return l.refused(i, fmt.Errorf("connect: %w", syscall.Errno(no)))
		}
		return l.ask(i, opMod)
	case open:
		if events&syscall.EPOLLOUT != 0 {
			if err := l.flush(i); err != nil {
				return err
			}
		}
	}
	if events&^uint32(syscall.EPOLLOUT) == 0 {
		return nil
	}
	n, errno := read(c.fd, l.in)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return nil
	case errno != 0 && c.state != open:
		return l.refused(i, fmt.Errorf("read: %w", errno))
	case n == 0 && c.state != open:
		return l.refused(i, fmt.Errorf("the server closed: %.200q", c.acc))
	case errno != 0:
		return fmt.Errorf("connection %d, after %d of %d replies: read: %w", i, c.got, c.sent, errno)
	case n == 0:
		return fmt.Errorf("connection %d, after %d of %d replies: the server closed", i, c.got, c.sent)
	}
	l.bytesIn += uint64(n)
	if c.tls != nil {
		return l.unseal(i, l.in[:n])
	}
	return l.received(i, l.in[:n])
}

// received takes what was read from connection i.
func (l *load) received(i int, b []byte) error {
	c := &l.conns[i]
	if c.state == asking {
		rest, done, err := l.answer(i, b)
		if err != nil {
			return l.refused(i, err)
		}
		if !done {
			return nil
		}
		c.state = open
		l.opened++
		if err := l.onOpen(i); err != nil {
			return err
		}
		if b = rest; len(b) == 0 {
			return nil
		}
	}
	if l.onRead != nil {
		return l.onRead(i, b)
	}
	n, err := l.feed(i, b)
	if err != nil || n == 0 {
		return err
	}
	return l.onEnd(i, n)
}

// reading is what the counters say at one moment.
type reading struct {
	at                  int64
	load, server, sched int64
	messages            uint64
	bytesIn, bytesOut   uint64
}

func (l *load) read(messages uint64) (r reading, err error) {
	if l.o.pid != 0 {
		if r.server, err = cpu.Of(l.o.pid); err != nil {
			return r, err
		}
		if r.sched, err = cpu.Schedstat(l.o.pid); err != nil {
			return r, err
		}
	}
	r.load, err = cpu.Clock(syscall.Getpid())
	r.messages, r.bytesIn, r.bytesOut, r.at = messages, l.bytesIn, l.bytesOut, l.now()
	return r, err
}

// window reports what lies between two readings.
func (l *load) window(from, to reading) {
	r := &l.r
	r.WindowNs = to.at - from.at
	r.Messages = to.messages - from.messages
	r.BytesIn, r.BytesOut = to.bytesIn-from.bytesIn, to.bytesOut-from.bytesOut
	r.LoadCPUNs = to.load - from.load
	r.ServerCPUNs = to.server - from.server
	r.ServerSchedstatNs = to.sched - from.sched
}

// rss is the server's resident memory, 0 if its process is not known.
func (l *load) rss() (int64, error) {
	if l.o.pid == 0 {
		return 0, nil
	}
	return cpu.RSS(l.o.pid)
}

// finish completes the report.
func (l *load) finish() *report.Load {
	h := l.latency
	l.r.Counted, l.r.Compared, l.r.Retries = l.counted, l.compared, l.retries
	l.r.Latency = report.Latency{
		Samples: h.TotalCount(), P50: h.ValueAtQuantile(50), P99: h.ValueAtQuantile(99),
		P999: h.ValueAtQuantile(99.9), Max: h.Max(),
	}
	return &l.r
}
