package token

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/big"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	jwksBytesMax = 1 << 20
	rsaBitsMin   = 2048 // RFC 7518 §3.3
	rsaBitsMax   = 8192
)

// collect takes the keys of a Config.
func (r *rule) collect(now func() time.Time) error {
	for kid, key := range r.cfg.Keys {
		if err := checkKey(key); err != nil {
			return fmt.Errorf("token: Config.Keys[%q]: %w", kid, err)
		}
		r.keys[kid] = key
	}
	if r.cfg.JWKS != nil {
		keys, err := parse(r.cfg.JWKS)
		if err == nil {
			err = disjoint(r.keys, keys)
		}
		if err != nil {
			return fmt.Errorf("token: Config.JWKS: %w", err)
		}
		maps.Copy(r.keys, keys)
	}
	if r.cfg.JWKSFile == "" {
		return nil
	}
	r.file = &keyFile{path: r.cfg.JWKSFile, others: r.keys, tell: r.cfg.FileError, now: now, looked: now()}
	r.file.seen, _ = os.Stat(r.file.path) // read tells the error
	return r.file.read()
}

// disjoint fails if a kid is in both.
func disjoint(a, b map[string]crypto.PublicKey) error {
	for kid := range b {
		if a[kid] != nil {
			return fmt.Errorf("the kid %q is there twice", kid)
		}
	}
	return nil
}

// checkKey says whether a key is one that RS256 or ES256 may use.
func checkKey(key crypto.PublicKey) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key == nil || key.N == nil || key.N.BitLen() < rsaBitsMin || key.N.BitLen() > rsaBitsMax {
			return fmt.Errorf("an RSA key must have %d to %d bits", rsaBitsMin, rsaBitsMax)
		}
		if key.E < 3 || key.E%2 == 0 {
			return errors.New("the exponent of an RSA key must be odd, and at least 3")
		}
	case *ecdsa.PublicKey:
		if key == nil || key.Curve != elliptic.P256() {
			return errors.New("an ECDSA key must be on the curve P-256")
		}
		if _, err := key.Bytes(); err != nil {
			return err
		}
	default:
		return fmt.Errorf("it is a %T: it must be an *rsa.PublicKey or an *ecdsa.PublicKey", key)
	}
	return nil
}

// key implements jwt.Keyfunc.
func (r *rule) key(t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok { // RFC 7515 §4.1.11
		return nil, refuse(ErrMalformed, "its header demands what is not understood (crit)")
	}
	alg := t.Method.Alg()
	switch {
	case alg == "HS256" && len(r.cfg.Secret) > 0:
		return r.cfg.Secret, nil
	case alg != "RS256" && alg != "ES256", len(r.keys) == 0 && r.file == nil:
		return nil, refuse(ErrAlgorithm, "%s", alg)
	}
	kid, ok := t.Header["kid"].(string)
	if !ok && t.Header["kid"] != nil {
		return nil, refuse(ErrMalformed, "its kid is no string")
	}
	key := r.keys[kid]
	if key == nil && r.file != nil {
		key = r.file.get()[kid]
	}
	switch key.(type) {
	case nil:
		return nil, refuse(ErrKey, "no key has the kid %q", kid)
	case *rsa.PublicKey:
		ok = alg == "RS256"
	case *ecdsa.PublicKey:
		ok = alg == "ES256"
	}
	if !ok {
		return nil, refuse(ErrAlgorithm, "the key with the kid %q is not for %s", kid, alg)
	}
	return key, nil
}

// jwk is a JSON Web Key (RFC 7517 §4, RFC 7518 §6).
type jwk struct {
	Kid     string   `json:"kid"`
	Kty     string   `json:"kty"`
	Use     string   `json:"use"`
	Alg     string   `json:"alg"`
	Ops     []string `json:"key_ops"`
	Curve   string   `json:"crv"`
	N       string   `json:"n"`
	E       string   `json:"e"`
	X       string   `json:"x"`
	Y       string   `json:"y"`
	Private any      `json:"d"`
}

