package engine

import (
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// handoverMax is how many connections may wait for the http.Server to take
// them; above, they are answered with 503.
const handoverMax = 256

// httpServer is a real http.Server for the plain HTTP requests that arrive on
// the port of a listener. It takes whole connections, so that keep-alive, pipelining
// and large bodies are the standard library's, and gives one back when a later
// request on it is a WebSocket handshake.
type httpServer struct {
	ep     *endpoint
	server http.Server
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
	served sync.WaitGroup
	drains atomic.Int64 // when a shutdown began to, by the engine's time; 0: none did
	cut    atomic.Int64 // connections without progress that the shutdown cut
}

func newHTTPServer(ep *endpoint) *httpServer {
	s := &httpServer{ep: ep, queue: make(chan net.Conn, handoverMax), closed: make(chan struct{})}
	s.server = http.Server{
		Handler:           http.HandlerFunc(s.serve),
		ReadHeaderTimeout: ep.HTTPHeaderTimeout,
		IdleTimeout:       ep.HTTPIdleTimeout,
		MaxHeaderBytes:    ep.HandshakeBytesMax,
		ConnState: func(c net.Conn, state http.ConnState) {
			if own := handedOf(c); own != nil && state == http.StateHijacked {
				own.in.setFree()
				own.out.setFree()
			}
		},
	}
	if l, err := zap.NewStdLogAt(ep.e.log.Named("http"), zap.WarnLevel); err == nil { // panics of handlers, mostly
		s.server.ErrorLog = l
	}
	return s
}

func (s *httpServer) start() {
	s.served.Go(func() {
		_ = s.server.Serve(s) // ends with http.ErrServerClosed
	})
}

// serve is the handler: a handshake goes back to the loops.
func (s *httpServer) serve(w http.ResponseWriter, r *http.Request) {
	if !s.ep.httpOnly && upgradeRequested(r) {
		s.ep.e.ServeHTTP(w, r)
		return
	}
	if s.ep.e.drainStage() >= DrainClosing {
		w.Header().Set("Connection", "close") // its next request is for another server
	}
	s.ep.HTTP.ServeHTTP(w, r)
}

// drain serves the requests under way to their end, as long as their peers make
// progress.
func (s *httpServer) drain(ctx context.Context) {
	s.drains.Store(int64(max(s.ep.e.elapsed(), 1)))
	_ = s.Close()
	for {
		select {
		case c := <-s.queue: // it came too late for the http.Server
			s.ep.gate.Refuse(admit.Closed)
			s.served.Go(func() { s.ep.deny(c, true, admit.Closed) })
			continue
		default:
		}
		break
	}
	_ = s.server.Shutdown(ctx) // an error is ctx's: what is left is cut and counted
}

func (s *httpServer) close() {
	_ = s.server.Close()
	s.served.Wait()
	for {
		select {
		case c := <-s.queue:
			_ = c.Close()
		default:
			return
		}
	}
}

// Accept, Close and Addr make the httpServer the net.Listener of its server.
func (s *httpServer) Accept() (net.Conn, error) {
	select {
	case c := <-s.queue:
		return c, nil
	case <-s.closed:
		return nil, net.ErrClosed
	}
}

// Close stops Accept.
func (s *httpServer) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}

// Addr is the listener's.
func (s *httpServer) Addr() net.Addr { return s.ep.listener.Addr() }

// plainHTTP takes a request that is no handshake: the connection leaves its
// loop for the http.Server, or the request is refused.
func (c *Conn) plainHTTP(head []byte) {
	s := c.ep.http
	if s == nil || c.origin == mounted { // it came from an http.Server, and would come back from there again and again
		refused, _ := c.ep.e.refusal(protocol.CheckUpgrade(&c.w.env.Request))
		c.ep.logPlain(c.who.remote, refused.Status, refused.Reason, meansWebSocket(c.w.env.Request.Fields))
		c.refuse(refused)
		return
	}
	if !c.ep.httpOnly && meansWebSocket(c.w.env.Request.Fields) {
		c.ep.e.log.Warn("a handshake that has lost its Upgrade goes to Config.HTTP", zap.Stringer("listener", c.ep.listener), zap.Stringer("remote", c.who.remote), zap.String("hint", hintUpgrade))
	}
	if c.w.drains.begun {
		_ = c.close(c.w.farewell(c))
		return
	}
	if c.tls != nil { // what crypto/tls has to say goes first
		if _, err := c.writeKept(); err != nil || c.tls.rest != nil {
			c.cut(err)
			return
		}
	}
	nc, err := c.duplicate()
	if err != nil {
		c.ep.e.log.Error("a plain HTTP connection could not be handed over", zap.Error(err))
		c.refuseHandover()
		return
	}
	handed := newHandedConn(s, nc, c.RemoteAddr(), slices.Concat(head, c.w.batch.in))
	c.w.batch.in = nil
	c.ep.gate.Opened(&c.pass)
	handed.pass, _ = c.ep.gate.Move(&c.pass)
	to, t := net.Conn(handed), c.tls
	if t != nil {
		to, c.tls = newSealedConn(t.TLS, handed), nil
	}
	select {
	case s.queue <- to:
		c.end.answer = handshakeHTTP
		c.endSession(nil)
		c.cut(nil) // closes the loop's descriptor; the stream lives on in the duplicate
	default:
		if c.tls = t; t != nil {
			t.Detach()
		}
		c.pass, _ = c.ep.gate.Move(&handed.pass)
		_ = nc.Close()
		c.refuseHandover()
	}
}

// duplicate makes a net.Conn with a descriptor of its own of the connection.
func (c *Conn) duplicate() (net.Conn, error) {
	fd, err := c.sock.Dup()
	if err != nil {
		return nil, err
	}
	return loop.FileConn(fd)
}

func (c *Conn) refuseHandover() {
	c.ep.gate.Refuse(admit.Handover)
	c.ep.logDenied(c.who.remote, c.pass.Client(), admit.Handover, true)
	c.refuse(refusalOf(admit.Handover))
}
