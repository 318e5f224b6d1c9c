package session

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// TestTokens: nothing but the token itself opens a session, and only in time.
func TestTokens(t *testing.T) {
	key := []byte("0123456789abcdef")
	var s, sibling, stranger, random seal
	for x, k := range map[*seal][]byte{&s: key, &sibling: key, &stranger: []byte("0123456789abcdeg"), &random: nil} {
		if err := x.init(k); err != nil {
			t.Fatal(err)
		}
	}
	id, other := newSessionID(), newSessionID()
	if id == other {
		t.Error("two sessions have the same id")
	}
	const now = int64(1_800_000_000_000)
	token := s.token(id, now+1000)
	expect := func(what, token string, at int64, want error) {
		t.Helper()
		got, err := s.open(token, at)
		if !errors.Is(err, want) || want == nil && (err != nil || got != id) {
			t.Errorf("%s: %v, want %v", what, err, want)
		}
	}
	expect("in time", token, now+999, nil)
	expect("too late", token, now+1000, ErrExpired)
	expect("of the same key", sibling.token(id, now+1000), now, ErrUnknown)
	expect("of the same key, too late", sibling.token(id, now), now, ErrExpired)
	expect("of another key", stranger.token(id, now+1000), now, ErrForged)
	expect("of a random key", random.token(id, now+1000), now, ErrForged)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	for bit := range 8 * len(raw) {
		b := bytes.Clone(raw)
		b[bit/8] ^= 1 << (bit % 8)
		expect("a bit flipped", base64.RawURLEncoding.EncodeToString(b), now, ErrForged)
	}
	for i := range token {
		expect("cut", token[:i], now, ErrForged)
		expect("beheaded", token[i+1:], now, ErrForged)
		for _, ch := range []string{"A", "B", "_", "=", "\n", "+", "\x00", "é"} {
			if changed := token[:i] + ch + token[i+1:]; changed != token {
				expect("a letter changed", changed, now, ErrForged)
			}
		}
	}
	expect("longer", token+"A", now, ErrForged)
	expect("padded", token+"=", now, ErrForged)
	expect("huge", strings.Repeat(token, 100_000), now, ErrForged)
	if !protocol.ValidField(protocol.Field{Name: token}) {
		t.Errorf("%q does not fit into Sec-WebSocket-Protocol", token)
	}
}

// TestTokensOverTheWire: what a client gets for each kind of bad token, and that
// Token makes another one in time.
func TestTokensOverTheWire(t *testing.T) {
	key := bytes.Repeat([]byte("k"), 32)
	a := newArcade(t, engine.Config{Loops: 1, PingInterval: engine.NoLimit}, Config{Key: key, TokenLifetime: time.Minute})
	sibling, err := New(a.Engine, Config{Key: key})
	if err != nil {
		t.Fatal(err)
	}
	clear(key) // it was copied
	c, token := a.sit("ada")
	stranger := a.dial()
	for token, want := range map[string]string{
		"":                      ErrForged.Error(),
		token + "x":             ErrForged.Error(),
		token[:len(token)-1]:    ErrForged.Error(),
		strings.ToLower(token):  ErrForged.Error(),
		"'; DROP TABLE players": ErrForged.Error(),
		sibling.seal.token(newSessionID(), sibling.now().Add(time.Second).UnixMilli()):    ErrUnknown.Error(),
		a.sessions.seal.token(newSessionID(), sibling.now().Add(time.Second).UnixMilli()): ErrExpired.Error(),
	} {
		stranger.want("resume "+token, "error: "+want)
	}
	c.want("move", "1 moves") // and nobody disturbed the holder
	a.clock.pass(30 * time.Second)
	second := c.ask("token")
	if second == token {
		t.Error("the same token again")
	}
	a.clock.pass(30 * time.Second)
	stranger.want("resume "+token, "error: session: the session is over")
	stranger.want("resume "+second, "resumed ada, 2 moves")
	a.clock.pass(30 * time.Second)
	a.lose1(stranger)
	a.dial().want("resume "+second, "error: session: the session is over")
}