// parse reads a set of keys.
func parse(text []byte) (map[string]crypto.PublicKey, error) {
	if len(text) > jwksBytesMax {
		return nil, fmt.Errorf("a set of keys has at most %d bytes", jwksBytesMax)
	}
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("%w: it must be a JSON Web Key Set", err)
	}
	keys := map[string]crypto.PublicKey{}
	for _, k := range set.Keys {
		if !k.ours() {
			continue
		}
		key, err := k.public()
		if err == nil {
			err = checkKey(key)
		}
		if err == nil {
			err = disjoint(keys, map[string]crypto.PublicKey{k.Kid: key})
		}
		if err != nil {
			return nil, fmt.Errorf("the key with the kid %q: %w", k.Kid, err)
		}
		keys[k.Kid] = key
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key for RS256 or ES256")
	}
	return keys, nil
}

// ours reports whether a key is for what we verify.
func (k *jwk) ours() bool {
	return (k.Kty == "RSA" && (k.Alg == "" || k.Alg == "RS256") || k.Kty == "EC" && k.Curve == "P-256" && (k.Alg == "" || k.Alg == "ES256")) &&
		(k.Use == "" || k.Use == "sig") && (k.Ops == nil || slices.Contains(k.Ops, "verify"))
}

func (k *jwk) public() (crypto.PublicKey, error) {
	if k.Private != nil {
		return nil, errors.New("it is a private key: a set for verification has public ones only")
	}
	if k.Kty == "RSA" {
		n, e, err := decode(k.N, k.E)
		if err != nil {
			return nil, err
		}
		if len(e) > 4 {
			return nil, errors.New("its exponent is too large")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, nil
	}
	x, y, err := decode(k.X, k.Y)
	if err != nil {
		return nil, err
	}
	if len(x) != 32 || len(y) != 32 {
		return nil, errors.New("its x and y must have 32 bytes each")
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), bytes.Join([][]byte{{4}, x, y}, nil))
}

func decode(a, b string) (da, db []byte, err error) {
	if da, err = base64.RawURLEncoding.DecodeString(a); err == nil {
		db, err = base64.RawURLEncoding.DecodeString(b)
	}
	return da, db, err
}

// lookEvery is the least time between two looks at a file.
const lookEvery = time.Second

// keyFile is a set of keys in a file.
type keyFile struct {
	path   string
	others map[string]crypto.PublicKey // have none of its kids
	tell   func(error)
	now    func() time.Time
	keys   atomic.Pointer[map[string]crypto.PublicKey]

	mu     sync.Mutex // who has it may look; nobody waits for it
	looked time.Time
	seen   os.FileInfo // nil: no file
	failed bool        // what was seen could not be used
}

// get returns the keys. At most once a second, one caller looks whether the file has changed.
func (f *keyFile) get() map[string]crypto.PublicKey {
	if f.mu.TryLock() {
		defer f.mu.Unlock()
		if t := f.now(); t.Sub(f.looked) >= lookEvery {
			f.looked = t
			f.look()
		}
	}
	return *f.keys.Load()
}

// look asks the system before it reads, so that a change in between is seen at the next look. A file that could
// not be used is read at each look: what prevents it may be something else than its content.
func (f *keyFile) look() {
	seen, _ := os.Stat(f.path)
	changed := !same(seen, f.seen)
	if !changed && !f.failed {
		return
	}
	f.seen = seen
	err := f.read()
	if f.failed = err != nil; f.failed && changed && f.tell != nil {
		f.tell(err)
	}
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

func (f *keyFile) read() error {
	keys, err := f.load()
	if err != nil {
		return fmt.Errorf("token: Config.JWKSFile %s: %w", f.path, err)
	}
	f.keys.Store(&keys)
	return nil
}

func (f *keyFile) load() (map[string]crypto.PublicKey, error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, jwksBytesMax+1))
	if err != nil {
		return nil, err
	}
	keys, err := parse(text)
	if err != nil {
		return nil, err
	}
	return keys, disjoint(f.others, keys)
}
