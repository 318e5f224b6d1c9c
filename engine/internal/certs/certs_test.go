package certs

import (
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine/internal/certs/certstest"
)

// A fixture is files that are loaded, with a clock that a test advances.
type fixture struct {
	*Files
	t       testing.TB
	ca      *certstest.CA
	dir     string
	first   tls.Certificate
	elapsed atomic.Int64 // nanoseconds
	errs    []error      // what was logged
}

func load(t testing.TB) *fixture {
	t.Helper()
	x := &fixture{t: t, ca: certstest.New(t), dir: t.TempDir()}
	x.first = x.ca.Server("localhost")
	certFile, keyFile := x.ca.Write(x.dir, x.first)
	x.open(certFile, keyFile)
	x.serves(x.first, 0)
	return x
}

func (x *fixture) open(certFile, keyFile string) {
	x.t.Helper()
	f, err := Load(certFile, keyFile, func(err error) { x.errs = append(x.errs, err) })
	check(x.t, err)
	x.elapsed.Store(0)
	start := f.looked
	f.now = func() time.Time { return start.Add(time.Duration(x.elapsed.Load())) }
	x.Files = f
}

// serves advances the clock a second, and says what must be served then, after
// how many errors in all.
func (x *fixture) serves(want tls.Certificate, errs int) {
	x.t.Helper()
	x.elapsed.Add(int64(time.Second))
	x.served(want, errs)
}

func (x *fixture) served(want tls.Certificate, errs int) {
	x.t.Helper()
	got, err := x.Get(nil)
	check(x.t, err)
	if !got.Leaf.Equal(want.Leaf) || !want.PrivateKey.(*ecdsa.PrivateKey).Equal(got.PrivateKey) {
		x.t.Fatal("another pair is served")
	}
	if len(x.errs) != errs {
		x.t.Fatalf("%d errors were logged, and not %d: %q", len(x.errs), errs, x.errs)
	}
}

// beside writes a pair into another directory.
func (x *fixture) beside(c tls.Certificate) (certFile, keyFile string) {
	x.t.Helper()
	return x.ca.Write(x.t.TempDir(), c)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, file, content string) {
	t.Helper()
	check(t, os.WriteFile(file, []byte(content), 0o600))
}

func TestLoadFails(t *testing.T) {
	ca := certstest.New(t)
	dir := t.TempDir()
	certFile, keyFile := ca.Write(dir, ca.Server("localhost"))
	_, otherKey := ca.Write(t.TempDir(), ca.Server("localhost"))
	expired, expiredKey := ca.Write(t.TempDir(), ca.Expired("localhost"))
	text, badCert, badKey, missing := filepath.Join(dir, "text"), filepath.Join(dir, "bad-cert"), filepath.Join(dir, "bad-key"), filepath.Join(dir, "missing")
	write(t, text, "certificate")
	write(t, badCert, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
	write(t, badKey, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
	for name, c := range map[string]struct {
		cert, key string
		want      []string // parts of the error
	}{
		"no certificate":     {missing, keyFile, []string{missing, "certificate must be a file that this process may read"}},
		"no key":             {certFile, missing, []string{missing, "private key must be a file that this process may read"}},
		"a directory":        {dir, keyFile, []string{dir, "certificate must be a file"}},
		"text":               {text, keyFile, []string{text, "certificate input", "must have the certificate in PEM"}},
		"text for a key":     {certFile, text, []string{text, "key input", "its private key, not encrypted"}},
		"a bad certificate":  {badCert, keyFile, []string{badCert, "x509", "must have the certificate in PEM"}},
		"a bad key":          {certFile, badKey, []string{badKey, "parse private key", "its private key, not encrypted"}},
		"another key":        {certFile, otherKey, []string{certFile, otherKey, "does not match"}},
		"the wrong order":    {keyFile, certFile, []string{certFile, keyFile, "may have been switched"}},
		"an old certificate": {expired, expiredKey, []string{expired, "expired on", "renew it and replace the file"}},
	} {
		f, err := Load(c.cert, c.key, func(err error) { t.Errorf("%s: logged: %v", name, err) })
		if f != nil || err == nil {
			t.Errorf("%s: %v, %v", name, f, err)
			continue
		}
		for _, part := range append(c.want, "certs: ") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %q does not say %q", name, err, part)
			}
		}
		if (c.cert == missing || c.key == missing) != errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v is fs.ErrNotExist, or should be", name, err)
		}
	}
}

