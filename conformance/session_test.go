package conformance

import (
	"net"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// session is an echo server on codec.Session: the least that an engine does.
type session struct {
	nc  net.Conn
	s   *codec.Session
	env codec.Env
}

var sessionOptions = &codec.Options{
	Role:              codec.Server,
	HandshakeBytesMax: headMax,
	HeaderFieldsMax:   fieldsMax,
	MessageBytesMax:   messageMax,
	FragmentsMax:      fragmentsMax,
	Deflate: &codec.Deflate{
		Level: 1, ServerTakeover: true, ClientTakeover: true,
		ServerMaxWindowBits: 15, ClientMaxWindowBits: 15, HistoryBits: 15,
	},
}

func serveSession(nc net.Conn) {
	c := &session{nc: nc, s: codec.NewSession(sessionOptions)}
	defer c.s.Release(&c.env)
	c.s.Start(&c.env)
	for buf := make([]byte, 64<<10); ; {
		n, err := nc.Read(buf)
		if err != nil {
			return
		}
		over := c.decode(buf[:n])
		if _, err := nc.Write(c.env.Out); err != nil {
			return
		}
		c.env.Out = c.env.Out[:0]
		if over {
			break
		}
	}
	_ = nc.(interface{ CloseWrite() error }).CloseWrite()
	_ = nc.SetReadDeadline(time.Now().Add(lingerMax))
	for buf := make([]byte, 64<<10); ; {
		if _, err := nc.Read(buf); err != nil {
			return
		}
	}
}

// decode takes what was read, and reports whether the connection is over.
func (c *session) decode(in []byte) (over bool) {
	for {
		ev, n := c.s.Decode(&c.env, in)
		in = in[n:]
		switch ev.Kind {
		case codec.NeedMore:
			return false
		case codec.Request:
			r := &c.env.Request
			if r.Fields.Count("Origin") > 0 && !protocol.SameOrigin(r.Fields.Get("Origin"), r.Host) {
				c.s.Refuse(&c.env, &codec.HandshakeError{Status: 403, Reason: "a foreign origin"})
				return true
			}
			if err := c.s.Accept(&c.env, codec.Accept{}); err != nil {
				return true
			}
		case codec.HTTP:
			c.s.Refuse(&c.env, &codec.HandshakeError{Status: 426, Reason: "no page here"})
			return true
		case codec.Message:
			out, err := c.s.Encode(&c.env, c.env.Out, ev.Opcode, ev.Data, false)
			if err != nil {
				return true
			}
			c.env.Out = out
		case codec.Close:
			return true
		}
	}
}

// TestSession is the suite against the session of this repository.
func TestSession(t *testing.T) {
	t.Parallel()
	passed := 0
	for _, r := range runAll(t, Target{Addr: listen(t, loopback(t), serveSession)}, "") {
		if r.Verdict == Passed {
			passed++
		}
	}
	if passed < 800 {
		t.Errorf("%d cases passed: most have to apply", passed)
	}
}
