package engine

import (
	"context"
	"io"
	"net"
	"runtime"
	"slices"
	"strings"
	"testing"
	"weak"

	"github.com/sockmill/sockmill/protocol"
)

// TestNothingRefersToAConnectionThatIsGone: not even if the peer ended its stream
// while a function of Go ran, and the kernel was full before the loop heard of it.
func TestNothingRefersToAConnectionThatIsGone(t *testing.T) {
	const peers = 60
	leave, left, gone := make(chan bool), make(chan bool), make(chan weak.Pointer[Conn], peers)
	backlog := strings.Repeat("x", 8<<20)
	s := serve(t, Config{Loops: 1, SendBytesHigh: 16 << 20, SendBytesMax: 32 << 20}, Handler{
		OnMessage: func(c *Conn, m Message) {
			if err := c.Go(m, func(context.Context, Message) { <-c.Context().Done() }); err != nil {
				t.Error(err)
			}
			leave <- true
			<-left
			for range 100 { // let others than the loop hear of it first
				runtime.Gosched()
			}
			if m.Text() == "backlog" {
				_ = c.SendText(backlog)
			}
		},
		OnClose: func(c *Conn, _ *CloseError) { gone <- weak.Make(c) },
	})
	var conns []weak.Pointer[Conn]
	for i := range peers {
		cl := s.dial("/", nil)
		cl.send(protocol.OpText, []string{"backlog", "nothing"}[i%2])
		<-leave
		peer := cl.Conn.(*net.TCPConn)
		_ = peer.CloseWrite()
		left <- true
		if i%3 == 0 {
			_, _ = io.Copy(io.Discard, peer)
		}
		_ = peer.Close()
		conns = append(conns, <-gone)
	}
	s.await("the connections to be forgotten", func() bool {
		runtime.GC()
		conns = slices.DeleteFunc(conns, func(c weak.Pointer[Conn]) bool { return c.Value() == nil })
		return len(conns) == 0
	})
}
