package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

type m = jwt.MapClaims

var (
	secret = []byte("s3cret")
	start  = time.Unix(1_900_000_000, 0)
	now    = func() time.Time { return start }
	b64    = base64.RawURLEncoding.EncodeToString

	// Keys of the backend; rsaA and rsaB are two of the same kind.
	rsaA, rsaB = rsaKey(), rsaKey()
	ecA, ecB   = ecKey(elliptic.P256()), ecKey(elliptic.P256())
)

func rsaKey() func() *rsa.PrivateKey {
	return sync.OnceValue(func() *rsa.PrivateKey {
		k, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		return k
	})
}

func ecKey(curve elliptic.Curve) func() *ecdsa.PrivateKey {
	return sync.OnceValue(func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			panic(err)
		}
		return k
	})
}

// sign makes a token as a backend does.
func sign(t testing.TB, method jwt.SigningMethod, key any, kid any, c m) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	if kid != nil {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func hs(t testing.TB, c m) string {
	t.Helper()
	return sign(t, jwt.SigningMethodHS256, secret, nil, c)
}

// byHand signs any text with the secret.
func byHand(header, payload string) string {
	text := b64([]byte(header)) + "." + b64([]byte(payload))
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(text))
	return text + "." + b64(mac.Sum(nil))
}

func verifier(t testing.TB, cfg Config) *Verifier {
	t.Helper()
	v, err := open(cfg, now)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// kinds are all errors but ErrExpired and ErrInvalid.
var kinds = []error{ErrMalformed, ErrAlgorithm, ErrKey, ErrSignature, ErrClaims, ErrKind}

// fails checks that an error is want, and none of the others.
func fails(t *testing.T, name string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, and not %v", name, err, want)
		return
	}
	if errors.Is(err, ErrInvalid) == errors.Is(want, ErrExpired) {
		t.Errorf("%s: %v is both invalid and expired, or neither", name, err)
	}
	for _, k := range kinds {
		if !errors.Is(want, k) && errors.Is(err, k) {
			t.Errorf("%s: %v is also %v", name, err, k)
		}
	}
}

