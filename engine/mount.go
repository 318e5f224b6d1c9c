package engine

import (
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/engine/internal/stage"
	"github.com/sockmill/sockmill/protocol"
)

// ServeHTTP makes the Engine an http.Handler, to be mounted on a route of a
// program that runs its own http.Server (or gin, echo, chi). It is Upgrade with
// nothing to pass on, and logs what Upgrade returns.
//
// A program that ends shuts both down: first the http.Server, so that no handshake
// comes any more (it does not wait for connections that the engine has taken),
// then the engine, which says 1001 to its peers.
func (e *Engine) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := e.Upgrade(w, r, Upgrade{}); err != nil {
		e.log.Error("a handshake that came through net/http could not be taken", zap.Error(err))
	}
}

// Upgrade takes a WebSocket handshake from a handler of net/http, and with it
// what is known of the request:
//
//	mux.HandleFunc("/rooms/{room}", func(w http.ResponseWriter, r *http.Request) {
//		err := e.Upgrade(w, r, engine.Upgrade{State: &guest{user(r.Context()), r.PathValue("room")}})
//		if err != nil {
//			log.Println(err)
//		}
//	})
//
// In gin that is e.Upgrade(c.Writer, c.Request, …), in echo
// e.Upgrade(c.Response(), c.Request(), …).
//
// Upgrade hijacks the connection and puts it on a loop, where the handshake is
// judged like any other. OnUpgrade gets what is set in u: State, Subprotocol,
// Header, Handler; without an OnUpgrade that is the answer. None of it passes
// through the request, so that no client can forge it. The fields of
// w.Header(), such as a Set-Cookie of some middleware, come before those of
// u.Header in the 101, save those that the handshake itself decides. OnUpgrade
// sees r.Method, r.RequestURI, r.Host and r.Header as they are now: fields that
// middleware changed are seen changed; r.URL (StripPrefix) and the values of
// r.Context() are not seen. Bytes that the client sent after its request are not
// lost.
//
// When Upgrade returns, the connection is a loop's, or the client has been
// refused: the handler must write nothing more. An error says what is wrong
// with the server: the loops do not run (see Run; the client gets 503), or the
// connection is one that cannot be taken (501): HTTP/2, a ResponseWriter that
// cannot be hijacked. Any goroutine may call it.
//
// Under TLS, the http.Server should serve a TLSListener: then the connection goes to
// a loop with its TLS session. From any other kind of connection, such as those of
// http.Server.ServeTLS, the socket cannot be taken: two goroutines then carry the
// bytes between it and the loop, which costs a copy in each direction and about 20 KiB, and
// Conn.TLS is nil.
func (e *Engine) Upgrade(w http.ResponseWriter, r *http.Request, u Upgrade) error {
	if !upgradeRequested(r) {
		w.Header().Set("Upgrade", "websocket")
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Sec-WebSocket-Version", "13")
		const reason = "this is a WebSocket endpoint"
		e.main.logPlain(textAddr(r.RemoteAddr), http.StatusUpgradeRequired, reason, r.Header.Get("Sec-WebSocket-Key") != "")
		http.Error(w, reason, http.StatusUpgradeRequired)
		return nil
	}
	if r.ProtoMajor != 1 {
		http.Error(w, "a WebSocket is served over HTTP/1.1 only", http.StatusNotImplemented)
		return fmt.Errorf("engine: a WebSocket over %s is not served: have the http.Server speak HTTP/1.1", r.Proto)
	}
	head, err := writeHead(r)
	if err != nil {
		http.Error(w, "internal server error", http.StatusInternalServerError)
		return err
	}
	m := &arrival{mounted: true, head: head, upgrade: &Upgrade{
		State: u.State, Subprotocol: u.Subprotocol, Handler: u.Handler, Header: append(responseFields(w.Header()), u.Header...),
	}}
	nc, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "this connection cannot become a WebSocket", http.StatusNotImplemented)
		return fmt.Errorf("engine: a connection of net/http cannot be hijacked: %w", err)
	}
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	m.head = append(m.head, early...)
	switch own := nc.(type) {
	case *handedConn:
		m.head = append(m.head, own.head...)
		return own.s.ep.takeBack(own, own.Conn, m)
	case *sealedConn:
		m.head, m.tls = append(m.head, own.head...), &sealed{TLS: stage.Of(own.Conn)}
		return own.low.s.ep.takeBack(own.low, own, m)
	}
	_ = nc.SetDeadline(time.Time{})
	if e.running() == nil {
		e.gate.Refuse(admit.NotRunning)
		e.main.deny(nc, true, admit.NotRunning)
		return fmt.Errorf("engine: a handshake came through net/http: %w", ErrStopped)
	}
	if t := stage.Of(nc); t != nil {
		nc, m.tls, m.since = t.Detach(), &sealed{TLS: t}, e.elapsed()
	}
	if !loop.Supported(nc) {
		if nc, err = e.bridge(nc, m); err != nil {
			return err
		}
	}
	return e.main.take(nc, m)
}

