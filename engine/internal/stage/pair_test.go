package stage

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

var versions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

var certificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func configs(version uint16) (client, server *tls.Config) {
	return &tls.Config{InsecureSkipVerify: true, MinVersion: version, MaxVersion: version},
		&tls.Config{Certificates: []tls.Certificate{certificate()}, MinVersion: version, MaxVersion: version}
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func listen(t testing.TB) net.Listener {
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	t.Cleanup(func() { l.Close() })
	return l
}

func connect(t testing.TB, l net.Listener) (dialled, accepted net.Conn) {
	t.Helper()
	return must[net.Conn](t)(net.Dial("tcp", l.Addr().String())), must[net.Conn](t)(l.Accept())
}

// sockets connects two, and closes them after the test.
func sockets(t testing.TB, l net.Listener) (dialled, accepted net.Conn) {
	t.Helper()
	dialled, accepted = connect(t, l)
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

// both runs two handshakes against each other.
func both(t testing.TB, c, s interface{ HandshakeContext(context.Context) error }) {
	t.Helper()
	result := make(chan error, 1)
	go func() { result <- c.HandshakeContext(context.Background()) }()
	if err := s.HandshakeContext(context.Background()); err != nil {
		t.Fatal("server:", err)
	}
	if err := <-result; err != nil {
		t.Fatal("client:", err)
	}
}

// pair makes a client and a server in loop mode. What either sent and the other
// did not read in the handshake is fed.
func pair(t testing.TB, l net.Listener, client, server *tls.Config) (c, s *TLS) {
	t.Helper()
	dialled, accepted := connect(t, l)
	c, s = Client(dialled, nil, client), Server(accepted, nil, server)
	both(t, c.Conn(), s.Conn())
	if c.Detach() != dialled || s.Detach() != accepted {
		t.Fatal("Detach returns another net.Conn")
	}
	flight(t, c, s, accepted)
	flight(t, s, c, dialled)
	dialled.Close()
	accepted.Close()
	return c, s
}

// flight feeds to what from sent and to has not read.
func flight(t testing.TB, from, to *TLS, socket net.Conn) {
	t.Helper()
	_, sent := from.Transferred()
	received, _ := to.Transferred()
	b := make([]byte, sent-received)
	must[int](t)(io.ReadFull(socket, b))
	to.Feed(b)
}

func pairOf(t testing.TB, version uint16) (c, s *TLS) {
	t.Helper()
	client, server := configs(version)
	c, s = pair(t, listen(t), client, server)
	open(t, c, nil, 1<<16)
	open(t, s, nil, 1<<16)
	return c, s
}

// open feeds and opens until ErrMore.
func open(t testing.TB, x *TLS, cipher []byte, dstBytes int) []byte {
	t.Helper()
	plain, err := openAll(x, cipher, dstBytes)
	if !errors.Is(err, ErrMore) {
		t.Fatal(err)
	}
	return plain
}

// openAll feeds and opens until an error. It spoils what was fed afterwards.
func openAll(x *TLS, cipher []byte, dstBytes int) (plain []byte, err error) {
	b := append([]byte(nil), cipher...)
	if len(b) > 0 {
		x.Feed(b)
	}
	dst := make([]byte, dstBytes)
	for err == nil {
		var n int
		n, err = x.Open(dst)
		plain = append(plain, dst[:n]...)
	}
	clear(b)
	return plain, err
}

func seal(t testing.TB, x *TLS, pieces ...[]byte) []byte {
	t.Helper()
	return must[[]byte](t)(x.Seal(nil, pieces))
}

// lengths returns the lengths of the records in a stream.
func lengths(stream []byte) (l []int) {
	for len(stream) >= 5 {
		n := int(stream[3])<<8 | int(stream[4])
		l, stream = append(l, n), stream[5+n:]
	}
	return l
}
