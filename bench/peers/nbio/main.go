// Command nbio is a peer: github.com/lesismal/nbio, its event loop.
//
// IOModNonBlocking: one poller reads, parses and, with ServerExecutor set to call
// what it is given, also handles messages; by default a pool of goroutines would.
// Payloads are released to nbio's pool. There is nothing that encodes a message
// once for many: a broadcast is a WriteMessage for each. No keepalive timer.
//
// nbio validates text itself.
//
// Compression: compress/flate of the standard library at level 3, 15 bits. nbio
// has no context takeover.
package main

import (
	"net"
	"net/http"
	"os"
	"time"

	"github.com/lesismal/nbio/logging"
	"github.com/lesismal/nbio/nbhttp"
	"github.com/lesismal/nbio/nbhttp/websocket"

	"github.com/sockmill/sockmill/bench/peers/internal/peer"
)

func main() {
	logging.Output = os.Stderr
	logging.SetLevel(logging.LevelNone)
	peer.Main("github.com/lesismal/nbio", serve)
}

func serve(o peer.Options, l net.Listener) error {
	s := &server{mode: o.Mode, deflate: o.Deflate}
	u := websocket.NewUpgrader()
	u.KeepaliveTime = 0
	u.MessageLengthLimit = peer.MessageBytesMax
	u.EnableCompression(o.Deflate)
	if err := u.SetCompressionLevel(peer.DeflateLevel); err != nil {
		return err
	}
	u.OnMessage(s.message)
	if o.Mode != peer.Echo {
		u.OnOpen(s.hub.Join)
		u.OnClose(func(c *websocket.Conn, _ error) { s.hub.Leave(c) })
	}
	engine := nbhttp.NewEngine(nbhttp.Config{
		Network:                      "tcp",
		Addrs:                        []string{l.Addr().String()},
		Listen:                       func(_, _ string) (net.Listener, error) { return l, nil },
		IOMod:                        nbhttp.IOModNonBlocking,
		NPoller:                      1,
		MaxLoad:                      1 << 20,
		MaxWebsocketFramePayloadSize: peer.MessageBytesMax,
		ReleaseWebsocketPayload:      true,
		ServerExecutor:               func(f func()) { f() },
		SupportServerOnly:            true,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if c, err := u.Upgrade(w, r, nil); err == nil {
				_ = c.SetReadDeadline(time.Time{})
			}
		}),
	})
	if err := engine.Start(); err != nil {
		return err
	}
	select {} // until the program ends
}

type server struct {
	mode    string
	deflate bool
	hub     peer.Hub[*websocket.Conn]
}

// message handles a message. nbio closes a connection that cannot be written to.
func (s *server) message(c *websocket.Conn, typ websocket.MessageType, data []byte) {
	if s.mode == peer.Echo {
		s.write(c, typ, data)
		return
	}
	to, payload := s.hub.Fan(s.mode, c, data)
	for _, c := range to {
		s.write(c, typ, payload)
	}
}

func (s *server) write(c *websocket.Conn, typ websocket.MessageType, data []byte) {
	if s.deflate {
		c.EnableWriteCompression(len(data) >= peer.DeflateThresholdBytes)
	}
	_ = c.WriteMessage(typ, data)
}
