package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func keysOf(private map[string]crypto.Signer) map[string]crypto.PublicKey {
	keys := map[string]crypto.PublicKey{}
	for kid, k := range private {
		keys[kid] = k.Public()
	}
	return keys
}

// entry is a key as a JWKS has it; more is added to it, or replaces what it has.
func entry(t testing.TB, kid string, key crypto.PublicKey, more m) m {
	t.Helper()
	e := m{"kid": kid}
	switch key := key.(type) {
	case *rsa.PublicKey:
		e["kty"], e["n"], e["e"] = "RSA", b64(key.N.Bytes()), b64(big.NewInt(int64(key.E)).Bytes())
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		half := len(point) / 2
		e["kty"], e["crv"], e["x"], e["y"] = "EC", key.Curve.Params().Name, b64(point[1:1+half]), b64(point[1+half:])
	}
	for name, v := range more {
		e[name] = v
	}
	return e
}

func set(entries ...m) []byte {
	text, err := json.Marshal(m{"keys": entries})
	if err != nil {
		panic(err)
	}
	return text
}

func TestSetOfKeys(t *testing.T) {
	rs, es := &rsaA().PublicKey, &ecA().PublicKey
	cfg := Config{
		Keys: map[string]crypto.PublicKey{"k": &ecB().PublicKey},
		JWKS: set(
			entry(t, "r", rs, m{"alg": "RS256", "use": "sig", "key_ops": []string{"verify"}, "x5t": "unknown"}),
			entry(t, "e", es, m{"alg": "ES256"}),
			entry(t, "", &rsaB().PublicKey, nil),
			entry(t, "encrypts", rs, m{"use": "enc"}), entry(t, "other", rs, m{"alg": "RS512"}), entry(t, "signs", rs, m{"key_ops": []string{"sign"}}),
			entry(t, "p384", &ecKey(elliptic.P384())().PublicKey, nil),
			m{"kid": "shared", "kty": "oct", "k": "c2VjcmV0"}, m{"kid": "ed", "kty": "OKP", "crv": "Ed25519"},
		),
	}
	v := verifier(t, cfg)
	good := map[string]string{
		"r": sign(t, jwt.SigningMethodRS256, rsaA(), "r", m{}), "e": sign(t, jwt.SigningMethodES256, ecA(), "e", m{}),
		"k": sign(t, jwt.SigningMethodES256, ecB(), "k", m{}), "none": sign(t, jwt.SigningMethodRS256, rsaB(), nil, m{}),
	}
	for kid, token := range good {
		if _, err := v.Connect(token); err != nil {
			t.Errorf("%s: %v", kid, err)
		}
	}
	for _, kid := range []string{"encrypts", "other", "signs", "p384", "shared", "ed"} {
		_, err := v.Connect(sign(t, jwt.SigningMethodRS256, rsaA(), kid, m{}))
		fails(t, kid, err, ErrKey)
	}

	// Rotation: e goes, n comes, r stays.
	if err := v.Set(Config{JWKS: set(entry(t, "r", rs, nil), entry(t, "n", &ecB().PublicKey, nil))}); err != nil {
		t.Fatal(err)
	}
	for kid, token := range map[string]string{"r": good["r"], "n": sign(t, jwt.SigningMethodES256, ecB(), "n", m{})} {
		if _, err := v.Connect(token); err != nil {
			t.Errorf("%s: %v", kid, err)
		}
	}
	_, err := v.Connect(good["e"])
	fails(t, "a key that was taken away", err, ErrKey)

	if err := v.Set(Config{}); err == nil {
		t.Error("Set has taken a Config without keys")
	}
	if _, err := v.Connect(good["r"]); err != nil {
		t.Errorf("after a Set that failed: %v", err)
	}
}

