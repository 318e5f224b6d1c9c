package engine

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// verbose is a protocol whose messages take far more room than their data, and
// that cannot send a message which begins with '!'.
type verbose struct{ codec.Raw }

var errVerbose = errors.New("not this one")

func (*verbose) Encode(_ *codec.Env, dst []byte, _ protocol.Opcode, p []byte, _ bool) ([]byte, error) {
	if len(p) > 0 && p[0] == '!' {
		return nil, errVerbose
	}
	return append(dst, bytes.Repeat(p, 100)...), nil
}

// TestEncodeMovesItsBuffer: a program's codec may append more than there was
// room for, or fail and return nothing. The loop's accounts stay exact, and what
// waits already is not lost.
func TestEncodeMovesItsBuffer(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Addr: "tcp://127.0.0.1:0", Loops: 1, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30,
		Codec: func() codec.Codec { return new(verbose) }}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	nc := s.connect()
	c := <-conns
	var want []byte
	s.onLoop(c, func() {
		send := func(policy Policy, b byte, n int) {
			data := bytes.Repeat([]byte{b}, n)
			if err := c.Send(Message{Data: data, Policy: policy, Key: "1"}); err != nil {
				t.Error(err)
			}
			if err := c.Send(Message{Data: []byte("!"), Policy: policy, Key: "1"}); !errors.Is(err, errVerbose) {
				t.Errorf("the codec's error: %v", err)
			}
			want = append(want, bytes.Repeat(data, 100)...)
		}
		for !c.flow.congested {
			send(PolicyClose, 'f', 1000)
			c.flush()
		}
		for n := range 20 {
			send(PolicyDropOldest, 'a'+byte(n), 1+100*n)
			send(PolicyClose, 'A'+byte(n), 1+100*n)
		}
		before := len(want)
		for n := range 20 { // each in the place of the one before
			want = want[:before]
			send(PolicyReplace, '0'+byte(n), 1+100*n)
		}
		if b := &c.w.env.Buffers; b.LentBytes() < c.out.queue.Bytes() {
			t.Errorf("%d bytes wait, %d are lent", c.out.queue.Bytes(), b.LentBytes())
		}
	})
	got := make([]byte, len(want))
	if _, err := io.ReadFull(nc, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("received other bytes than were sent: %v", err)
	}
	_ = nc.Close()
	_ = s.end()
	s.balanced()
	if n := c.w.env.Buffers.LentBytes(); n != 0 {
		t.Errorf("%d bytes are lent", n)
	}
}
