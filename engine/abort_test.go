package engine

import (
	"errors"
	"io"
	"strings"
	"syscall"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// TestCloseWithoutStatus: an empty close frame (RFC 6455 §5.5.1, §7.1.5).
func TestCloseWithoutStatus(t *testing.T) {
	told := make(chan *CloseError, 1)
	s := serve(t, Config{}, Handler{
		OnMessage: func(c *Conn, m Message) {
			if err := c.Close(0, "why"); err == nil {
				t.Error("a reason without a code was taken")
			}
			if err := c.Close(0, ""); err != nil {
				t.Error(err)
			}
		},
		OnClose: func(_ *Conn, e *CloseError) { told <- e },
	})
	nc := s.connect()
	if _, err := io.WriteString(nc, upgradeHead()+maskedFrame(0x81, "close")+"\x88\x80\x00\x00\x00\x00"); err != nil {
		t.Fatal(err)
	}
	if _, rest := s.response(nc); rest != "\x88\x00" {
		t.Errorf("the peer got %q", rest)
	}
	if e := <-told; e.Code != protocol.CloseNoStatus || e.Remote || e.Reason != "" || e.Err != nil {
		t.Errorf("OnClose was told %+v", e)
	}
	c := s.dial("/", nil)
	c.send(protocol.OpText, "close")
	if info := c.closed(); info == nil || info.Code != protocol.CloseNoStatus || !info.Remote {
		t.Errorf("the peer was told %+v", info)
	}
	_ = one(t, told, "OnClose")
}

// TestAbort: the peer sees a reset and no close frame; OnClose is told why, and
// no callback comes in between; also for a connection that is closing.
func TestAbort(t *testing.T) {
	told := make(chan *CloseError, 1)
	conns := make(chan *Conn, 1)
	aborting := false
	s := serve(t, Config{Loops: 1}, Handler{
		OnOpen: func(c *Conn) { conns <- c },
		OnMessage: func(c *Conn, m Message) {
			if aborting {
				t.Errorf("%q after Abort", m.Text())
			}
			if m.Text() == "abort" {
				aborting = true
				_ = c.SendText("dropped")
				if err := c.Abort(); err != nil {
					t.Error(err)
				}
				if err := c.SendText("late"); !errors.Is(err, ErrClosed) {
					t.Errorf("Send after Abort: %v", err)
				}
			}
		},
		OnClose: func(c *Conn, e *CloseError) { told <- e },
	})
	expect := func(c *client, code protocol.CloseCode) {
		t.Helper()
		if e := <-told; !errors.Is(e, ErrAborted) || e.Code != code || e.Remote {
			t.Errorf("OnClose was told %+v", e)
		}
		for {
			ev, err := c.next()
			if err == nil && ev.Kind == codec.Message || err == nil && code != protocol.CloseAbnormal {
				continue
			}
			if !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("the peer saw %+v, %v", ev, err)
			}
			return
		}
	}
	c := s.dial("/", nil)
	conn := <-conns
	_, _ = io.WriteString(c, maskedFrame(0x81, "abort")+strings.Repeat(maskedFrame(0x81, "more"), 100))
	expect(c, protocol.CloseAbnormal)
	s.await("the end", func() bool { return errors.Is(conn.Abort(), ErrClosed) })
	aborting = false

	c = s.dial("/", nil)
	if err := (<-conns).Abort(); err != nil { // from elsewhere
		t.Error(err)
	}
	expect(c, protocol.CloseAbnormal)

	c = s.dial("/", nil) // which does not answer the close frame
	conn = <-conns
	_ = conn.Loop().Post(func() {
		if err := errors.Join(conn.Close(4000, "enough"), conn.Abort()); err != nil {
			t.Error(err)
		}
	})
	expect(c, 4000)
}
