// Command gorilla is a peer: github.com/gorilla/websocket.
//
// net/http and one goroutine for each connection, which reads with NextReader into
// pooled buffers (ReadMessage allocates one for each message) and writes with
// WriteMessage, whose frame is one system call. PreparedMessage for many, written in turn
// by who publishes: a goroutine and a channel for each connection, as in
// gorilla's chat example, would cost more. Read buffers are those of net/http, of
// 4 KiB; write buffers are pooled.
//
// gorilla validates no text: this program does.
//
// Compression: compress/flate of the standard library at level 3, 15 bits. gorilla
// has no context takeover.
package main

import (
	"net"
	"net/http"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"

	"github.com/sockmill/sockmill/bench/peers/internal/peer"
)

func main() { peer.Main("github.com/gorilla/websocket", serve) }

type server struct {
	mode     string
	upgrader websocket.Upgrader
	hub      peer.Hub[*conn]
}

// conn is a connection with the lock that gorilla asks for around writes.
type conn struct {
	*websocket.Conn

	mu sync.Mutex
}

func serve(o peer.Options, l net.Listener) error {
	s := &server{mode: o.Mode, upgrader: websocket.Upgrader{
		EnableCompression: o.Deflate,
		WriteBufferPool:   &sync.Pool{},
	}}
	return peer.ServeHTTP(l, func(w http.ResponseWriter, r *http.Request) {
		c, err := s.upgrader.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		c.SetReadLimit(peer.MessageBytesMax)
		_ = c.SetCompressionLevel(peer.DeflateLevel)
		go s.read(&conn{Conn: c}) // not here: that would keep the request and its goroutine's stack
	})
}

func (s *server) read(c *conn) {
	defer func() { _ = c.Close() }()
	if s.mode != peer.Echo {
		s.hub.Join(c)
		defer s.hub.Leave(c)
	}
	for {
		typ, r, err := c.NextReader()
		if err != nil {
			return
		}
		p, err := peer.ReadAll(r)
		if err != nil {
			return
		}
		if typ == websocket.TextMessage && !utf8.Valid(*p) {
			_ = c.WriteControl(websocket.CloseMessage,
				websocket.FormatCloseMessage(websocket.CloseInvalidFramePayloadData, ""), time.Now().Add(time.Second))
			return
		}
		if s.mode == peer.Echo {
			c.EnableWriteCompression(len(*p) >= peer.DeflateThresholdBytes)
			err = c.WriteMessage(typ, *p)
		} else {
			err = s.fan(c, typ, *p)
		}
		peer.Free(p)
		if err != nil {
			return
		}
	}
}

func (s *server) fan(from *conn, typ int, message []byte) error {
	to, payload := s.hub.Fan(s.mode, from, message)
	if len(to) == 0 {
		return nil
	}
	m, err := websocket.NewPreparedMessage(typ, payload)
	if err != nil {
		return err
	}
	for _, c := range to {
		c.mu.Lock()
		c.EnableWriteCompression(len(payload) >= peer.DeflateThresholdBytes)
		if err := c.WritePreparedMessage(m); err != nil {
			_ = c.Close() // its own goroutine does the rest
		}
		c.mu.Unlock()
	}
	return nil
}
