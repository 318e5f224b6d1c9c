package engine

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"testing"
)

// TestUpgradeGoKnowsTheClient: the client that a PROXY header named is known to
// the function and afterwards, directly and through Config.HTTP, whatever the
// request claims. It is counted once while the function runs, also when the
// function refuses.
func TestUpgradeGoKnowsTheClient(t *testing.T) {
	client, lie := netip.MustParseAddr("203.0.113.5"), "X-Forwarded-For: 198.51.100.1"
	for _, way := range []string{"directly", "through Config.HTTP"} {
		for _, status := range []int{101, 401} {
			t.Run(fmt.Sprint(way, " ", status), func(t *testing.T) {
				inside, opened, decide := make(chan netip.Addr, 1), make(chan netip.Addr, 1), make(chan bool)
				s := serve(t, Config{Loops: 1, TrustedProxies: []string{"127.0.0.1"}, ConnectionsPerAddressMax: 1, HTTP: http.HandlerFunc(sum)}, Handler{
					OnUpgrade: func(u *Upgrade) error {
						return u.Go(func(context.Context) error {
							inside <- u.ClientAddr
							if <-decide; status == 401 {
								return Refuse(401, "no")
							}
							return nil
						})
					},
					OnOpen: func(c *Conn) { opened <- c.ClientAddr() },
				})
				nc := s.connect()
				br := bufio.NewReader(nc)
				answer := func(want int) {
					t.Helper()
					r, err := http.ReadResponse(br, nil)
					if err != nil || r.StatusCode != want {
						t.Fatalf("%v %v, want %d", r, err, want)
					}
					_, _ = io.Copy(io.Discard, r.Body)
				}
				_, _ = io.WriteString(nc, proxyHeader(t, 2, client.String()))
				if way != "directly" {
					_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: a\r\n"+lie+"\r\n\r\n")
					answer(200)
				}
				_, _ = io.WriteString(nc, upgradeHead(lie))
				if a := one(t, inside, "the function"); a != client {
					t.Errorf("the function sees %v", a)
				}
				if n, half := s.gate.Of(client), s.gate.Counts().Half; n != 1 || half != 1 {
					t.Errorf("while the function runs %d of the client are counted, %d half open", n, half)
				}
				second := s.connect()
				_, _ = io.WriteString(second, proxyHeader(t, 1, client.String())+upgradeHead())
				if r, _ := s.response(second); r.StatusCode != 429 {
					t.Errorf("a second connection of the client: %s", r.Status)
				}
				_ = second.Close()
				decide <- true
				answer(status)
				if status == 101 {
					if a := one(t, opened, "OnOpen"); a != client {
						t.Errorf("OnOpen sees %v", a)
					}
				}
				_ = nc.Close()
				s.await("all to be given back", func() bool {
					n := s.gate.Counts()
					return s.gate.Of(client) == 0 && n.Half == 0 && n.Inside == 0
				})
			})
		}
	}
}
