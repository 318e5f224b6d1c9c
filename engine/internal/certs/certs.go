// Package certs has the certificates that a server shows: one from two files, read
// again when they change, or one made on the spot. It starts no goroutine and no
// timer.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// lookEvery is the least time between two looks at the files.
const lookEvery = time.Second

// Files is a certificate and its private key, from two PEM files. Any goroutine
// may call its methods at any time.
type Files struct {
	certFile, keyFile string
	log               func(error)
	now               func() time.Time
	pair              atomic.Pointer[tls.Certificate] // its Leaf is set

	mu     sync.Mutex // who has it may look; nobody waits for it
	looked time.Time
	seen   state
	failed bool // the files that were seen could not be used
}

// Load reads the files. It fails if one cannot be read or is not valid PEM, if
// they do not belong together, or if the certificate has expired; the error names
// the file and says what to do. A file may also be a symbolic link.
//
// Afterwards log, which must not be nil, is called once for each change of the
// files that leaves them unfit for use, on the goroutine that called Get.
func Load(certFile, keyFile string, log func(error)) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, log: log, now: time.Now}
	f.looked = f.now()
	f.seen = f.stat()
	if err := f.read(); err != nil {
		return nil, err
	}
	return f, nil
}

// Get returns the present pair. It has the form of the function that a tls.Config
// calls in each handshake, never fails, and never waits for another caller. The
// caller must not change what it gets.
//
// At most once a second, one caller looks whether the files have changed, and
// reads them if so; meanwhile the others get the present pair. While the files
// cannot be used, they are read again at each look, because what prevents it may
// be something else than their content, and the present pair remains. So it does
// not matter which of the two files is replaced first.
func (f *Files) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if f.mu.TryLock() {
		defer f.mu.Unlock()
		if t := f.now(); t.Sub(f.looked) >= lookEvery {
			f.looked = t
			f.look()
		}
	}
	return f.pair.Load(), nil
}

// Expiry returns when the present certificate expires. It does not look at the
// files.
func (f *Files) Expiry() time.Time { return f.pair.Load().Leaf.NotAfter }

// look stats before it reads, so that a change in between is seen at the next
// look.
func (f *Files) look() {
	seen := f.stat()
	changed := !seen.same(f.seen)
	if !changed && !f.failed {
		return
	}
	f.seen = seen
	err := f.read()
	if f.failed = err != nil; f.failed && changed {
		f.log(err)
	}
}

// read makes what the files have now the present pair, if it can be used.
func (f *Files) read() error {
	cert, err := os.ReadFile(f.certFile)
	if err != nil {
		return fmt.Errorf("certs: %w: the certificate must be a file that this process may read", err)
	}
	key, err := os.ReadFile(f.keyFile)
	if err != nil {
		return fmt.Errorf("certs: %w: the private key must be a file that this process may read", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err == nil { // GODEBUG can keep X509KeyPair from setting Leaf
		pair.Leaf, err = x509.ParseCertificate(pair.Certificate[0])
	}
	if err != nil {
		return fmt.Errorf("certs: %w: %s must have the certificate in PEM, before those of its issuers, and %s its private key, not encrypted",
			err, f.certFile, f.keyFile)
	}
	if end := pair.Leaf.NotAfter; f.now().After(end) {
		return fmt.Errorf("certs: the certificate in %s expired on %v: renew it and replace the file", f.certFile, end)
	}
	f.pair.Store(&pair)
	return nil
}

// A state is what os.Stat says about both files, nil for one that it cannot find.
type state [2]os.FileInfo

func (f *Files) stat() (s state) {
	s[0], _ = os.Stat(f.certFile) // read tells the error
	s[1], _ = os.Stat(f.keyFile)
	return s
}

func (s state) same(other state) bool {
	for i, a := range s {
		b := other[i]
		if (a == nil) != (b == nil) {
			return false
		}
		if a != nil && !(os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())) {
			return false
		}
	}
	return true
}
