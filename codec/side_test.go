package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// side is one end of a connection: a session, the loop it lives on, and a log
// of everything that it showed. Whatever a test does with it, the contracts of
// Codec are checked on the way.
type side struct {
	tb   testing.TB
	opts *codec.Options
	env  *codec.Env
	s    *codec.Session
	gone bool // the connection left for an HTTP server

	onRequest func()            // answers a handshake; accepts if nil
	onEvent   func(codec.Event) // a callback of the program, if not nil

	log   []string // events, and replies after "> "
	close *codec.CloseError
	read  int // of env.Out: what the log has
}

func limits() codec.Options {
	return codec.Options{
		HandshakeBytesMax: 4096, HeaderFieldsMax: 20, MessageBytesMax: 1 << 20, FragmentsMax: 8,
		Host: "127.0.0.1:8090", Target: "/chat",
	}
}

// newEnv is a loop of its own, with the same random numbers every time.
func newEnv() *codec.Env { return &codec.Env{Random: rand.New(rand.NewPCG(6455, 2011)).Uint64} }

func newSide(tb testing.TB, o codec.Options) *side {
	x := &side{tb: tb, opts: &o, env: newEnv(), s: codec.NewSession(&o)}
	x.s.Start(x.env)
	x.replies()
	return x
}

// openServer returns a server whose handshake is over, with an empty log.
func openServer(tb testing.TB, o codec.Options) *side {
	x := newSide(tb, o)
	x.feed(handshake)
	if x.s.State() != codec.StateOpen || !x.s.Idle() {
		tb.Fatalf("the handshake ended in state %d: %q", x.s.State(), x.log)
	}
	x.log = nil
	return x
}

// feed does what the engine does with a piece of input.
func (x *side) feed(piece string) {
	x.tb.Helper()
	in := []byte(piece)
	for rest := in; !x.gone; {
		over := x.s.State() == codec.StateClosed
		ev, n := x.s.Decode(x.env, rest)
		switch {
		case n < 0 || n > len(rest):
			x.tb.Fatalf("took %d of %d bytes", n, len(rest))
		case over && (ev.Kind != codec.NeedMore || len(x.env.Out) > x.read):
			x.tb.Fatalf("a closed session goes on: %+v, %q", ev, x.env.Out[x.read:])
		case ev.Kind == codec.NeedMore && n < len(rest):
			x.tb.Fatalf("needs more but left %d bytes", len(rest)-n)
		case ev.Kind == codec.NeedMore:
			x.replies()
			// What the session needs of it is copied by now.
			for i := range in {
				in[i] = 0xee
			}
			return
		case n == 0:
			x.tb.Fatalf("an event out of no bytes: %+v", ev)
		}
		rest = rest[n:]
		x.event(ev)
	}
}

// event logs ev, then the replies to it, and calls back.
func (x *side) event(ev codec.Event) {
	x.tb.Helper()
	x.log = append(x.log, x.show(ev))
	said := x.replies()
	data := bytes.Clone(ev.Data)
	switch ev.Kind {
	case codec.Request:
		if x.onRequest == nil {
			x.accept()
		} else {
			x.onRequest()
		}
	case codec.HTTP:
		x.gone = true
		x.s.Release(x.env)
	case codec.Message:
		if int64(len(data)) > x.opts.MessageBytesMax || ev.Opcode == protocol.OpText && !utf8.Valid(data) {
			x.tb.Fatalf("a message that should have been refused: %s", x.log[len(x.log)-1])
		}
	case codec.Ping:
		if !slices.Equal(said, []string{"> " + show("pong", data)}) {
			x.tb.Fatalf("a ping %q, answered by %q", data, said)
		}
	case codec.Close:
		x.checkClose(x.env.Closed)
	}
	if x.onEvent != nil {
		x.onEvent(ev)
	}
	x.replies()

	// Data is still the caller's: nobody else gets its memory.
	other := x.env.Buffers.Get(len(data))
	for i := range other[:cap(other)] {
		other[:cap(other)][i] = 0xdd
	}
	if !bytes.Equal(ev.Data, data) {
		x.tb.Fatalf("the data of an event changed while it was valid")
	}
	x.env.Buffers.Put(other)
}

// accept takes the first subprotocol offered.
func (x *side) accept() {
	x.tb.Helper()
	var a codec.Accept
	for token := range x.env.Request.Fields.Tokens("Sec-WebSocket-Protocol") {
		a.Subprotocol = token
		break
	}
	if err := x.s.Accept(x.env, a); err != nil {
		x.tb.Fatal(err)
	}
	x.replies()
}

