package stage

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net"
	"slices"
	"strings"
	"testing"
)

// A sender writes records with the keys of a connection, so that a test can send
// what crypto/tls does not send by itself. It knows AES-128-GCM with SHA-256.
type sender struct {
	t      testing.TB
	aead   cipher.AEAD
	iv     []byte
	seq    uint64
	secret []byte // TLS 1.3: of the traffic; the next keys come from it
}

func aead(t testing.TB, key []byte) cipher.AEAD {
	return must[cipher.AEAD](t)(cipher.NewGCM(must[cipher.Block](t)(aes.NewCipher(key))))
}

// sender13 has the keys of RFC 8446, section 7.3.
func sender13(t testing.TB, secret []byte) *sender {
	return &sender{t: t, aead: aead(t, expand(t, secret, "key", 16)), iv: expand(t, secret, "iv", 12), secret: secret}
}

// expand is HKDF-Expand-Label of RFC 8446, section 7.1, without a context.
func expand(t testing.TB, secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := "\x00" + string(rune(n)) + string(rune(len(label))) + label + "\x00"
	return must[[]byte](t)(hkdf.Expand(sha256.New, secret, info, n))
}

func (s *sender) next() *sender { return sender13(s.t, expand(s.t, s.secret, "traffic upd", 32)) }

// record13 is a record of RFC 8446, section 5.2.
func (s *sender) record13(kind byte, content string) []byte {
	nonce := bytes.Clone(s.iv)
	low := nonce[4:]
	binary.BigEndian.PutUint64(low, binary.BigEndian.Uint64(low)^s.seq)
	s.seq++
	head := []byte{23, 3, 3, 0, byte(len(content) + 1 + s.aead.Overhead())}
	return s.aead.Seal(head, nonce, append([]byte(content), kind), head)
}

// senders12 has the keys of RFC 5246, section 6.3, and RFC 5288, section 3.
func senders12(t testing.TB, master, clientRandom, serverRandom []byte) (client, server *sender) {
	seed := append([]byte("key expansion"), append(serverRandom, clientRandom...)...)
	mac := func(b []byte) []byte {
		h := hmac.New(sha256.New, master)
		h.Write(b)
		return h.Sum(nil)
	}
	one := mac(seed)
	two := mac(one)
	block := append(mac(append(one, seed...)), mac(append(two, seed...))...)
	// Each side has sent one record with its keys, its Finished.
	return &sender{t: t, aead: aead(t, block[:16]), iv: block[32:36], seq: 1}, &sender{t: t, aead: aead(t, block[16:32]), iv: block[36:40], seq: 1}
}

func (s *sender) record12(kind byte, content []byte) []byte {
	var seq [8]byte
	binary.BigEndian.PutUint64(seq[:], s.seq)
	s.seq++
	length := func(n int) []byte { return []byte{kind, 3, 3, byte(n >> 8), byte(n)} }
	b := append(length(8+len(content)+s.aead.Overhead()), seq[:]...)
	return s.aead.Seal(b, append(s.iv[:4:4], seq[:]...), content, append(seq[:], length(len(content))...))
}

// logged finds a secret in what a KeyLogWriter was given.
func logged(t testing.TB, log, label string) (random, secret []byte) {
	for line := range strings.Lines(log) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == label {
			return must[[]byte](t)(hex.DecodeString(f[1])), must[[]byte](t)(hex.DecodeString(f[2]))
		}
	}
	t.Fatalf("no %s in the log of keys: %q", label, log)
	return nil, nil
}

const keyUpdate = "\x18\x00\x00\x01" // and whether the other side is to update, too

// updated returns a pair, and the sender that speaks as the client or as the server.
func updated(t testing.TB, asClient bool) (to, from *TLS, keys *sender) {
	var log bytes.Buffer
	client, server := configs(tls.VersionTLS13)
	client.KeyLogWriter, server.SessionTicketsDisabled = &log, true
	c, s := pair(t, listen(t), client, server)
	if suite := c.State().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
		t.Fatalf("this test needs a processor with AES, so that crypto/tls chooses AES-128-GCM and not %s", tls.CipherSuiteName(suite))
	}
	to, from, label := s, c, "CLIENT_TRAFFIC_SECRET_0"
	if !asClient {
		to, from, label = c, s, "SERVER_TRAFFIC_SECRET_0"
	}
	_, secret := logged(t, log.String(), label)
	return to, from, sender13(t, secret)
}

