package engine

import (
	"context"
	"io"
	"net"

	"github.com/sockmill/sockmill/protocol"
)

// socketAttacks end streams where nobody expects it.
var socketAttacks = []hostile{
	{name: "half-closed in every phase", ceiling: 32, handler: obeying, attack: halfClose},
}

// obeying does what a message says.
func obeying(*siege) Handler {
	chunk := make([]byte, 64<<10)
	return Handler{OnMessage: func(c *Conn, m Message) {
		switch m.Text() {
		case "close":
			_ = c.Close(4000, "as told")
		case "pause":
			_ = c.PauseReading()
		case "go":
			_ = c.Go(m, func(context.Context, Message) { <-c.Context().Done() })
		case "flood":
			for !c.flow.congested {
				_ = c.SendBinary(chunk)
			}
		default:
			_ = c.Send(m)
		}
	}}
}

// halfClose ends its stream in every phase of a connection, reads what still
// comes, and finds the other stream ended, too.
func halfClose(s *siege) {
	masked := func(first byte, payload string) string {
		return string([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}) + payload
	}
	head := upgradeHead()
	phases := map[string]struct {
		say    string
		answer bool                    // to be read before the end
		then   func(s *siege, c *Conn) // after the end
	}{
		"silent":              {say: ""},
		"in the head":         {say: head[:20]},
		"in the last line":    {say: head[:len(head)-1]},
		"plain HTTP":          {say: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", answer: true},
		"refused":             {say: "nonsense\r\n\r\n", answer: true},
		"open":                {say: head, answer: true},
		"with the handshake":  {say: head},
		"in a header":         {say: head + "\x81", answer: true},
		"in a payload":        {say: head + masked(0x81, "hello")[:8], answer: true},
		"between fragments":   {say: head + masked(0x01, "a"), answer: true},
		"in a control frame":  {say: head + masked(0x01, "a") + masked(0x89, "ping")[:7], answer: true},
		"after a message":     {say: head + masked(0x81, "a")},
		"with a close frame":  {say: head + masked(0x88, "\x03\xe8")},
		"after a close frame": {say: head + masked(0x88, "\x03\xe8"), answer: true},
		"half a close frame":  {say: head + masked(0x88, "\x03\xe8")[:7], answer: true},
		"closed by us":        {say: head + masked(0x81, "close"), answer: true},
		"after a violation":   {say: head + "\xff\xff", answer: true},
		"off the loop":        {say: head + masked(0x81, "go"), answer: true},
		"congested":           {say: head + masked(0x81, "flood"), answer: true},
		"paused": {say: head + masked(0x81, "pause"), answer: true, then: func(_ *siege, c *Conn) {
			_ = c.ResumeReading()
		}},
	}
	for range s.n(2, 20) {
		for name, phase := range phases {
			before := s.Stats().Accepted
			nc := s.connect()
			_, _ = io.WriteString(nc, phase.say)
			if phase.answer {
				if _, err := nc.Read(make([]byte, 1)); err != nil {
					s.t.Fatalf("%s: no answer: %v", name, err)
				}
			}
			_ = nc.(*net.TCPConn).CloseWrite()
			if phase.then != nil {
				s.await("the message", func() bool { return s.Stats().Accepted > before })
				c := s.of(&client{Conn: nc})
				s.await("the pause", func() bool { return c.Stats().MessagesIn == 1 })
				phase.then(s, c)
			}
			s.ends(name, nc)
		}
	}
	c := s.open() // and once more where the answer of this side is missing
	c.send(protocol.OpText, "close")
	if info := c.closed(); info == nil || info.Code != 4000 {
		s.t.Errorf("closed with %v", info)
	}
}