func TestConfigErrors(t *testing.T) {
	rs, es := &rsaA().PublicKey, &ecA().PublicKey
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing")
	for _, c := range []struct {
		cfg  Config
		want string
	}{
		{Config{}, "neither Secret nor Keys"},
		{Config{Secret: []byte{}}, "neither Secret nor Keys"},
		{Config{Secret: secret, Leeway: -1}, "Config.Leeway is -1ns"},
		{Config{Secret: secret, BytesMax: -1}, "Config.BytesMax is -1"},
		{Config{Keys: map[string]crypto.PublicKey{"a": secret}}, `Config.Keys["a"]: it is a []uint8`},
		{Config{Keys: map[string]crypto.PublicKey{"a": rsaA()}}, "it is a *rsa.PrivateKey"},
		{Config{Keys: map[string]crypto.PublicKey{"a": (*rsa.PublicKey)(nil)}}, "2048 to 8192 bits"},
		{Config{Keys: map[string]crypto.PublicKey{"a": &weak.PublicKey}}, "2048 to 8192 bits"},
		{Config{Keys: map[string]crypto.PublicKey{"a": &rsa.PublicKey{N: new(big.Int).Lsh(rs.N, 8192), E: rs.E}}}, "2048 to 8192 bits"},
		{Config{Keys: map[string]crypto.PublicKey{"a": &rsa.PublicKey{N: rs.N, E: 1}}}, "must be odd, and at least 3"},
		{Config{Keys: map[string]crypto.PublicKey{"a": (*ecdsa.PublicKey)(nil)}}, "on the curve P-256"},
		{Config{Keys: map[string]crypto.PublicKey{"a": &ecKey(elliptic.P384())().PublicKey}}, "on the curve P-256"},
		{Config{JWKS: []byte("{}")}, "it has no key for RS256 or ES256"},
		{Config{JWKS: []byte{}}, "must be a JSON Web Key Set"},
		{Config{JWKS: []byte("[]")}, "must be a JSON Web Key Set"},
		{Config{JWKS: make([]byte, jwksBytesMax+1)}, "at most 1048576 bytes"},
		{Config{JWKS: set(entry(t, "a", rs, m{"d": "AQAB"}))}, `Config.JWKS: the key with the kid "a": it is a private key`},
		{Config{JWKS: set(entry(t, "a", rs, m{"n": "!"}))}, "illegal base64"},
		{Config{JWKS: set(entry(t, "a", rs, m{"e": "AQAAAAE"}))}, "exponent is too large"},
		{Config{JWKS: set(entry(t, "a", rs, m{"e": ""}))}, "must be odd, and at least 3"},
		{Config{JWKS: set(entry(t, "a", &weak.PublicKey, nil))}, "2048 to 8192 bits"},
		{Config{JWKS: set(entry(t, "a", es, m{"x": "AQ"}))}, "32 bytes each"},
		{Config{JWKS: set(entry(t, "a", es, m{"x": b64(make([]byte, 32))}))}, "the key with the kid \"a\": "},
		{Config{JWKS: set(entry(t, "a", rs, nil), entry(t, "a", es, nil))}, `the kid "a" is there twice`},
		{Config{Keys: map[string]crypto.PublicKey{"a": es}, JWKS: set(entry(t, "a", rs, nil))}, `Config.JWKS: the kid "a" is there twice`},
		{Config{JWKSFile: missing}, "Config.JWKSFile " + missing},
		{Config{JWKSFile: dir}, "Config.JWKSFile " + dir},
	} {
		if _, err := New(c.cfg); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, and not %s", err, c.want)
		}
	}
}