func TestConnect(t *testing.T) {
	v := verifier(t, Config{Secret: secret})
	c, err := v.Connect(hs(t, m{
		"sub": "anna", "exp": start.Unix() + 60, "iat": start.Unix() - 60, "jti": "1",
		"info": m{"name": "Anna"}, "meta": m{"plan": "free"},
		"channels": []string{"news", "both"},
		"subs":     m{"both": m{"info": m{"a": 1}, "data": []int{1, 2}}, "bin": m{"b64info": "AP8=", "b64data": "/wA=", "override": m{"force_recovery": m{"value": true}}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if c.User != "anna" || !c.Expire.Equal(start.Add(time.Minute)) || string(c.Info) != `{"name":"Anna"}` || string(c.Meta) != `{"plan":"free"}` {
		t.Errorf("%+v", c)
	}
	want := map[string]Sub{"news": {}, "both": {Info: []byte(`{"a":1}`), Data: []byte(`[1,2]`)}, "bin": {Info: []byte{0, 255}, Data: []byte{255, 0}}}
	if !maps.EqualFunc(c.Channels, want, func(a, b Sub) bool { return string(a.Info) == string(b.Info) && string(a.Data) == string(b.Data) }) {
		t.Errorf("channels %+v", c.Channels)
	}

	c, err = v.Connect(byHand(`{"alg":"HS256"}`, "{\"info\":{\n\"a\": 1}, \"b64info\":\"\", \"meta\":null, \"channel\":null}"))
	if err != nil || c.User != "" || !c.Expire.IsZero() || string(c.Info) != `{"a":1}` || c.Meta != nil || c.Channels != nil {
		t.Errorf("%+v, %v: info must be one line, and null is none", c, err)
	}
	if c, err = v.Connect(hs(t, m{"info": m{}, "b64info": "AQI="})); err != nil || string(c.Info) != "\x01\x02" {
		t.Errorf("%+v, %v: b64info goes before info", c, err)
	}
}

func TestSubscribe(t *testing.T) {
	v := verifier(t, Config{Secret: secret})
	s, err := v.Subscribe(hs(t, m{"channel": "$room", "sub": "anna", "client": "c1", "exp": start.Unix() + 60, "info": "x"}))
	if err != nil || s.Channel != "$room" || s.User != "anna" || s.Client != "c1" || string(s.Info) != `"x"` || !s.Expire.Equal(start.Add(time.Minute)) {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestKinds(t *testing.T) {
	v := verifier(t, Config{Secret: secret})
	connection, subscription := hs(t, m{"sub": "anna"}), hs(t, m{"sub": "anna", "channel": "news"})
	if _, err := v.Connect(connection); err != nil {
		t.Error(err)
	}
	if _, err := v.Subscribe(subscription); err != nil {
		t.Error(err)
	}
	_, err := v.Connect(subscription)
	fails(t, "a subscription token connects", err, ErrKind)
	_, err = v.Subscribe(connection)
	fails(t, "a connection token subscribes", err, ErrKind)
	empty := hs(t, m{"sub": "anna", "channel": ""})
	_, err = v.Connect(empty)
	fails(t, "an empty channel connects", err, ErrKind)
	_, err = v.Subscribe(empty)
	fails(t, "an empty channel subscribes", err, ErrKind)
	_, err = v.Connect(hs(t, m{"channel": "news", "exp": start.Unix() - 1}))
	fails(t, "an expired one of the other kind", err, ErrKind)
}

func TestTimes(t *testing.T) {
	at := start.Unix()
	for _, c := range []struct {
		name   string
		claims m
		leeway time.Duration
		err    error
		expire int64 // seconds from start; 0: never
	}{
		{"no exp", m{}, 0, nil, 0},
		{"exp now", m{"exp": at}, 0, ErrExpired, 0},
		{"exp in a second", m{"exp": at + 1}, 0, nil, 1},
		{"exp within the leeway", m{"exp": at - 9}, 10 * time.Second, nil, 1},
		{"exp before the leeway", m{"exp": at - 10}, 10 * time.Second, ErrExpired, 0},
		{"exp of 0", m{"exp": 0}, 0, ErrExpired, 0},
		{"exp with a fraction", m{"exp": float64(at) + 1.5}, 0, nil, 1},
		{"nbf now", m{"nbf": at}, 0, nil, 0},
		{"nbf in a second", m{"nbf": at + 1}, 0, ErrClaims, 0},
		{"nbf within the leeway", m{"nbf": at + 10}, 10 * time.Second, nil, 0},
		{"nbf behind the leeway", m{"nbf": at + 11}, 10 * time.Second, ErrClaims, 0},
		{"nbf and exp", m{"nbf": at + 1, "exp": at - 1}, 0, ErrClaims, 0},
		{"expire_at goes before exp", m{"exp": at + 1, "expire_at": at + 50}, 0, nil, 50},
		{"expire_at of 0", m{"exp": at + 1, "expire_at": 0}, 0, nil, 0},
		{"expire_at in the past", m{"exp": at + 1, "expire_at": at}, time.Minute, ErrExpired, 0},
		{"exp past in spite of expire_at", m{"exp": at - 1, "expire_at": at + 50}, 0, ErrExpired, 0},
		{"milliseconds", m{"exp": at * 1000}, 0, ErrMalformed, 0},
		{"too large", m{"exp": 1e300}, 0, ErrMalformed, 0},
		{"negative", m{"exp": -1}, 0, ErrMalformed, 0},
		{"text", m{"exp": "soon"}, 0, ErrMalformed, 0},
	} {
		v := verifier(t, Config{Secret: secret, Leeway: c.leeway})
		for kind := range 2 {
			var expire time.Time
			var err error
			if kind == 0 {
				var x Connect
				x, err = v.Connect(hs(t, c.claims))
				expire = x.Expire
			} else {
				c.claims["channel"] = "news"
				var x Subscribe
				x, err = v.Subscribe(hs(t, c.claims))
				expire = x.Expire
			}
			switch {
			case c.err != nil:
				fails(t, c.name, err, c.err)
			case err != nil:
				t.Errorf("%s: %v", c.name, err)
			case c.expire == 0 && !expire.IsZero(), c.expire != 0 && !expire.Equal(start.Add(time.Duration(c.expire)*time.Second)):
				t.Errorf("%s: expires at %v", c.name, expire)
			}
		}
	}
}

func TestAudienceAndIssuer(t *testing.T) {
	v := verifier(t, Config{Secret: secret, Audience: "chat", Issuer: "shop"})
	for _, c := range []struct {
		name   string
		claims m
		good   bool
	}{
		{"both", m{"aud": "chat", "iss": "shop"}, true},
		{"one of two", m{"aud": []string{"mail", "chat"}, "iss": "shop"}, true},
		{"no aud", m{"iss": "shop"}, false},
		{"another aud", m{"aud": "mail", "iss": "shop"}, false},
		{"no iss", m{"aud": "chat"}, false},
		{"another iss", m{"aud": "chat", "iss": "shop2"}, false},
		{"expired too", m{"aud": "mail", "iss": "shop", "exp": start.Unix() - 1}, false},
	} {
		_, err := v.Connect(hs(t, c.claims))
		if c.good && err != nil {
			t.Errorf("%s: %v", c.name, err)
		} else if !c.good {
			fails(t, c.name, err, ErrClaims)
		}
	}
}

func TestRefused(t *testing.T) {
	none := func(header string) string {
		return b64([]byte(header)) + "." + b64([]byte(`{"sub":"anna"}`)) + "."
	}
	unsigned := sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, nil, m{"sub": "anna"})
	// The public keys, which everybody may have, used as a secret.
	der, err := x509.MarshalPKIXPublicKey(&rsaA().PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	deep := func(n int) string {
		return byHand(`{"alg":"HS256"}`, `{"info":`+strings.Repeat("[", n)+strings.Repeat("]", n)+`}`)
	}
	v := verifier(t, Config{Secret: secret, Keys: keysOf(map[string]crypto.Signer{"a": rsaA(), "e": ecA()})})
	for _, good := range []string{deep(depthMax - 1), hs(t, m{"info": `"` + strings.Repeat("[", 50)}), hs(t, m{"info": make([]m, 50), "subs": m{"a": m{}, "b": m{}}, "meta": `\`}), byHand(`{"alg":"HS256"}`, `{"info":[`+strings.Repeat("{},", 50)+`{}]}`)} {
		if _, err := v.Connect(good); err != nil {
			t.Error(err)
		}
	}
	for _, c := range []struct {
		name, token string
		want        error
	}{
		{"alg none", unsigned, ErrAlgorithm},
		{"alg none with a signature", none(`{"alg":"none"}`) + "AAAA", ErrAlgorithm},
		{"alg None", none(`{"alg":"None"}`), ErrAlgorithm},
		{"alg empty", none(`{"alg":""}`), ErrAlgorithm},
		{"no alg", none(`{"typ":"JWT"}`), ErrAlgorithm},
		{"alg a number", none(`{"alg":5}`), ErrAlgorithm},
		{"HS384", sign(t, jwt.SigningMethodHS384, secret, nil, m{}), ErrAlgorithm},
		{"HS512", sign(t, jwt.SigningMethodHS512, secret, nil, m{}), ErrAlgorithm},
		{"RS512", sign(t, jwt.SigningMethodRS512, rsaA(), "a", m{}), ErrAlgorithm},
		{"PS256", sign(t, jwt.SigningMethodPS256, rsaA(), "a", m{}), ErrAlgorithm},
		{"RS256 with the key of ES256", sign(t, jwt.SigningMethodRS256, rsaA(), "e", m{}), ErrAlgorithm},
		{"ES256 with the key of RS256", sign(t, jwt.SigningMethodES256, ecA(), "a", m{}), ErrAlgorithm},
		{"HS256 by a public key", sign(t, jwt.SigningMethodHS256, der, "a", m{}), ErrSignature},
		{"another secret", sign(t, jwt.SigningMethodHS256, []byte("s3creu"), nil, m{}), ErrSignature},
		{"another RSA key", sign(t, jwt.SigningMethodRS256, rsaB(), "a", m{}), ErrSignature},
		{"another EC key", sign(t, jwt.SigningMethodES256, ecB(), "e", m{}), ErrSignature},
		{"expired and forged", sign(t, jwt.SigningMethodHS256, []byte("x"), nil, m{"exp": 1}), ErrSignature},
		{"unknown kid", sign(t, jwt.SigningMethodRS256, rsaA(), "b", m{}), ErrKey},
		{"no kid", sign(t, jwt.SigningMethodRS256, rsaA(), nil, m{}), ErrKey},
		{"kid a number", sign(t, jwt.SigningMethodRS256, rsaA(), 1, m{}), ErrMalformed},
		{"crit", byHand(`{"alg":"HS256","crit":["b64"],"b64":false}`, `{}`), ErrMalformed},
		{"empty", "", ErrMalformed},
		{"two parts", "a.b", ErrMalformed},
		{"four parts", hs(t, m{}) + ".", ErrMalformed},
		{"not base64", "!.e30.", ErrMalformed},
		{"header not JSON", "eyJ.e30.", ErrMalformed},
		{"header null", byHand("null", "{}"), ErrMalformed},
		{"claims null", byHand(`{"alg":"HS256"}`, "null"), ErrMalformed},
		{"claims an array", byHand(`{"alg":"HS256"}`, "[]"), ErrMalformed},
		{"claims cut short", byHand(`{"alg":"HS256"}`, `{"sub":"anna"`), ErrMalformed},
		{"not UTF-8", byHand(`{"alg":"HS256"}`, "{\"sub\":\"\xff\"}"), ErrMalformed},
		{"sub a number", hs(t, m{"sub": 42}), ErrMalformed},
		{"channels no list", hs(t, m{"channels": "news"}), ErrMalformed},
		{"subs a list", hs(t, m{"subs": []string{"news"}}), ErrMalformed},
		{"b64info not base64", hs(t, m{"b64info": "!"}), ErrMalformed},
		{"aud a number", hs(t, m{"aud": 1}), ErrMalformed},
		{"nested too deep", deep(depthMax), ErrMalformed},
		{"header nested too deep", byHand(`{"alg":"HS256","x":`+strings.Repeat("[", depthMax)+strings.Repeat("]", depthMax)+`}`, `{}`), ErrMalformed},
		{"too long", hs(t, m{"info": strings.Repeat("x", bytesMax)}), ErrMalformed},
		{"override of presence", hs(t, m{"subs": m{"news": m{"override": m{"presence": m{"value": false}}}}}), ErrClaims},
	} {
		_, err := v.Connect(c.token)
		fails(t, c.name, err, c.want)
	}
	_, err = v.Subscribe(hs(t, m{"channel": "a", "override": m{"join_leave": m{"value": false}}}))
	fails(t, "override of join_leave", err, ErrClaims)
}

// TestAllowedOnly: what has no secret or key is refused, whatever the token says.
func TestAllowedOnly(t *testing.T) {
	h, r := verifier(t, Config{Secret: secret}), verifier(t, Config{Keys: keysOf(map[string]crypto.Signer{"": rsaA()})})
	rs := sign(t, jwt.SigningMethodRS256, rsaA(), nil, m{})
	_, err := h.Connect(rs)
	fails(t, "RS256 without keys", err, ErrAlgorithm)
	if _, err := r.Connect(rs); err != nil {
		t.Error(err)
	}
	_, err = r.Connect(hs(t, m{}))
	fails(t, "HS256 without a secret", err, ErrAlgorithm)
	_, err = r.Connect(sign(t, jwt.SigningMethodHS256, []byte{}, nil, m{}))
	fails(t, "HS256 by an empty secret", err, ErrAlgorithm)
}

// TestEveryByte changes, removes, and adds single bytes of good tokens.
func TestEveryByte(t *testing.T) {
	v := verifier(t, Config{Secret: secret, Keys: keysOf(map[string]crypto.Signer{"e": ecA()})})
	for _, good := range []string{hs(t, m{"sub": "anna"}), sign(t, jwt.SigningMethodES256, ecA(), "e", m{"sub": "anna"})} {
		if _, err := v.Connect(good); err != nil {
			t.Fatal(err)
		}
		for i := range len(good) + 1 {
			var bad []string
			chars := "AQw_.=\n\r \x00"
			if i == len(good)-1 { // some of its bits must be 0
				chars += "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-"
			}
			for _, c := range chars {
				bad = append(bad, good[:i]+string(c)+good[i:])
				if i < len(good) && good[i] != byte(c) {
					bad = append(bad, good[:i]+string(c)+good[i+1:])
				}
			}
			if i < len(good) {
				bad = append(bad, good[:i], good[:i]+good[i+1:], good[:i]+string(good[i]^1)+good[i+1:])
			}
			for _, token := range bad {
				if _, err := v.Connect(token); !errors.Is(err, ErrInvalid) {
					t.Fatalf("%q was made of %q at %d: %v", token, good, i, err)
				}
			}
		}
	}
}

// TestRFC7515AppendixA: the examples of the standard, as others have signed them.
func TestRFC7515AppendixA(t *testing.T) {
	const claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
	k, err := base64.RawURLEncoding.DecodeString("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
	if err != nil {
		t.Fatal(err)
	}
	clock := time.Unix(1300819379, 0)
	v, err := open(Config{Secret: k, Issuer: "joe", JWKS: []byte(`{"keys":[{"kty":"EC","crv":"P-256",
		"x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}`)}, func() time.Time { return clock })
	if err != nil {
		t.Fatal(err)
	}
	tokens := []string{
		"eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." + claims + ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
		"eyJhbGciOiJFUzI1NiJ9." + claims + ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
	}
	for _, token := range tokens {
		if c, err := v.Connect(token); err != nil || c.Expire.Unix() != 1300819380 {
			t.Errorf("%+v, %v", c, err)
		}
	}
	clock = clock.Add(time.Second)
	for _, token := range tokens {
		_, err := v.Connect(token)
		fails(t, token, err, ErrExpired)
	}
}
