package embedded

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	natsgo "github.com/nats-io/nats.go"
)

// authority makes certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) *authority {
	t.Helper()
	a := &authority{}
	a.cert, a.key = a.make(t, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

func (a *authority) make(t testing.TB, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(1), pkix.Name{CommonName: "test"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	made, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return made, key
}

// config is for a server at 127.0.0.1 that trusts this authority only.
func (a *authority) config(t testing.TB) *tls.Config {
	t.Helper()
	cert, key := a.make(t, &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}, RootCAs: pool, MinVersion: tls.VersionTLS13}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	ours, theirs := newAuthority(t), newAuthority(t)
	at := free(t, 3)
	var configs []Config
	for i := range 2 {
		c := node(t, i, at[:2])
		c.ClusterTLS = ours.config(t)
		c.TLS, c.Listen = ours.config(t), "127.0.0.1:0"
		configs = append(configs, c)
	}
	all := startAll(t, configs...)
	connect(t, all[0])
	if c, err := natsgo.Connect(all[0].ClientURL()); err == nil {
		c.Close()
		t.Error("a client that does not know the authority connects")
	}
	c, err := natsgo.Connect(all[0].ClientURL(), natsgo.Secure(&tls.Config{RootCAs: ours.config(t).RootCAs, MinVersion: tls.VersionTLS13}))
	if err != nil {
		t.Fatal(err)
	}
	c.Close()

	x := Config{Name: "x", ClusterListen: at[2], Peers: at[:2]}
	refuses(within(t), t, x, "it has TLS, and Config.ClusterTLS is nil")
	x.ClusterTLS = theirs.config(t)
	refuses(within(t), t, x, "TLS: ", "certificate")
	x.ClusterTLS.RootCAs = ours.config(t).RootCAs // it trusts them, but they do not trust it
	refuses(within(t), t, x, "TLS: ", "certificate")
	for _, s := range all {
		if err := s.Health(); err != nil {
			t.Error(err)
		}
	}
}
