package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"strings"
	"testing"
	"time"
)

func TestSelfSigned(t *testing.T) {
	for _, c := range []struct {
		hosts, valid []string
		invalid      string
	}{
		{nil, []string{"localhost", "127.0.0.1", "::1"}, "sockmill.example"},
		{[]string{"sockmill.example", "192.0.2.1", "2001:db8::1"}, []string{"sockmill.example", "192.0.2.1", "2001:db8::1"}, "localhost"},
	} {
		cert, err := SelfSigned(c.hosts...)
		check(t, err)
		pool := x509.NewCertPool()
		pool.AddCert(cert.Leaf)
		verify := func(host string) error {
			_, err := cert.Leaf.Verify(x509.VerifyOptions{Roots: pool, DNSName: host})
			return err
		}
		for _, host := range c.valid {
			if err := verify(host); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		}
		if verify(c.invalid) == nil {
			t.Errorf("the certificate is valid for %s too", c.invalid)
		}
		if d, left := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore), time.Until(cert.Leaf.NotAfter); d != 30*24*time.Hour || left > d || left < d-time.Hour {
			t.Errorf("it is valid for %v, of which %v are left", d, left)
		}
		key := cert.PrivateKey.(*ecdsa.PrivateKey)
		if key.Curve != elliptic.P256() || !key.PublicKey.Equal(cert.Leaf.PublicKey) {
			t.Error("the key is of another kind, or another certificate's")
		}
		if cert.Leaf.Subject.String() == "" || cert.Leaf.IsCA {
			t.Errorf("%q is the subject, or a CA", cert.Leaf.Subject)
		}
		other, err := SelfSigned(c.hosts...)
		check(t, err)
		if other.Leaf.SerialNumber.Cmp(cert.Leaf.SerialNumber) == 0 || key.Equal(other.PrivateKey) {
			t.Error("two certificates have the same number or key")
		}
	}
	if _, err := SelfSigned("bücher.example"); err == nil || !strings.HasPrefix(err.Error(), `certs: no certificate for ["bücher.example"]: x509: `) {
		t.Error(err)
	}
}
