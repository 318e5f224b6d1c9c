package token

import (
	"crypto"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/golang-jwt/jwt/v5"
)

// FuzzVerify gives any text to a Verifier. What it lets pass has the signature of the secret, which is computed
// apart.
func FuzzVerify(f *testing.F) {
	for _, c := range []m{{"sub": "anna", "exp": start.Unix() + 1}, {"channel": "news", "info": m{"a": 1}}} {
		f.Add(hs(f, c))
	}
	f.Add(sign(f, jwt.SigningMethodES256, ecA(), "e", m{"sub": "anna"}))
	f.Add("eyJhbGciOiJub25lIn0.e30.")
	v := verifier(f, Config{Secret: secret, Keys: map[string]crypto.PublicKey{"e": &ecB().PublicKey}})
	f.Fuzz(func(t *testing.T, token string) {
		_, err1 := v.Connect(token)
		_, err2 := v.Subscribe(token)
		if err1 == nil && err2 == nil {
			t.Fatal("it is a token of both kinds")
		}
		for _, err := range []error{err1, err2} {
			if err != nil && errors.Is(err, ErrExpired) == errors.Is(err, ErrInvalid) {
				t.Fatalf("%v is no error of this package", err)
			}
		}
		i := strings.LastIndex(token, ".")
		if i < 0 || err1 != nil && err2 != nil {
			return
		}
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(token[:i]))
		if token[i+1:] != b64(mac.Sum(nil)) {
			t.Fatal("it is forged")
		}
	})
}

// FuzzClaims signs any claims. What is let pass says of the user what the claims say, and all that goes
// to clients as JSON is JSON in one line.
func FuzzClaims(f *testing.F) {
	f.Add([]byte(`{"sub":"anna","exp":1900000001,"nbf":1,"info":{"a":1},"meta":null,"channels":["a"],"subs":{"b":{"data":[1],"b64info":"AA=="}}}`))
	f.Add([]byte(`{"sub":"anna","channel":"news","client":"c","expire_at":0,"info":"x","override":{"force_recovery":{"value":true}}}`))
	f.Add([]byte("{\"info\":\n[[[{}]]]}"))
	v := verifier(f, Config{Secret: secret})
	f.Fuzz(func(t *testing.T, payload []byte) {
		text := b64([]byte(`{"alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(text))
		token := text + "." + b64(mac.Sum(nil))
		c, err := v.Connect(token)
		if _, err2 := v.Subscribe(token); err == nil && err2 == nil {
			t.Fatal("it is a token of both kinds")
		}
		if err != nil {
			return
		}
		var said struct {
			Sub     string          `json:"sub"`
			B64Info []byte          `json:"b64info"`
			Channel json.RawMessage `json:"channel"`
		}
		if err := json.Unmarshal(payload, &said); err != nil || said.Sub != c.User || said.Channel != nil && string(said.Channel) != "null" {
			t.Fatalf("%+v, %v", c, err)
		}
		if !c.Expire.IsZero() && !c.Expire.After(start) {
			t.Fatalf("it expires at %v", c.Expire)
		}
		if len(said.B64Info) == 0 && c.Info != nil && (!json.Valid(c.Info) || strings.ContainsAny(string(c.Info), "\r\n")) {
			t.Fatalf("info %q", c.Info)
		}
	})
}

// FuzzKeySet: any set is refused, or has keys that may be used.
func FuzzKeySet(f *testing.F) {
	f.Add(set(entry(f, "r", &rsaA().PublicKey, nil), entry(f, "e", &ecA().PublicKey, m{"alg": "ES256"})))
	f.Add([]byte(`{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := parse(text)
		if err == nil && len(keys) == 0 {
			t.Fatal("no keys, and no error")
		}
		for kid, key := range keys {
			if err := checkKey(key); err != nil {
				t.Fatalf("%s: %v", kid, err)
			}
		}
	})
}
