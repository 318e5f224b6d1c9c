package certstest

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"path/filepath"
	"testing"
)

// handshake returns what each side says of the other.
func handshake(t *testing.T, client, server *tls.Config) (clientErr, serverErr error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", server)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			defer c.Close()
			_, err = c.Write([]byte("ok"))
		}
		done <- err
	}()
	c, clientErr := tls.Dial("tcp", l.Addr().String(), client)
	if clientErr == nil {
		defer c.Close()
		_, clientErr = c.Read(make([]byte, 2))
	}
	return clientErr, <-done
}

func TestHandshakes(t *testing.T) {
	ca, other := New(t), New(t)
	server, client := ca.Server("localhost", "127.0.0.1"), ca.Client("alice")
	var hostname x509.HostnameError
	var authority x509.UnknownAuthorityError
	for name, c := range map[string]struct {
		server, client         tls.Certificate
		host                   string
		serverFault, peerFault any // what errors.As finds, nil for no error
		reason                 x509.InvalidReason
	}{
		"valid":                    {server, client, "localhost", nil, nil, 0},
		"by address":               {server, client, "127.0.0.1", nil, nil, 0},
		"another name":             {server, client, "example", &hostname, nil, 0},
		"expired":                  {ca.Expired("localhost"), client, "localhost", new(x509.CertificateInvalidError), nil, x509.Expired},
		"another CA":               {other.Server("localhost"), client, "localhost", &authority, nil, 0},
		"a server's for a client":  {server, server, "localhost", nil, new(x509.CertificateInvalidError), x509.IncompatibleUsage},
		"a client's of another CA": {server, other.Client("alice"), "localhost", nil, &authority, 0},
	} {
		var common string
		clientErr, serverErr := handshake(t,
			&tls.Config{RootCAs: ca.Pool(), ServerName: c.host, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.client, nil }},
			&tls.Config{Certificates: []tls.Certificate{c.server}, ClientCAs: ca.Pool(), ClientAuth: tls.RequireAndVerifyClientCert,
				VerifyConnection: func(s tls.ConnectionState) error {
					common = s.PeerCertificates[0].Subject.CommonName
					return nil
				}})
		err, want := clientErr, c.serverFault
		if c.peerFault != nil {
			err, want = serverErr, c.peerFault
		}
		if want == nil {
			if clientErr != nil || serverErr != nil || common != "alice" {
				t.Errorf("%s: %v, %v, %q", name, clientErr, serverErr, common)
			}
			continue
		}
		if !errors.As(err, want) {
			t.Errorf("%s: %v", name, err)
		}
		if invalid, ok := want.(*x509.CertificateInvalidError); ok && invalid.Reason != c.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestClientIsNoServer(t *testing.T) {
	ca := New(t)
	_, err := ca.Client("alice").Leaf.Verify(x509.VerifyOptions{Roots: ca.Pool()}) // as a server, unless asked otherwise
	var invalid x509.CertificateInvalidError
	if !errors.As(err, &invalid) || invalid.Reason != x509.IncompatibleUsage {
		t.Error(err)
	}
}

func TestWrite(t *testing.T) {
	ca, dir := New(t), t.TempDir()
	for range 2 { // the second pair replaces the first one
		want := ca.Server("localhost")
		certFile, keyFile := ca.Write(dir, want)
		got, err := tls.LoadX509KeyPair(certFile, keyFile)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(got.Certificate[0])
		if err != nil || !leaf.Equal(want.Leaf) {
			t.Errorf("another certificate is in the file; %v", err)
		}
		if certFile != filepath.Join(dir, "cert.pem") || keyFile != filepath.Join(dir, "key.pem") {
			t.Error(certFile, keyFile)
		}
	}
	if files, err := filepath.Glob(filepath.Join(dir, "*")); err != nil || len(files) != 2 {
		t.Errorf("%q, %v", files, err)
	}
}
