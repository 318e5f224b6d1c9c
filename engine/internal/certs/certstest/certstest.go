// Package certstest makes certificates for tests: an authority, and what it signs.
package certstest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A CA signs certificates. All keys are ECDSA, P-256. Its methods end the test
// when something fails, so only the test's own goroutine may call them.
type CA struct {
	t    testing.TB
	cert tls.Certificate
}

// New makes a CA that nothing else trusts.
func New(t testing.TB) *CA {
	t.Helper()
	ca := &CA{t: t}
	ca.cert = ca.sign(&x509.Certificate{
		Subject:  pkix.Name{CommonName: "certstest"},
		NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageCertSign,
		IsCA:     true,
	})
	return ca
}

// Pool returns a new pool that has the CA alone.
func (ca *CA) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(ca.cert.Leaf)
	return p
}

// Server returns a certificate of a server with these DNS names and IP addresses.
// It is valid for an hour.
func (ca *CA) Server(names ...string) tls.Certificate {
	ca.t.Helper()
	return ca.server(time.Now().Add(time.Hour), names)
}

// Expired is Server, but the certificate expired an hour ago.
func (ca *CA) Expired(names ...string) tls.Certificate {
	ca.t.Helper()
	return ca.server(time.Now().Add(-time.Hour), names)
}

// Client returns a certificate of a client with this common name. It is valid for
// an hour.
func (ca *CA) Client(name string) tls.Certificate {
	ca.t.Helper()
	return ca.sign(&x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		NotAfter:    time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// Write writes the certificate and its key into dir as cert.pem and key.pem.
// Files that are there are replaced by renames, the certificate first.
func (ca *CA) Write(dir string, cert tls.Certificate) (certFile, keyFile string) {
	ca.t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	ca.check(err)
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca.replace(certFile, "CERTIFICATE", cert.Certificate[0])
	ca.replace(keyFile, "PRIVATE KEY", key)
	return certFile, keyFile
}

func (ca *CA) replace(file, kind string, der []byte) {
	ca.t.Helper()
	ca.check(os.WriteFile(file+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	ca.check(os.Rename(file+".new", file))
}

func (ca *CA) server(end time.Time, names []string) tls.Certificate {
	ca.t.Helper()
	template := &x509.Certificate{
		NotAfter:    end,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	return ca.sign(template)
}

// sign makes a key and its certificate. The first one is the CA's own.
func (ca *CA) sign(template *x509.Certificate) tls.Certificate {
	ca.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ca.check(err)
	issuer, signer := ca.cert.Leaf, ca.cert.PrivateKey
	if issuer == nil {
		issuer, signer = template, key
	}
	template.NotBefore, template.BasicConstraintsValid = time.Now().Add(-2*time.Hour), true
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	ca.check(err)
	leaf, err := x509.ParseCertificate(der)
	ca.check(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (ca *CA) check(err error) {
	if err != nil {
		ca.t.Helper()
		ca.t.Fatal(err)
	}
}
