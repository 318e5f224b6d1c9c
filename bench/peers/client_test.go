package peers

import (
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

const patience = 20 * time.Second // then it is a failure, not a hang

// client is sockmill's session in the client's role, on a plain socket.
type client struct {
	t       *testing.T
	nc      net.Conn
	env     codec.Env
	s       *codec.Session
	in      []byte // read and not decoded
	scratch [64 << 10]byte
	bytes   int // received
}

func dial(t *testing.T, addr string, deflate *codec.Deflate) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return upgrade(t, nc, addr, deflate)
}

// upgrade opens a WebSocket on a connection.
func upgrade(t *testing.T, nc net.Conn, addr string, deflate *codec.Deflate) *client {
	t.Helper()
	return open(t, nc, &codec.Options{Host: addr, Target: "/", Deflate: deflate})
}

// open is upgrade with options of its own.
func open(t *testing.T, nc net.Conn, o *codec.Options) *client {
	t.Helper()
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	o.Role, o.HandshakeBytesMax, o.HeaderFieldsMax, o.MessageBytesMax, o.FragmentsMax = codec.Client, 16<<10, 100, 16<<20, 1<<10
	c := &client{t: t, nc: nc, s: codec.NewSession(o)}
	c.env.Random = rand.Uint64
	c.s.Start(&c.env)
	c.flush()
	if ev := c.event(); ev.Kind != codec.Open {
		t.Fatalf("the handshake ended with %v, %v", ev.Kind, c.env.Closed)
	}
	return c
}

func (c *client) flush() {
	c.t.Helper()
	if _, err := c.nc.Write(c.env.Out); err != nil {
		c.t.Fatal(err)
	}
	c.env.Out = c.env.Out[:0]
}

// event is the next one. The end of the stream is a Close without a reason.
func (c *client) event() codec.Event {
	c.t.Helper()
	for {
		for len(c.in) > 0 {
			ev, n := c.s.Decode(&c.env, c.in)
			c.in = c.in[n:]
			if ev.Kind != codec.NeedMore {
				return ev
			}
		}
		n, err := c.nc.Read(c.scratch[:])
		if n == 0 {
			if ne, ok := err.(net.Error); ok && ne.Timeout() { //nolint:errorlint // from the socket itself
				c.t.Fatal("nothing came")
			}
			c.env.Closed = &codec.CloseError{Code: protocol.CloseAbnormal, Err: io.EOF}
			return codec.Event{Kind: codec.Close}
		}
		c.bytes += n
		c.in = c.scratch[:n]
	}
}

// encode has the next flush send a message.
func (c *client) encode(op protocol.Opcode, payload string) {
	c.t.Helper()
	var err error
	if c.env.Out, err = c.s.Encode(&c.env, c.env.Out, op, []byte(payload), false); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) send(op protocol.Opcode, payload string) {
	c.t.Helper()
	c.encode(op, payload)
	c.flush()
}

// expect receives one message and demands that it is this one.
func (c *client) expect(op protocol.Opcode, payload string) {
	c.t.Helper()
	ev := c.event()
	if ev.Kind != codec.Message || ev.Opcode != op || string(ev.Data) != payload {
		c.t.Fatalf("received %v %v %.60q (%v), want %v %.60q", ev.Kind, ev.Opcode, ev.Data, c.env.Closed, op, payload)
	}
}

// talk is n bytes of something like JSON, different for each i.
func talk(n, i int) string {
	r := rand.New(rand.NewPCG(1, uint64(i)))
	words := strings.Fields(`"user": "text": "room": hello world the quick brown fox over lazy dog and again`)
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		b.WriteByte(' ')
	}
	return b.String()[:n]
}