// shut closes from this side.
func (x *side) shut(code protocol.CloseCode, reason string) (await bool) {
	x.tb.Helper()
	await = x.s.Close(x.env, code, reason)
	x.replies()
	return await
}

// checkClose checks the last event of a session.
func (x *side) checkClose(e *codec.CloseError) {
	x.tb.Helper()
	x.close = e
	var broken *protocol.Error
	var refused *codec.HandshakeError
	switch {
	case x.s.State() != codec.StateClosed:
		x.tb.Fatalf("state %d after %v", x.s.State(), e)
	case e.Remote && e.Err == nil:
	case !e.Remote && errors.As(e, &broken) && e.Code == broken.Code && e.Reason == broken.Reason && e.Code.Valid():
	case !e.Remote && errors.As(e, &refused) && e.Code == protocol.CloseAbnormal && e.Reason == "":
	default:
		x.tb.Fatalf("%+v says neither who closed nor why", e)
	}
}

// replies logs what was appended to the output since the last time.
func (x *side) replies() (said []string) {
	x.tb.Helper()
	for out := x.env.Out[x.read:]; len(out) > 0; {
		if bytes.HasPrefix(out, []byte("HTTP/1.1 ")) || bytes.HasPrefix(out, []byte("GET ")) {
			line, _, _ := strings.Cut(string(out), "\r\n")
			said = append(said, "> "+line)
			if strings.HasPrefix(line, "HTTP/1.1 100 ") { // another head follows
				out = out[bytes.Index(out, []byte("\r\n\r\n"))+4:]
				continue
			}
			break // a head comes alone
		}
		h, n, err := protocol.ParseHeader(out)
		if err == nil {
			err = h.Check(x.opts.Role == codec.Client, 0)
		}
		if err != nil || n == 0 || int(h.Length) > len(out)-n {
			x.tb.Fatalf("replied %x: %v", out, err)
		}
		payload := bytes.Clone(out[n : n+int(h.Length)])
		if h.Masked {
			protocol.Mask(payload, h.Key, 0)
		}
		out = out[n+len(payload):]
		if h.Opcode == protocol.OpClose {
			said = append(said, "> "+showClose("close", payload))
		} else {
			said = append(said, "> "+show(h.Opcode.String(), payload))
		}
	}
	x.read = len(x.env.Out)
	x.log = append(x.log, said...)
	return said
}

// finish ends the connection and looks for what was not given back.
func (x *side) finish() {
	x.tb.Helper()
	if x.s.State() != codec.StateClosed {
		x.s.Release(x.env)
	}
	x.checkIdle()
	if counted, kept := x.env.Buffers.FreeBytes(); counted != kept || kept > codec.FreeBytesMax {
		x.tb.Fatalf("the free lists keep %d bytes and count %d", kept, counted)
	}
	if n := x.env.FreePartials(); n > 1 {
		x.tb.Fatalf("one session left %d partials", n)
	}
}

// checkIdle fails unless the session owns nothing.
func (x *side) checkIdle() {
	x.tb.Helper()
	if n := x.env.Buffers.Lent(); n != 0 || !x.s.Idle() {
		x.tb.Fatalf("state %d, %d buffers lent, idle: %v, after %q", x.s.State(), n, x.s.Idle(), x.log)
	}
}

func (x *side) show(ev codec.Event) string {
	switch ev.Kind {
	case codec.Request:
		return "request " + x.env.Request.Target
	case codec.HTTP:
		return show("http", ev.Data)
	case codec.Open:
		return "open"
	case codec.Message:
		return show(ev.Opcode.String(), ev.Data)
	case codec.Ping:
		return show("ping", ev.Data)
	case codec.Pong:
		return show("pong", ev.Data)
	}
	var refused *codec.HandshakeError
	switch e := x.env.Closed; {
	case errors.As(e, &refused):
		return fmt.Sprintf("refused %d", refused.Status)
	case e.Remote:
		return fmt.Sprintf("closed %d %q", e.Code, e.Reason)
	default:
		return fmt.Sprintf("violation %d", e.Code)
	}
}

// show names a payload, a long one by length and sum.
func show(kind string, data []byte) string {
	if len(data) <= 64 {
		return fmt.Sprintf("%s %q", kind, data)
	}
	return fmt.Sprintf("%s %d bytes, %08x", kind, len(data), crc32.ChecksumIEEE(data))
}

// showClose leaves out the reason: it is compared, but no table spells it out.
func showClose(kind string, payload []byte) string {
	switch code, _, err := protocol.ParseClosePayload(payload); {
	case err != nil:
		return kind + " " + err.Error()
	case code == protocol.CloseNoStatus:
		return kind
	default:
		return fmt.Sprintf("%s %d", kind, code)
	}
}
