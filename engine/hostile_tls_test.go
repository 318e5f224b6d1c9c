package engine

import (
	"crypto/tls"
	"io"
	"slices"
	"time"

	"github.com/sockmill/sockmill/engine/internal/certs/certstest"
)

// tlsAttacks come to a second listener, which has TLS.
var tlsAttacks = []hostile{
	{name: "half-open TLS handshakes", ceiling: 600, attack: halfOpenTLS,
		// Most of them wait for a turn: of each goroutine that there was the runtime keeps half a KiB.
		cfg: Config{HalfOpenMax: NoLimit, TLSHandshakesMax: 1024, HandshakeTimeout: patience, AcceptsPerAddressPerSecond: NoLimit}},
	{name: "garbage in TLS handshakes", ceiling: 64, attack: garbageTLS,
		cfg: Config{HandshakeTimeout: 200 * time.Millisecond, AcceptsPerAddressPerSecond: NoLimit}},
}

// sealedListener adds a listener with TLS.
func (s *siege) sealedListener() (l *Listener, hello string) {
	ca := certstest.New(s.t)
	l = s.listen(Config{Addr: "wss://127.0.0.1:0", TLS: &tls.Config{Certificates: []tls.Certificate{ca.Server("127.0.0.1")}}}, nil)
	return l, helloOf(s.t, &tls.Config{ServerName: "a"})
}

// halfOpenTLS begins handshakes and stops anywhere.
func halfOpenTLS(s *siege) {
	l, hello := s.sealedListener()
	n := min(s.n(100, 10_000), s.Stats().Most/3)
	for range n {
		_, _ = io.WriteString(s.connectTo(l), hello[:s.rand.IntN(len(hello)+1)])
	}
	s.await("all to be half open", func() bool { return l.Stats().HalfOpen == n })
	s.serves()
}

// garbageTLS sends what is no handshake, or one with changed bytes.
func garbageTLS(s *siege) {
	l, hello := s.sealedListener()
	for range s.n(100, 3000) {
		b := slices.Clone([]byte(hello))
		for range 1 + s.rand.IntN(5) {
			b[s.rand.IntN(len(b))] = byte(s.rand.Uint32())
		}
		nc := s.connectTo(l)
		_, _ = nc.Write(b[:s.rand.IntN(len(b)+1)])
		switch s.rand.IntN(4) {
		case 0:
			abort(nc)
		case 1:
			_ = nc.Close()
		}
	}
	s.serves()
}