// A KeyUpdate that asks for another one is answered (RFC 8446, section 4.6.3).
// The answer leaves before what is sealed next, with or without Output.
func TestKeyUpdate(t *testing.T) {
	for _, asClient := range []bool{true, false} {
		for _, output := range []bool{true, false} {
			to, from, keys := updated(t, asClient)
			for range 3 {
				stream := append(keys.record13(23, "before"), keys.record13(22, keyUpdate+"\x01")...)
				keys = keys.next()
				stream = append(stream, keys.record13(23, " after")...)
				if got := open(t, to, stream, 64); string(got) != "before after" {
					t.Fatalf("as client %v: %q", asClient, got)
				}
				if to.Held() == 0 {
					t.Error("the answer is not held")
				}
				var answer []byte
				if output {
					if answer = to.Output(nil); len(lengths(answer)) != 1 {
						t.Errorf("the answer has records of %v bytes", lengths(answer))
					}
				}
				reply := slices.Concat(answer, seal(t, to, []byte("reply")))
				if l := lengths(reply); len(l) != 2 || to.Held() != 0 {
					t.Errorf("the reply has records of %v bytes, %d are held", l, to.Held())
				}
				if got := open(t, from, reply, 64); string(got) != "reply" {
					t.Errorf("the reply is %q", got)
				}
			}
		}
	}
}

// A KeyUpdate that is cut arrives like any other record, and many of them
// without data between end the connection, so that Output has a bound.
func TestKeyUpdates(t *testing.T) {
	to, _, keys := updated(t, true)
	for i, b := range keys.record13(22, keyUpdate+"\x00") {
		if got := open(t, to, []byte{b}, 64); len(got) > 0 || to.Held() > 0 {
			t.Fatalf("after byte %d: %q, %d held", i, got, to.Held())
		}
	}
	for i := 0; ; i++ {
		keys = keys.next()
		if _, err := openAll(to, keys.record13(22, keyUpdate+"\x01"), 64); !errors.Is(err, ErrMore) {
			if !strings.Contains(err.Error(), "too many non-advancing records") {
				t.Error(err)
			}
			break
		}
		if i == 100 {
			t.Fatal("a hundred in a row are answered")
		}
	}
	if n := to.Held(); n == 0 || n > 4096 {
		t.Errorf("%d bytes are held", n)
	}
}

// A tap keeps what is written.
type tap struct {
	net.Conn
	written []byte
}

func (c *tap) Write(p []byte) (int, error) {
	c.written = append(c.written, p...)
	return c.Conn.Write(p)
}

// Renegotiation (RFC 5246, section 7.4.1.1) is refused on both sides, also where
// the configuration allows it.
func TestRenegotiationRefused(t *testing.T) {
	for _, asClient := range []bool{true, false} {
		var log bytes.Buffer
		client, server := configs(tls.VersionTLS12)
		client.KeyLogWriter, client.Renegotiation = &log, tls.RenegotiateFreelyAsClient
		client.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
		dialled, accepted := sockets(t, listen(t))
		hello, answer := &tap{Conn: dialled}, &tap{Conn: accepted}
		c, s := Client(hello, nil, client), Server(answer, nil, server)
		both(t, c.Conn(), s.Conn())
		c.Detach()
		s.Detach()
		if client.Renegotiation != tls.RenegotiateFreelyAsClient {
			t.Error("the configuration of the caller was changed")
		}
		random, master := logged(t, log.String(), "CLIENT_RANDOM")
		asC, asS := senders12(t, master, random, bytes.Clone(answer.written[11:43]))
		to, from, stream, want := c, s, asS.record12(22, make([]byte, 4)), "no renegotiation"
		more := asS.record12(23, []byte("more"))
		if asClient {
			again := hello.written[5 : 5+lengths(hello.written)[0]]
			to, from, stream, want = s, c, asC.record12(22, again), "unexpected"
			more = asC.record12(23, []byte("more"))
		}
		_, err := openAll(to, stream, 64)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("as client %v: %v", asClient, err)
		}
		if got, again := openAll(to, more, 64); len(got) > 0 || !errors.Is(again, err) {
			t.Errorf("as client %v: then %q, %v", asClient, got, again)
		}
		// "no renegotiation" is a warning, which crypto/tls passes over.
		_, err = openAll(from, to.Output(nil), 64)
		if told := err != nil && strings.Contains(err.Error(), want); told != asClient {
			t.Errorf("as client %v, the peer is told: %v", asClient, err)
		}
		if _, err := to.Seal(nil, [][]byte{[]byte("late")}); err == nil {
			t.Error("Seal goes on after the alert")
		}
	}
}

// Tickets arrive after the handshake in TLS 1.3, so in loop mode.
func TestResumption(t *testing.T) {
	for version, v := range versions {
		for _, name := range []string{"localhost", ""} {
			l := listen(t)
			client, server := configs(v)
			client.ServerName, client.ClientSessionCache = name, tls.NewLRUClientSessionCache(1)
			for _, resumed := range []bool{false, true, true} {
				c, s := pair(t, l, client, server)
				if c.State().DidResume != resumed || s.State().DidResume != resumed {
					t.Errorf("%s, name %q: resumed %v", version, name, !resumed)
				}
				if got := open(t, c, seal(t, s, []byte("news")), 64); string(got) != "news" {
					t.Errorf("%s: %q", version, got)
				}
				if got := open(t, s, seal(t, c, []byte("answer")), 64); string(got) != "answer" {
					t.Errorf("%s: %q", version, got)
				}
			}
		}
	}
}
