package engine

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// ServeHTTP makes the Engine an http.Handler, to be mounted on a route of a
// program that runs its own http.Server (or gin, echo, chi): it hijacks the
// connection and puts it on a loop, where the handshake is judged like any
// other. The loops must run: see Run. Bytes that the client sent after its
// request are not lost. OnUpgrade sees the request as the client sent it: what
// middleware did to it (StripPrefix, values in its context) is lost. It cannot
// serve HTTP/2, nor TLS that this process ends.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !upgradeRequested(r) {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", "13")
		http.Error(w, "this is a WebSocket endpoint", http.StatusUpgradeRequired)
		return
	}
	head, err := writeHead(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotImplemented)
		return
	}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		e.log.Error("a handshake that came through net/http is refused: its connection cannot be hijacked", zap.Error(err))
		http.Error(w, "this connection cannot become a WebSocket", http.StatusNotImplemented)
		return
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	head = append(head, early...)
	if own, ok := nc.(*handedConn); ok {
		e.takeBack(own, append(head, own.head...))
		return
	}
	_ = nc.SetDeadline(time.Time{})
	if !loop.Supported(nc) {
		e.log.Error("a handshake that came through net/http is refused: no loop can hold its connection; end TLS in a proxy",
			zap.String("type", fmt.Sprintf("%T", nc)))
		e.turnAway(nc, 501, "this connection cannot become a WebSocket")
		return
	}
	if e.running() == nil {
		e.log.Error("a handshake came through net/http, but Engine.Run has not been called")
		e.gate.Refuse(admit.NotRunning)
		e.deny(nc, true, admit.NotRunning)
		return
	}
	if err := e.take(nc, head); err != nil {
		e.log.Error("a connection could not be put on its loop", zap.Error(err))
	}
}

// takeBack puts a connection on a loop again that came from there to the
// http.Server of Config.HTTP. It is still the one that was admitted.
func (e *Engine) takeBack(own *handedConn, head []byte) {
	nc := own.Conn
	pass, ok := e.gate.Move(&own.pass)
	if !ok || nc.RemoteAddr() == nil { // closed by a shutdown, or reset by the peer
		e.gate.Leave(&pass)
		_ = nc.Close()
		return
	}
	_ = nc.SetDeadline(time.Time{})
	if why := e.gate.Return(&pass); why != admit.Admitted {
		e.gate.Leave(&pass)
		e.deny(nc, true, why)
		return
	}
	if err := e.enroll(nc, head, &pass); err != nil {
		e.log.Error("a connection could not be put on its loop", zap.Error(err))
	}
}

// upgradeRequested reports whether a WebSocket handshake is meant. It asks
// protocol, so that it never disagrees with the loop.
func upgradeRequested(r *http.Request) bool {
	var fields protocol.Fields
	for _, v := range r.Header.Values("Upgrade") {
		fields = append(fields, protocol.Field{Name: "Upgrade", Value: v})
	}
	return (&protocol.Request{Fields: fields}).Upgrade()
}

// writeHead writes a request out again, as a client would have sent it, for
// the loop's own parser.
func writeHead(r *http.Request) ([]byte, error) {
	if r.ProtoMajor != 1 {
		return nil, fmt.Errorf("engine: a WebSocket over %s is not served: connect with HTTP/1.1", r.Proto)
	}
	b := fmt.Appendf(nil, "%s %s %s\r\nHost: %s\r\n", r.Method, r.RequestURI, r.Proto, r.Host)
	if len(r.TransferEncoding) > 0 { // net/http has taken it out of the fields
		b = fmt.Appendf(b, "Transfer-Encoding: %s\r\n", strings.Join(r.TransferEncoding, ", "))
	}
	names := make([]string, 0, len(r.Header))
	for name := range r.Header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		for _, value := range r.Header[name] {
			b = fmt.Appendf(b, "%s: %s\r\n", name, value)
		}
	}
	return append(b, "\r\n"...), nil
}