// TestFile replaces the file in the ways that programs do.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	var version int64
	write := func(text []byte) { // as rename does it, at a time of its own
		t.Helper()
		version++
		next := path + ".new"
		err := errors.Join(os.WriteFile(next, text, 0o600), os.Chtimes(next, time.Time{}, time.Unix(version, 0)), os.Rename(next, path))
		if err != nil {
			t.Fatal(err)
		}
	}
	clock := start
	var told []error
	cfg := Config{JWKSFile: path, Keys: map[string]crypto.PublicKey{"fixed": &rsaB().PublicKey}, FileError: func(err error) { told = append(told, err) }}
	write(set(entry(t, "a", &ecA().PublicKey, nil)))
	v, err := open(cfg, func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	a, b, fixed := sign(t, jwt.SigningMethodES256, ecA(), "a", m{}), sign(t, jwt.SigningMethodES256, ecB(), "b", m{}), sign(t, jwt.SigningMethodRS256, rsaB(), "fixed", m{})
	after := func(name string, d time.Duration, errA, errB error, toldWant int) {
		t.Helper()
		clock = clock.Add(d)
		for token, want := range map[string]error{a: errA, b: errB, fixed: nil} {
			if _, err := v.Connect(token); !errors.Is(err, want) {
				t.Errorf("%s: %v, and not %v", name, err, want)
			}
		}
		if len(told) != toldWant {
			t.Errorf("%s: told %v", name, told)
		}
	}
	after("as it was", time.Hour, nil, ErrKey, 0)
	write(set(entry(t, "b", &ecB().PublicKey, nil)))
	after("before a second is over", lookEvery-1, nil, ErrKey, 0)
	after("replaced", 1, ErrKey, nil, 0)
	write(set(entry(t, "a", &ecA().PublicKey, nil), entry(t, "b", &ecB().PublicKey, nil)))
	after("with both", lookEvery, nil, nil, 0)
	write([]byte(`{"keys":[`))
	after("broken", lookEvery, nil, nil, 1)
	after("still broken", lookEvery, nil, nil, 1)
	write(set(entry(t, "fixed", &ecA().PublicKey, nil)))
	after("with a kid that is in Keys", lookEvery, nil, nil, 2)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	after("removed", lookEvery, nil, nil, 3)
	write(set(entry(t, "a", &ecA().PublicKey, nil)))
	after("there again", lookEvery, nil, ErrKey, 3)
	text := set(entry(t, "b", &ecB().PublicKey, nil))
	if err := errors.Join(os.WriteFile(path, text, 0o600), os.Chtimes(path, time.Time{}, time.Unix(100, 0))); err != nil {
		t.Fatal(err)
	}
	after("written in place, with the same size", lookEvery, ErrKey, nil, 3)
	write(set(entry(t, "a", &ecA().PublicKey, nil)))
	f := v.rule.Load().file
	f.seen, err = os.Stat(path)
	f.failed = err == nil
	after("as if it could not be read when it was replaced", lookEvery, nil, ErrKey, 3)
	if len(told) == 3 && (!strings.Contains(told[0].Error(), path) || !errors.Is(told[2], os.ErrNotExist)) {
		t.Errorf("told %v", told)
	}
	cfg.FileError = nil
	if err := v.Set(cfg); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	after("removed, and nobody is told", lookEvery, nil, ErrKey, 3)
}

// TestRotationWhileVerifying: a key that is in every set is never unknown.
func TestRotationWhileVerifying(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	always, other := entry(t, "always", &ecA().PublicKey, nil), entry(t, "other", &ecB().PublicKey, nil)
	if err := os.WriteFile(path, set(always), 0o600); err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	clock := start
	v, err := open(Config{JWKSFile: path}, func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		clock = clock.Add(lookEvery) // each verification looks
		return clock
	})
	if err != nil {
		t.Fatal(err)
	}
	token := sign(t, jwt.SigningMethodES256, ecA(), "always", m{})
	var all sync.WaitGroup
	for n := range 4 {
		all.Go(func() {
			for i := range 50 {
				if _, err := v.Connect(token); err != nil {
					t.Error(err)
				}
				if n == 0 {
					next := path + ".new"
					if err := errors.Join(os.WriteFile(next, set(always, other), 0o600), os.Rename(next, path)); err != nil {
						t.Error(err)
					}
				}
				if n == 1 && i%10 == 0 {
					if err := v.Set([]Config{{JWKSFile: path}, {JWKS: set(always)}}[i/10%2]); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	all.Wait()
}
