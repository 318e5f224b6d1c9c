// Command coder is a peer: github.com/coder/websocket.
//
// net/http and one goroutine for each connection, which reads with Reader into pooled
// buffers (Read allocates one for each message) and writes with Write. The contexts
// never end, so that no operation arms a timer. There is nothing that encodes a message
// once for many: a broadcast is a Write for each.
//
// coder validates no text: this program does.
//
// Compression: compress/flate of the standard library at level 1, 15 bits; neither
// can be chosen. An offer with server_max_window_bits below 15 is declined.
package main

import (
	"context"
	"net"
	"net/http"
	"unicode/utf8"

	"github.com/coder/websocket"

	"github.com/sockmill/sockmill/bench/peers/internal/peer"
)

func main() { peer.Main("github.com/coder/websocket", serve) }

type server struct {
	mode string
	hub  peer.Hub[*websocket.Conn]
}

func serve(o peer.Options, l net.Listener) error {
	s := &server{mode: o.Mode}
	options := websocket.AcceptOptions{CompressionThreshold: peer.DeflateThresholdBytes}
	if o.Deflate {
		options.CompressionMode = websocket.CompressionContextTakeover
	}
	return peer.ServeHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := websocket.Accept(w, r, &options)
		if err != nil {
			return
		}
		c.SetReadLimit(peer.MessageBytesMax)
		go s.read(c) // not here: that would keep the request and its goroutine's stack
	})
}

func (s *server) read(c *websocket.Conn) {
	defer func() { _ = c.CloseNow() }()
	if s.mode != peer.Echo {
		s.hub.Join(c)
		defer s.hub.Leave(c)
	}
	ctx := context.Background()
	for {
		typ, r, err := c.Reader(ctx)
		if err != nil {
			return
		}
		p, err := peer.ReadAll(r)
		if err != nil {
			return
		}
		if typ == websocket.MessageText && !utf8.Valid(*p) {
			_ = c.Close(websocket.StatusInvalidFramePayloadData, "")
			return
		}
		if s.mode == peer.Echo {
			err = c.Write(ctx, typ, *p)
		} else {
			to, payload := s.hub.Fan(s.mode, c, *p)
			for _, c := range to {
				if c.Write(ctx, typ, payload) != nil {
					_ = c.CloseNow() // its own goroutine does the rest
				}
			}
		}
		peer.Free(p)
		if err != nil {
			return
		}
	}
}
