// Command gws is a peer: github.com/lxzan/gws.
//
// Its own listener and upgrader without net/http, one goroutine for each
// connection that handles messages in turn (ParallelEnabled would start one more
// for each message and lose their order), Broadcaster for many.
//
// Text is validated once, as it comes: with CheckUtf8Enabled gws would validate
// it again on its way out.
//
// Compression: klauspost/compress, context takeover both ways, 12 bits. With
// less than 15 bits gws ignores the level: klauspost's NewWriterWindow has one of its own.
// With -no-takeover 15 bits: that level is the one asked for, and cheaper.
// With takeover it compresses what is shorter than the threshold, too; a broadcast
// is compressed once, without history.
package main

import (
	"net"
	"unicode/utf8"

	"github.com/lxzan/gws"

	"github.com/sockmill/sockmill/bench/peers/internal/peer"
)

func main() { peer.Main("github.com/lxzan/gws", serve) }

func serve(o peer.Options, l net.Listener) error {
	bits := peer.DeflateWindowBits
	if o.Alone {
		bits = 15
	}
	server := gws.NewServer(&handler{mode: o.Mode, deflate: o.Deflate}, &gws.ServerOption{
		ReadMaxPayloadSize:  peer.MessageBytesMax,
		WriteMaxPayloadSize: peer.MessageBytesMax,
		PermessageDeflate: gws.PermessageDeflate{
			Enabled:               o.Deflate,
			Level:                 peer.DeflateLevel,
			Threshold:             peer.DeflateThresholdBytes,
			ServerContextTakeover: !o.Alone,
			ClientContextTakeover: !o.Alone,
			ServerMaxWindowBits:   bits,
			ClientMaxWindowBits:   bits,
		},
	})
	server.OnError = func(c net.Conn, _ error) {
		if c != nil { // nil: the listener's error
			_ = c.Close()
		}
	}
	return server.RunListener(l)
}

type handler struct {
	gws.BuiltinEventHandler

	mode    string
	deflate bool
	hub     peer.Hub[*gws.Conn]
}

// OnOpen implements gws.Event.
func (h *handler) OnOpen(c *gws.Conn) {
	if h.mode != peer.Echo {
		h.hub.Join(c)
	}
}

// OnClose implements gws.Event.
func (h *handler) OnClose(c *gws.Conn, _ error) {
	if h.mode != peer.Echo {
		h.hub.Leave(c)
	}
}

// OnPing implements gws.Event. With compression a pong is empty; the load sends no
// pings.
func (h *handler) OnPing(c *gws.Conn, payload []byte) {
	if h.deflate {
		payload = nil
	}
	_ = c.WritePong(payload)
}

// OnMessage implements gws.Event. The errors of gws are handled by gws: it
// closes the connection.
func (h *handler) OnMessage(c *gws.Conn, m *gws.Message) {
	if m.Opcode == gws.OpcodeText && !utf8.Valid(m.Bytes()) {
		_ = c.WriteClose(1007, nil)
		return
	}
	if h.mode == peer.Echo {
		_ = c.WriteMessage(m.Opcode, m.Bytes())
		_ = m.Close()
		return
	}
	to, payload := h.hub.Fan(h.mode, c, m.Bytes())
	if len(to) > 0 {
		b := gws.NewBroadcaster(m.Opcode, payload)
		for _, c := range to {
			_ = b.Broadcast(c)
		}
		_ = b.Close()
	}
	if !h.deflate { // else payload becomes history when it is written, which is later
		_ = m.Close()
	}
}
