package session

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// TestUpgradeGoAndResume: a function finds the token, OnOpen resumes the session,
// and what the client sent behind its handshake waits for the state, which the
// connection before has while its own function of Go runs.
func TestUpgradeGoAndResume(t *testing.T) {
	var sessions *Store
	token, busy, release := make(chan string, 1), make(chan bool, 1), make(chan bool)
	ready := make(chan bool)
	s := serve(t, engine.Config{Loops: 1}, engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			return u.Go(func(context.Context) error {
				<-ready
				u.State = strings.TrimSpace(u.Request.Fields.Get("X-Token"))
				return nil
			})
		},
		OnOpen: func(c *engine.Conn) {
			if presented := c.State().(string); presented != "" {
				if err := sessions.Resume(c, presented, func(state any) { c.SetState(state) }); err != nil {
					t.Error(err)
				}
				return
			}
			made, err := sessions.Begin(c, "ada's")
			if err != nil {
				t.Error(err)
			}
			token <- made
		},
		OnMessage: func(c *engine.Conn, m engine.Message) {
			if m.Text() == "wait" {
				_ = c.Go(m, func(context.Context, engine.Message) { busy <- true; <-release })
				return
			}
			_ = c.SendText(fmt.Sprint(c.State()))
		},
	})
	var err error
	if sessions, err = New(s.Engine, Config{}); err != nil {
		t.Fatal(err)
	}
	close(ready)
	first := s.dial()
	presented := one(t, token, "a token")
	first.send(protocol.OpText, "wait")
	_ = one(t, busy, "the function of Go")
	nc, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Token: "+presented+"\r\n\r\n\x81\x83\x00\x00\x00\x00who\x88\x80\x00\x00\x00\x00")
	s.await("the second connection to wait for the state", func() bool {
		sessions.mu.Lock()
		defer sessions.mu.Unlock()
		for _, x := range sessions.byID {
			return x.heir != nil
		}
		return false
	})
	release <- true
	br := bufio.NewReader(nc)
	r, err := http.ReadResponse(br, nil)
	if err != nil || r.StatusCode != 101 {
		t.Fatalf("%v %v", r, err)
	}
	if rest, _ := io.ReadAll(br); !strings.HasPrefix(string(rest), "\x81\x05ada's\x88") {
		t.Errorf("then %q", rest)
	}
}
