package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// keeper is a codec whose only message ends with the peer's stream.
type keeper struct {
	codec.Raw
	kept []byte
}

func (k *keeper) Decode(_ *codec.Env, in []byte) (codec.Event, int) {
	k.kept = append(k.kept, in...)
	return codec.Event{}, len(in)
}

func (k *keeper) Buffered() int { return len(k.kept) }

// ender is a keeper that is told of the end.
type ender struct{ keeper }

func (k *ender) End(env *codec.Env) codec.Event {
	if string(k.kept) == "half" {
		env.Closed = &CloseError{Code: protocol.CloseAbnormal, Remote: true, Err: io.ErrUnexpectedEOF}
		return codec.Event{Kind: codec.Close}
	}
	return codec.Event{Kind: codec.Message, Opcode: protocol.OpText, Data: k.kept}
}

// TestEndOfStream: a protocol without a closing handshake ends well with the
// peer's stream, after the message that this ends, and after its answer.
func TestEndOfStream(t *testing.T) {
	told := make(chan *CloseError, 1)
	h := Handler{
		OnMessage: func(c *Conn, m Message) {
			switch m.Text() {
			case "much":
				_ = c.SendBinary(make([]byte, 8<<20)) // more than the kernel takes
			case "off the loop":
				if err := c.Go(m, func(_ context.Context, m Message) { _ = c.Send(m) }); err != nil {
					t.Error(err)
				}
				return
			case "panic":
				panic("on purpose")
			}
			_ = c.Send(m)
		},
		OnClose: func(_ *Conn, e *CloseError) { told <- e },
	}
	raw := func() codec.Codec { return new(codec.Raw) }
	keeps := func() codec.Codec { return new(keeper) }
	ends := func() codec.Codec { return new(ender) }
	for _, x := range []struct {
		codec      func() codec.Codec
		send, want string
		code       protocol.CloseCode
		err        error
	}{
		{raw, "", "", protocol.CloseNormal, nil},
		{raw, "hello", "hello", protocol.CloseNormal, nil},
		{raw, "off the loop", "off the loop", protocol.CloseNormal, nil},
		{keeps, "", "", protocol.CloseNormal, nil},
		{keeps, "hello", "", protocol.CloseAbnormal, io.ErrUnexpectedEOF},
		{ends, "hello", "hello", protocol.CloseNormal, nil},
		{ends, "much", strings.Repeat("\x00", 8<<20) + "much", protocol.CloseNormal, nil},
		{ends, "off the loop", "off the loop", protocol.CloseNormal, nil},
		{ends, "half", "", protocol.CloseAbnormal, io.ErrUnexpectedEOF},
		{ends, "panic", "", protocol.CloseAbnormal, errPanic},
	} {
		s := serve(t, Config{Addr: "tcp://127.0.0.1:0", Loops: 1, Codec: x.codec, SendBytesMax: NoLimit}, h)
		nc := s.connect()
		_, _ = io.WriteString(nc, x.send)
		_ = nc.(*net.TCPConn).CloseWrite()
		if got, err := io.ReadAll(nc); err != nil || string(got) != x.want {
			t.Errorf("%q was answered with %d bytes, %.20q, %v", x.send, len(got), got, err)
		}
		if e := <-told; e.Code != x.code || !errors.Is(e.Err, x.err) || e.Remote == errors.Is(x.err, errPanic) {
			t.Errorf("%q: OnClose was told %v", x.send, e)
		}
	}
}

// TestAnswerToAHalfClosedPeer: who ends its stream in the midst of the closing
// handshake, and reads on, still gets what was queued for it.
func TestAnswerToAHalfClosedPeer(t *testing.T) {
	s := serve(t, Config{Loops: 1, SendBytesMax: NoLimit}, Handler{OnMessage: func(c *Conn, _ Message) {
		_ = c.SendBinary(make([]byte, 8<<20))
		_ = c.Close(4000, "enough")
	}})
	c := s.dial("/", nil)
	c.send(protocol.OpText, "all")
	_ = c.Conn.(*net.TCPConn).CloseWrite()
	s.await("the end of the session", func() bool { return s.Stats().Open == 0 })
	if _, got := c.receive(); len(got) != 8<<20 {
		t.Errorf("%d bytes", len(got))
	}
	if ev, err := c.next(); err != nil || ev.Kind != codec.Close || c.env.Closed.Code != 4000 {
		t.Errorf("closed with %+v %v", ev, err)
	}
}

// TestSenderBehindABacklog: a peer in the midst of sending reads on only when it
// has sent what it has; that a message to it is half written keeps nobody from
// reading from it.
func TestSenderBehindABacklog(t *testing.T) {
	s := serveAt(t, new(testClock), Config{Loops: 1, SendBytesHigh: NoLimit, SendBytesMax: NoLimit}, Handler{OnMessage: func(c *Conn, _ Message) {
		_ = c.SendBinary(make([]byte, 8<<20))
	}})
	c := s.dial("/", nil)
	_, err := io.WriteString(c, maskedFrame(0x81, "much, please")+"\xff\xff")
	for sent := 0; err == nil && sent < blockingBytes; sent += 1 << 16 {
		_, err = c.Write(make([]byte, 1<<16))
	}
	if err != nil {
		t.Fatalf("the peer cannot send all it has: %v", err)
	}
	if info := c.closed(); info == nil || info.Code != protocol.CloseProtocolError {
		t.Errorf("closed with %v", info)
	}
}

// TestWhoIsGoneIsServed: what a peer sent before it closed is carried out,
// although reading paused for the first of it.
func TestWhoIsGoneIsServed(t *testing.T) {
	for _, addr := range []string{"tcp://127.0.0.1:0", "unix://" + filepath.Join(t.TempDir(), "s")} {
		ran, told := make(chan string, 10), make(chan *CloseError, 1)
		s := serve(t, Config{Addr: addr, Codec: func() codec.Codec { return new(codec.Raw) }, Loops: 1}, Handler{
			OnMessage: func(c *Conn, m Message) {
				if err := c.Go(m, func(_ context.Context, m Message) {
					<-c.Context().Done() // the peer is gone
					ran <- m.Text()
				}); err != nil {
					t.Error(err)
				}
			},
			OnClose: func(_ *Conn, e *CloseError) { told <- e },
		})
		nc := s.connect()
		_, _ = io.WriteString(nc, "first")
		s.await("the first message", func() bool { return s.Stats().MessagesIn == 1 })
		_, _ = io.WriteString(nc, "second")
		_ = nc.Close()
		for _, want := range []string{"first", "second"} {
			if got := one(t, ran, "a message"); got != want {
				t.Errorf("%s: %q, want %q", addr, got, want)
			}
		}
		if e := one(t, told, "OnClose"); e.Code != protocol.CloseNormal {
			t.Errorf("%s: OnClose was told %v", addr, e)
		}
	}
}