func TestReplaced(t *testing.T) {
	x := load(t)
	second := x.ca.Server("localhost")
	x.ca.Write(x.dir, second)
	x.served(x.first, 0)
	x.elapsed.Add(int64(time.Second) - 1)
	x.served(x.first, 0)
	x.elapsed.Add(1)
	x.served(second, 0)
	third := x.ca.Server("localhost")
	x.ca.Write(x.dir, third)
	x.served(second, 0)
	x.serves(third, 0)
}

// Files that have not changed are not read again.
func TestUnchanged(t *testing.T) {
	x := load(t)
	x.open(x.certFile, x.keyFile)
	for want := x.pair.Load(); x.elapsed.Load() < int64(5*time.Second); {
		if x.serves(x.first, 0); x.pair.Load() != want {
			t.Fatal("the files were read again")
		}
	}
}

// A change while the files are read is seen at the next look.
func TestReplacedWhileRead(t *testing.T) {
	x := load(t)
	second, third := x.ca.Server("localhost"), x.ca.Server("localhost")
	x.ca.Write(x.dir, second)
	now, calls := x.now, 0
	x.now = func() time.Time {
		if calls++; calls == 2 { // the first is before the look, the second after the reading
			x.ca.Write(x.dir, third)
		}
		return now()
	}
	x.serves(second, 0)
	x.serves(third, 0)
}

func TestExpiry(t *testing.T) {
	x := load(t)
	for _, c := range []tls.Certificate{x.first, x.ca.Client("later")} {
		x.ca.Write(x.dir, c)
		x.serves(c, 0)
		if got := x.Expiry(); !got.Equal(c.Leaf.NotAfter) {
			t.Errorf("Expiry is %v, and not %v", got, c.Leaf.NotAfter)
		}
	}
}

// One pair after the other cannot be used; each is logged once, and the next good
// one is served.
func TestBroken(t *testing.T) {
	x := load(t)
	certFile, keyFile := filepath.Join(x.dir, "cert.pem"), filepath.Join(x.dir, "key.pem")
	for i, c := range []struct {
		breakIt func()
		want    string
	}{
		{func() { write(t, certFile, "text") }, "certificate input"},
		{func() { write(t, keyFile, "text") }, "certificate input"},
		{func() { x.ca.Write(x.dir, x.ca.Expired("localhost")) }, "expired on"},
		{func() { check(t, os.Remove(keyFile)) }, keyFile},
		{func() { check(t, os.Remove(certFile)) }, certFile},
		{func() {
			_, other := x.beside(x.ca.Server("localhost"))
			x.ca.Write(x.dir, x.ca.Server("localhost"))
			check(t, os.Rename(other, keyFile))
		}, "does not match"},
	} {
		c.breakIt()
		x.served(x.first, i)
		for range 3 {
			x.serves(x.first, i+1)
		}
		if err := x.errs[i]; !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q does not say %q", err, c.want)
		}
	}
	second := x.ca.Server("localhost")
	x.ca.Write(x.dir, second)
	x.serves(second, 6)
	x.serves(second, 6)
}

// Whether a certificate has expired is asked when it is read.
func TestExpiredMeanwhile(t *testing.T) {
	x := load(t)
	x.elapsed.Add(int64(2 * time.Hour))
	x.serves(x.first, 0)
	x.ca.Write(x.dir, x.ca.Server("localhost"))
	x.serves(x.first, 1)
}

// Each of the two files may be replaced first.
func TestHalfReplaced(t *testing.T) {
	for _, first := range []string{"cert.pem", "key.pem"} {
		x := load(t)
		second := x.ca.Server("localhost")
		certFile, keyFile := x.beside(second)
		files := []string{certFile, keyFile}
		if first == "key.pem" {
			files = []string{keyFile, certFile}
		}
		check(t, os.Rename(files[0], filepath.Join(x.dir, first)))
		x.serves(x.first, 1)
		check(t, os.Rename(files[1], filepath.Join(x.dir, filepath.Base(files[1]))))
		x.served(x.first, 1)
		x.serves(second, 1)
	}
}

