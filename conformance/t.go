package conformance

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// T is what a case plays with: connections to the server, and a way out.
// It belongs to the goroutine of the case.
type T struct {
	target   *Target
	deadline time.Time
	quietMax time.Duration // for each answer, and for the first echo of a fresh client
	endMax   time.Duration // for the end of TCP after the closing handshake or a refusal
	random   *rand.Rand    // seeded by the case, so that each run sends the same
	conns    []*conn
	streams  sync.WaitGroup
}

func newT(target *Target, id string, timeout time.Duration) *T {
	h := fnv.New64a()
	_, _ = h.Write([]byte(id))
	return &T{
		target:   target,
		deadline: time.Now().Add(timeout),
		quietMax: timeout / 10,
		endMax:   timeout / 20,
		random:   rand.New(rand.NewPCG(h.Sum64(), 0)),
	}
}

// ending is how Failf and Skipf leave a case.
type ending struct {
	verdict Verdict
	detail  string
}

// play runs the case and returns how it left, nil if it returned.
func (t *T) play(run func(*T)) (left *ending) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case *ending:
			left = v
		default:
			panic(v)
		}
	}()
	run(t)
	return nil
}

// Failf ends the case: the server failed, and this was seen.
func (t *T) Failf(format string, args ...any) {
	panic(&ending{Failed, fmt.Sprintf(format, args...)})
}

// Skipf ends the case: it does not apply to this server, for this reason.
func (t *T) Skipf(format string, args ...any) {
	panic(&ending{Skipped, fmt.Sprintf(format, args...)})
}

// dial connects, through TLS if the target speaks it.
func (t *T) dial() *conn {
	c := t.dialTCP()
	if t.target.TLS != nil {
		secure := tls.Client(c.tcp, t.tlsConfig())
		if err := secure.SetDeadline(t.deadline); err != nil {
			t.Failf("%v", err)
		}
		if err := secure.Handshake(); err != nil {
			t.Failf("the TLS handshake failed: %v", err)
		}
		c.Conn = secure
	}
	return c
}

func (t *T) dialTCP() *conn {
	nc, err := (&net.Dialer{Deadline: t.deadline}).Dial("tcp", t.target.Addr)
	if err != nil {
		t.Failf("cannot connect: %v", err)
	}
	c := newConn(t, nc.(*net.TCPConn))
	t.conns = append(t.conns, c)
	return c
}

func (t *T) tlsConfig() *tls.Config {
	config := t.target.TLS.Clone()
	if host, _, err := net.SplitHostPort(t.target.Addr); err == nil && config.ServerName == "" {
		config.ServerName = host
	}
	return config
}

// open returns a connection after a successful opening handshake. Only the
// status is judged here: there are cases for the rest. fields are further lines
// of the request.
func (t *T) open(fields ...string) *conn {
	r := t.request()
	r.fields = append(r.fields, fields...)
	c := t.dial()
	c.write(r.bytes())
	c.reply = c.response()
	if c.reply.status != 101 {
		t.Failf("a proper opening handshake is answered with %s, expected 101", c.reply.line)
	}
	return c
}

// fresh fails the case if a new client is not served properly.
func (t *T) fresh() {
	begun := time.Now()
	c := t.open()
	c.echo(opText, []byte("a fresh client"))
	if d := time.Since(begun); d > t.quietMax {
		t.Failf("a fresh client waited %v for its echo", d.Round(time.Millisecond))
	}
	c.drop()
}

// newKey returns a value for Sec-WebSocket-Key.
func (t *T) newKey() string { return base64.StdEncoding.EncodeToString(t.noise(16)) }

// noise returns n random bytes, the same in every run of the case.
func (t *T) noise(n int) []byte {
	b := make([]byte, n+8)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(b[i:], t.random.Uint64())
	}
	return b[:n]
}

// letters returns n bytes of random ASCII text.
func (t *T) letters(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 'a' + byte(t.random.IntN(26))
	}
	return b
}

// pause lets the bytes written before reach the server as a segment of their own.
func (t *T) pause(d time.Duration) { <-time.After(d) }

// close ends what the case left open.
func (t *T) close() {
	for _, c := range t.conns {
		c.drop()
	}
	t.streams.Wait()
}