// textAddr is an address as net/http writes it.
type textAddr string

// Network implements net.Addr.
func (textAddr) Network() string { return "tcp" }

// String implements net.Addr.
func (a textAddr) String() string { return string(a) }

// takeBack puts a connection on a loop again that came from there to the
// http.Server of Config.HTTP. It is still the one that was admitted. over is own, or
// the TLS over it.
func (ep *endpoint) takeBack(own *handedConn, over net.Conn, m *arrival) error {
	nc := own.Conn
	pass, ok := ep.gate.Move(&own.pass)
	if !ok || nc.RemoteAddr() == nil { // closed by a shutdown, or reset by the peer
		ep.gate.Leave(&pass)
		_ = nc.Close()
		return nil
	}
	_ = nc.SetDeadline(time.Time{})
	if why := ep.gate.Return(&pass); why != admit.Admitted {
		ep.gate.Leave(&pass)
		ep.deny(over, true, why)
		return nil
	}
	if m.tls != nil {
		m.tls.Detach()
		m.since = ep.e.elapsed()
	}
	return ep.enroll(nc, m, &pass)
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
// the loop's own parser. What net/http read is well-formed; what middleware put
// in may break the head, and is an error.
func writeHead(r *http.Request) ([]byte, error) {
	for _, part := range [...]string{r.Method, r.RequestURI, r.Proto} {
		if part == "" || !protocol.ValidField(protocol.Field{Name: "X", Value: part}) {
			return nil, fmt.Errorf("engine: the request line of a handshake was changed to %.100q", r.Method+" "+r.RequestURI+" "+r.Proto)
		}
	}
	fields := append([]protocol.Field{{Name: "Host", Value: r.Host}}, fieldsOf(r.Header)...)
	if len(r.TransferEncoding) > 0 { // net/http has taken it out of the fields
		fields = append(fields, protocol.Field{Name: "Transfer-Encoding", Value: strings.Join(r.TransferEncoding, ", ")})
	}
	b := fmt.Appendf(nil, "%s %s %s\r\n", r.Method, r.RequestURI, r.Proto)
	for _, f := range fields {
		if !protocol.ValidField(f) {
			return nil, fmt.Errorf("engine: the request field %.100q of a handshake has a malformed name or value", f.Name)
		}
		b = fmt.Appendf(b, "%s: %s\r\n", f.Name, f.Value)
	}
	return append(b, "\r\n"...), nil
}

// responseFields are those of a ResponseWriter that a 101 may have.
func responseFields(h http.Header) []protocol.Field {
	return slices.DeleteFunc(fieldsOf(h), func(f protocol.Field) bool { return protocol.HandshakeField(f.Name) })
}

// fieldsOf lists the fields of h, in the order of their names.
func fieldsOf(h http.Header) (fields []protocol.Field) {
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, value := range h[name] {
			fields = append(fields, protocol.Field{Name: name, Value: value})
		}
	}
	return fields
}