// The time, the size and the identity of a file each make a new state, alone.
func TestStates(t *testing.T) {
	x := load(t)
	for i, name := range []string{"cert.pem", "key.pem"} {
		file, then := filepath.Join(x.dir, name), time.Unix(1e9, 0)
		put := func(file, content string) {
			write(t, file, content)
			check(t, os.Chtimes(file, then, then))
		}
		put(file, "bad")
		x.serves(x.first, 4*i+1)
		put(file, "bad")
		x.serves(x.first, 4*i+1)
		put(file, "worse")
		x.serves(x.first, 4*i+2)
		then = then.Add(time.Second)
		put(file, "worse")
		x.serves(x.first, 4*i+3)
		put(file+".new", "worse")
		check(t, os.Rename(file+".new", file))
		x.serves(x.first, 4*i+4)
		x.serves(x.first, 4*i+4)
	}
}

// What keeps files from being read may go without a trace in their state, as
// when a process has all its descriptors in use.
func TestSameStateHeals(t *testing.T) {
	x := load(t)
	second := x.ca.Server("localhost")
	_, keyFile := x.ca.Write(x.dir, second)
	key, err := os.ReadFile(keyFile)
	check(t, err)
	then := time.Unix(1e9, 0)
	write(t, keyFile, strings.Repeat("x", len(key)))
	check(t, os.Chtimes(keyFile, then, then))
	x.serves(x.first, 1)
	write(t, keyFile, string(key))
	check(t, os.Chtimes(keyFile, then, then))
	x.serves(second, 1)
}

// While one caller looks, another one neither looks nor waits.
func TestOneLooks(t *testing.T) {
	x := load(t)
	x.log = func(err error) {
		x.errs = append(x.errs, err)
		if len(x.errs) == 1 {
			write(t, filepath.Join(x.dir, "cert.pem"), "worse")
			x.serves(x.first, 1)
		}
	}
	write(t, filepath.Join(x.dir, "cert.pem"), "bad")
	x.serves(x.first, 1)
	x.served(x.first, 2)
}

// Kubernetes replaces one symbolic link, through which both files are reached.
func TestLinkReplaced(t *testing.T) {
	x := load(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	swap := func(version string, c tls.Certificate) {
		check(t, os.Mkdir(at(version), 0o700))
		x.ca.Write(at(version), c)
		check(t, os.Symlink(version, at("..data_tmp")))
		check(t, os.Rename(at("..data_tmp"), at("..data")))
	}
	swap("..1", x.first)
	for _, name := range []string{"cert.pem", "key.pem"} {
		check(t, os.Symlink(filepath.Join("..data", name), at(name)))
	}
	x.open(at("cert.pem"), at("key.pem"))
	second := x.ca.Server("localhost")
	swap("..2", second)
	check(t, os.RemoveAll(at("..1")))
	x.served(x.first, 0)
	x.serves(second, 0)
	for i, name := range []string{"cert.pem", "key.pem"} {
		write(t, filepath.Join(at("..2"), name), "text")
		x.serves(second, i+1)
	}
}

// GODEBUG=x509keypairleaf=0 is the way of Go 1.22.
func TestNoLeaf(t *testing.T) {
	t.Setenv("GODEBUG", "x509keypairleaf=0")
	x := load(t)
	if got := x.Expiry(); !got.Equal(x.first.Leaf.NotAfter) {
		t.Error(got)
	}
}

func TestGetWhileReplaced(t *testing.T) {
	x := load(t)
	x.log = func(error) {} // half replaced pairs
	stop := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := x.Get(nil)
				if err != nil || !c.PrivateKey.(*ecdsa.PrivateKey).PublicKey.Equal(c.Leaf.PublicKey) || x.Expiry().IsZero() {
					t.Errorf("%v, or the key is another certificate's", err)
					return
				}
			}
		})
	}
	pairs := []tls.Certificate{x.first, x.ca.Server("localhost"), x.ca.Server("localhost")}
	for i := range 50 {
		x.elapsed.Add(int64(time.Second))
		x.ca.Write(x.dir, pairs[i%len(pairs)])
	}
	close(stop)
	callers.Wait()
	x.elapsed.Add(int64(time.Second))
	_, _ = x.Get(nil)
	last := x.ca.Server("localhost")
	x.ca.Write(x.dir, last)
	x.serves(last, 0)
}
